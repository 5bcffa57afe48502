"""A tiny data set and models of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medcl.backbones import build_backbone
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.plan import Plan
from medcl.files import write_json
from medcl.inference.model import save_model

UNET = {"base": 2, "levels": 2}
GRID = Geometry((4, 16, 20), (8.0, 1.0, 1.5))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a data set: 'fresh' and 'begun' (slice 1 drawn) take strokes, 'dense' has a label, 'full' all strokes."""
    folder = tmp_path / "tiny"
    random = np.random.default_rng(0)
    for name in ("begun", "dense", "fresh", "full"):
        array = random.integers(0, 1000, (1, *GRID.size)).astype(np.int16)
        write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", Image(array, GRID))
    strokes = np.full(GRID.size, 2, np.uint8)
    strokes[1, 4, 3:9] = 1
    strokes[1, 9, 3:9] = 0
    write_map(folder / "scribblesTr" / "begun.nii.gz", strokes, GRID)
    strokes[:, 4, 3:9] = 1
    write_map(folder / "scribblesTr" / "full.nii.gz", strokes, GRID)
    write_map(folder / "labelsTr" / "dense.nii.gz", np.zeros(GRID.size, np.uint8), GRID)
    labels = {"background": 0, "organ": 1, "ignore": 2}
    write_json(folder / "dataset.json", {"name": "tiny", "channel_names": {"0": "MR"}, "labels": labels})
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a random model of the data set's classes; another seed, another model."""

    def make(seed: int = 0, classes: tuple[str, ...] = ("background", "organ"), channel: str = "MR") -> Path:
        plan = Plan.parse(
            {
                "dataset": "tiny",
                "classes": classes,
                "groups": {},
                "channels": [{"name": channel, "normalisation": "zscore"}],
                "ndim": 2,
                "spacing_mm": (None, 1.0, 1.5),
                "size": (4, 16, 20),
                "patch": (16, 16),
                "orientation": "as-stored",
                "fingerprint": "",
            }
        )
        torch.manual_seed(seed)
        network = build_backbone("unet", in_channels=1, classes=len(classes), ndim=2, **UNET)
        with torch.no_grad():
            for weight in network.parameters():  # networks start undecided: all probabilities alike
                weight.add_(0.3 * torch.randn_like(weight))
        facts = {"backbone": "unet", "backbone_settings": UNET, "method": "m", "settings": {}, "metrics": {}}
        return save_model(tmp_path / f"model{seed}", network=network, plan=plan, **facts)

    return make
