from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.training.adaptation import run
from medcl.training.adaptation.guard import Vitals

SEEN = Vitals(0.9, 0.05, 0.2, 0.1, {"LV": 100.0}, {"LV": 1.0})


def result(model: Path | None, *reasons: str) -> run.AdaptResult:
    return run.AdaptResult(model, reasons, SEEN, SEEN, 40, (), 1.5, True)


def test_options_reach_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, Any] = {}

    def adapt(model: Path, images: list[Path], out: Path, **options: Any) -> run.AdaptResult:
        got.update(options, model=model, images=images)
        return result(out)

    monkeypatch.setattr(run, "adapt", adapt)
    words = ["adapt", "m", "a", "b", "--out", str(tmp_path / "new"), "--budget", "5steps", "--volume", "LV=120"]
    words += ["--set", "ratio=2", "--set", "guard.gain=0.1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert got["images"] == [Path("a"), Path("b")]
    assert got["volumes_ml"] == {"LV": 120.0}
    assert got["settings"] == {"ratio": 2}
    assert got["guard"] == {"gain": 0.1}
    assert "40 steps" in done.output


def test_a_refusal_tells_why_and_exits_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "adapt", lambda *a, **k: result(None, "LV was lost."))
    done = CliRunner().invoke(app, ["adapt", "m", "a", "--out", str(tmp_path / "new")])
    assert done.exit_code == 3
    assert "- LV was lost." in done.output
    assert "refused" in done.output


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["adapt", "m", "a", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "--overwrite" in done.output
    done = CliRunner().invoke(app, ["adapt", "m", "a", "--out", str(tmp_path / "x"), "--volume", "LV"])
    assert done.exit_code == 1
    assert "NAME=ML" in done.output
    done = CliRunner().invoke(app, ["adapt", "m", "a", "--out", str(tmp_path / "x"), "--set", "guard=5"])
    assert done.exit_code == 1
    assert "guard.consistency=0.05" in done.output
