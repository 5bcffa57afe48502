"""A small made-up data set: two structures in a box, drawn so that a human can check the scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map

IGNORE = 9
GEOMETRY = Geometry((3, 24, 20), (5.0, 1.0, 1.0), (10.0, -3.0, 7.0))


def label_of(case: int) -> np.ndarray:
    """Return a ring (1) around a core (2); the core is missing in the last slice."""
    label = np.zeros(GEOMETRY.size, np.uint8)
    label[:, 4:16, 4:16] = 1
    label[:2, 7 : 12 + case % 2, 7:12] = 2
    return label


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with labelsTs, imagesTs, scribblesTs, dataset.json and predictions of four cases.

    Prediction k is the label moved by k voxels along x, so that case0 is best and case3 is worst.
    """
    generator = np.random.default_rng(0)
    for case in range(4):
        name, label = f"case{case}", label_of(case)
        write_map(tmp_path / f"labelsTs/{name}.nii.gz", label, GEOMETRY)
        write_map(tmp_path / f"predictions/{name}.nii.gz", np.roll(label, case, axis=2), GEOMETRY)
        voxels = (label * 100 + generator.normal(0, 10, label.shape)).astype(np.float32)
        write_image(tmp_path / f"imagesTs/{name}_0000.nii.gz", Image(voxels[None], GEOMETRY))
        strokes = np.full(label.shape, IGNORE, np.uint8)
        strokes[:, 9, 8:11], strokes[:, 5, 5:12], strokes[:, 20, 2:18] = 2, 1, 0
        write_map(tmp_path / f"scribblesTs/{name}.nii.gz", strokes, GEOMETRY)
    labels = {"background": 0, "ring": 1, "core": 2, "ignore": IGNORE}
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": labels, "channel_names": {"0": "MR"}}), encoding="utf-8"
    )
    return tmp_path
