"""Which probabilities beside the masks are scored: those that the last prediction lists, of this case alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.evaluation import evaluate
from medcl.files import write_json

CASES = ("p", "p_1")  # p_1_0_x.nii.gz could be the first class of p_1, or the second of p, called 0_x
NAMES = ("background", "left lung")
GRID = Geometry((1, 2, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labels, masks that equal them, and probabilities of 0.8 for what is right."""
    label = np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]], np.uint8)
    for case in CASES:
        write_map(tmp_path / "labels" / f"{case}.nii.gz", label, GRID)
        write_map(tmp_path / "masks" / f"{case}.nii.gz", label, GRID)
        for index, file in enumerate(files(case)):
            values = np.where(label == index, 0.8, 0.2).astype(np.float32)[None]
            write_image(tmp_path / "masks" / file, Image(values, GRID))
    return tmp_path


def files(case: str) -> list[str]:
    return [f"probabilities/{case}_{index}_{name}.nii.gz" for index, name in enumerate(("background", "left-lung"))]


def scored(folder: Path, written: dict[str, list[str]] | None) -> tuple[Any, list[str]]:
    """Evaluate with a prediction.json that lists these files by case."""
    if written is not None:
        rows = [{"case": case, "files": [f"{case}.nii.gz", *paths]} for case, paths in written.items()]
        write_json(folder / "masks" / "prediction.json", {"medcl": "0", "classes": list(NAMES), "written": rows})
    result = evaluate(folder / "masks", folder / "labels", classes=NAMES)
    return result.trust, [finding.message for finding in result.findings]


@pytest.mark.parametrize("listed", [True, False])
def test_a_case_whose_name_begins_like_another(folder: Path, listed: bool) -> None:
    trust, findings = scored(folder, {case: files(case) for case in CASES} if listed else None)
    assert trust["cases_with_probabilities"] == 2
    assert trust["ece"] == pytest.approx(0.2, abs=1e-6)
    assert findings == []


def test_probabilities_that_the_last_prediction_does_not_list(folder: Path) -> None:
    trust, findings = scored(folder, {"p": [], "p_1": files("p_1")})
    assert trust["cases_with_probabilities"] == 1
    (finding,) = findings
    assert "probabilities of 1 case(s), p first, are not scored" in finding


def test_another_number_of_classes_is_said(folder: Path) -> None:
    _, findings = scored(folder, {"p": files("p")[:1], "p_1": files("p_1")})
    assert findings == ["probabilities: expected one file for each of 2 classes, got 1."]
