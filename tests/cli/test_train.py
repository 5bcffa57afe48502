"""`medcl train` from the terminal: options, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.phantom import make_phantom

FAST = [
    "--set",
    "backbone.base=4",
    "--set",
    "backbone.levels=3",
    "--set",
    "batch_size=4",
    "--set",
    "threads=1",
    "--set",
    "precision=fp32",
    "--set",
    "plan.patch=[32, 32]",
    "--set",
    "sample_pictures=0",
    "--set",
    "validate_every=1",
]


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom(
        tmp_path_factory.mktemp("p") / "hearts", "heart", cases=2, validation=1, size=(4, 48, 48), seed=3
    )


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_run_from_options_and_file(hearts: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("method: partial-ce\nseed: 4\noptim:\n  learning_rate: 1e-3\n", encoding="utf-8")
    out = tmp_path / "run"
    code, stdout, stderr = run(
        "train", hearts, "--out", out, "--config", config, "--budget", "3steps", "--set", "seed=5", *FAST
    )
    assert code == 0, stderr
    assert "3 steps in" in stdout
    assert str(out / "model") in stdout
    settings = json.loads((out / "run.json").read_text(encoding="utf-8"))["settings"]
    assert settings["method"]["name"] == "partial-ce"
    assert settings["seed"] == 5
    assert settings["optim"]["learning_rate"] == 1e-3
    assert "precision 32-true: asked for" in stderr

    code, _, stderr = run("train", hearts, "--out", out, "--budget", "3steps")
    assert code == 1
    assert "holds a run already" in stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "60"], "expected minutes or steps such as 60m"),
        (["--method", "medlc"], "did you mean 'medcl'?"),
        (["--set", "optim.lr=1"], "unknown setting 'optim.lr'"),
        (["--set", "seed"], "expected key=value, got 'seed'"),
        (["--config", "nowhere.yaml"], "settings file nowhere.yaml: cannot be read"),
        (["--resume"], "found no run.json"),
        (["--plan", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_options_are_one_red_line(hearts: Path, tmp_path: Path, options: list[str], words: str) -> None:
    code, _, stderr = run("train", hearts, "--out", tmp_path / "run", *options)
    assert code == 1
    assert stderr.startswith("Error: ")
    assert words in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    code, _, stderr = run("train", tmp_path, "--out", tmp_path / "run")
    assert code == 1
    assert "dataset.json" in stderr


def test_an_edited_plan_is_used(hearts: Path, tmp_path: Path) -> None:
    from medcl.data.dataset import Dataset
    from medcl.data.plan import make_plan

    plan = make_plan(Dataset.open(hearts), patch=(32, 48))
    plan.save(tmp_path / "plan.json")
    code, _, stderr = run(
        "train", hearts, "--out", tmp_path / "run", "--plan", tmp_path / "plan.json", "--budget", "2steps", *FAST
    )
    assert code == 0, stderr
    assert json.loads((tmp_path / "run" / "model" / "plan.json").read_text(encoding="utf-8"))["patch"] == [32, 48]
