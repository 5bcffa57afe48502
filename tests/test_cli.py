"""The command line as a whole: what it lists, what it costs, how it fails."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

import medcl
from medcl.cli import COMMANDS, CommandEntry, app, load_command
from medcl.errors import DataError

HEAVY = ("torch", "numpy", "SimpleITK", "scipy", "monai", "lightning", "matplotlib", "rich.table")
runner = CliRunner()


@pytest.fixture
def fake_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that puts another one behind `medcl info`."""

    def install(function: Callable[[], None]) -> None:
        module = types.ModuleType("medcl_fake_command")
        module.info = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "medcl_fake_command", module)
        monkeypatch.setitem(COMMANDS, "info", CommandEntry("medcl_fake_command:info", "A fake."))

    return install


def test_help_lists_every_command_with_its_summary() -> None:
    output = runner.invoke(app, ["--help"]).output
    for name, entry in COMMANDS.items():
        assert name in output
        assert entry.summary in output, "the summary does not fit on one line"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"], ["check", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom medcl.cli import app\ntry:\n    app(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    command = load_command(name)
    assert command.help
    assert COMMANDS[name].summary.endswith(".")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("arguments", [["--version"], ["-m", "--version"]])
def test_version(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        done = subprocess.run(
            [sys.executable, "-m", "medcl", "--version"], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        output = done.stdout
    else:
        output = runner.invoke(app, arguments).output
    assert output == f"medcl {medcl.__version__}\n"


def test_unknown_command_suggests_the_nearest() -> None:
    result = runner.invoke(app, ["predct"])
    assert result.exit_code == 2
    assert "Did you mean 'predict'?" in result.output


def test_expected_error_is_one_line_and_exit_code_1(fake_command: Callable[[Callable[[], None]], None]) -> None:
    def info() -> None:
        raise DataError("case_3: expected 3 channels, got 2;\n  add the missing file.")

    fake_command(info)
    result = runner.invoke(app, ["info"])
    assert result.exit_code == 1
    assert result.stderr == "Error: case_3: expected 3 channels, got 2; add the missing file.\n"
    assert result.stdout == ""


def test_unexpected_error_keeps_its_trace(fake_command: Callable[[Callable[[], None]], None]) -> None:
    def info() -> None:
        raise ZeroDivisionError("a bug")

    fake_command(info)
    result = runner.invoke(app, ["info"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_interrupt_exits_with_130(fake_command: Callable[[Callable[[], None]], None]) -> None:
    def info() -> None:
        raise KeyboardInterrupt

    fake_command(info)
    assert runner.invoke(app, ["info"]).exit_code == 130
