"""The demo runs every step on made-up hearts and leaves a report; it removes nothing that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.cli.demo import PARTS


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["demo", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_demo_ends_with_scores_and_a_report(tmp_path: Path) -> None:
    output = run("--out", tmp_path / "demo", "--budget", "3steps", "--cases", "2")
    for part in PARTS:
        assert any((tmp_path / "demo" / part).iterdir()), part
    assert (tmp_path / "demo" / "scores" / "report.html").stat().st_size > 10_000
    assert len(list((tmp_path / "demo" / "masks").glob("*.nii.gz"))) == 6
    for name in ("RV", "Myo", "LV", "mean", "report.html", "[5/5]"):
        assert name in output


def test_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "found scores; add --overwrite to replace it" in result.stderr
    assert (tmp_path / "scores").is_dir()


def test_foreign_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--overwrite"])
    assert result.exit_code == 1
    assert "choose another folder" in result.stderr
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"
