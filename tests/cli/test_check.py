from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app

CASES = 12


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "scribblesTr"):
        (tmp_path / folder).mkdir()
    for number in range(CASES):
        strokes = np.full((16, 12, 2), 2, dtype=np.uint8)
        strokes[::4, ::4] = 0
        strokes[7, 5 : 7 + number % 5] = 1
        strokes[number % 7, 1] = 1
        for name, array in (
            (f"imagesTr/case_with_a_rather_long_name_{number}_0000", rng.integers(0, 99, (16, 12, 2))),
            (f"scribblesTr/case_with_a_rather_long_name_{number}", strokes),
        ):
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a [bold] organ": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def spoil(dataset: Path, cases: int) -> None:
    for path in sorted((dataset / "imagesTr").iterdir())[:cases]:
        path.write_bytes(b"")


def test_sound_dataset(dataset: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(dataset)])
    assert result.exit_code == 0, result.output
    assert "12 cases: 0 errors, 0 warnings, 0 notes." in result.stdout
    assert "a [bold] organ" in result.stdout
    assert "Findings" not in result.stdout


def test_errors_are_grouped_in_the_table_and_fail(dataset: Path) -> None:
    spoil(dataset, 5)
    result = CliRunner().invoke(app, ["check", str(dataset), "--details"])
    assert result.exit_code == 1
    assert result.stdout.count("unreadable-file") == 1
    assert "5 times" in result.stdout
    assert "and 2 more" in " ".join(result.stdout.split())
    assert "5 errors" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


def test_json_is_complete_and_nothing_else(dataset: Path) -> None:
    spoil(dataset, 5)
    result = CliRunner().invoke(app, ["check", str(dataset), "--json"])
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["counts"]["error"] == 5
    assert len(content["findings"]) == 5
    assert len(content["coverage"]) == CASES


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "expected a dataset folder, found nothing" in result.output
    assert "Traceback" not in result.output
