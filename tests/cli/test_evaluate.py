from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.cli.evaluate import parse_classes
from medcl.data.geometry import Geometry
from medcl.data.io import write_map
from medcl.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    geometry = Geometry((1, 16, 16))
    label = np.zeros(geometry.size, np.uint8)
    label[:, 4:12, 4:12] = 1
    for case in range(3):
        write_map(tmp_path / f"labels/case{case}.nii.gz", label, geometry)
        write_map(tmp_path / f"predictions/case{case}.nii.gz", np.roll(label, case, axis=2), geometry)
    return tmp_path


def run(folder: Path, *more: str) -> tuple[int, str]:
    arguments = ["evaluate", str(folder / "predictions"), str(folder / "labels"), "--out", str(folder / "out"), *more]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, " ".join(result.output.split())


def test_scores_and_report(folder: Path) -> None:
    code, output = run(folder, "--classes", "background,organ", "--title", "Organ", "--tolerance-mm", "1")
    assert code == 0, output
    assert "3 cases: mean and 95 % interval" in output
    assert "organ 0.875" in output  # (1 + 7/8 + 6/8) / 3
    assert "<h1>Organ</h1>" in (folder / "out/report.html").read_text(encoding="utf-8")
    assert (
        json.loads((folder / "out/evaluation.json").read_text(encoding="utf-8"))["settings"]["surface Dice tolerance"]
        == "1 mm"
    )


def test_a_label_without_prediction_gives_exit_code_1(folder: Path) -> None:
    (folder / "predictions/case2.nii.gz").unlink()
    code, output = run(folder, "--classes", "background,organ")
    assert code == 1
    assert "error: case case2: the label has no prediction" in output
    assert (folder / "out/report.html").is_file()


def test_an_expected_error_is_one_line(folder: Path) -> None:
    code, output = run(folder, "--classes", "organ,background")
    assert code == 1
    assert "expected 'background' first" in output
    assert "Traceback" not in output


def test_classes_with_values() -> None:
    assert parse_classes("background, RV ,Myo") == ["background", "RV", "Myo"]
    assert parse_classes("background=0, RV = 200") == {"background": 0, "RV": 200}


@pytest.mark.parametrize("text", ["background=0,RV", "background=0,RV=x", "a=1,a=2", "=3"])
def test_unclear_classes_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected name=integer"):
        parse_classes(text)
