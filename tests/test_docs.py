"""The pages tell the truth: their examples run, their links lead somewhere, the command reference is fresh.

Blocks marked `bash` and `python` are run page by page in an empty folder, in order; a `text` block after a `python`
block is what it must print. Budgets are shortened to a few steps. Blocks marked `sh` (installing, make) are shown only;
make targets are checked to exist.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcl.cli import COMMANDS, app
from medcl.cli.reference import render_reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "python", "text", "json", "yaml", "sh"}
SHORT = "4steps"


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def runnable(page: Path) -> bool:
    return any(language in ("bash", "python") for language, _ in blocks(page))


def shorten(code: str) -> str:
    # what a budget of strokes limits is not training, and short anyway
    code = re.sub(r"^(?!medcl scribble)(.*--budget) \S+", rf"\1 {SHORT}", code, flags=re.MULTILINE)
    return re.sub(r'budget="\w+"', f'budget="{SHORT}"', code)


def run_bash(code: str) -> None:
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "medcl", f"only medcl commands are run: {line}"
        result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda p: p.stem)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = None
    for language, code in blocks(page):
        if language == "bash":
            run_bash(shorten(code))
        elif language == "python":
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(shorten(code), f"{page.name}", "exec"), names)
            printed = stream.getvalue()
        elif language == "text" and printed is not None:
            assert printed.rstrip() == code.rstrip()
            printed = None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_blocks_name_their_language(page: Path) -> None:
    fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_named_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"`medcl ([a-z][a-z-]*)", text)
    assert set(commands) <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets


def test_command_reference_is_fresh() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == render_reference(), "stale: run make docs"


def test_every_page_is_listed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"docs/{page.name}" in readme
