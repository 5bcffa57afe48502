"""A network whose threshold is the mean of the images that its statistics come from, and images of two scanners."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medcl.backbones import backbones
from medcl.backbones.for_plan import build_for_plan
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.data.plan import Plan
from medcl.inference.model import save_model
from medcl.settings import Settings


@backbones.register("threshold")
class ThresholdSettings(Settings):
    """Class 1 where an image is above the running mean of a batch normalisation, class 0 below."""

    def build(self, *, in_channels: int, classes: int, ndim: int) -> nn.Module:
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[ndim](in_channels)
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[ndim](in_channels, classes, 1)
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, 0.0)
        with torch.no_grad():
            layer.weight[0, 0], layer.weight[1, 0] = -10.0, 10.0
        return nn.Sequential(norm, layer)


@pytest.fixture
def plan() -> Callable[..., Plan]:
    def make(**changes: Any) -> Plan:
        ndim = changes.get("ndim", 2)
        # Absolute grey values: what another scanner shows brighter stays brighter.
        channel = {"name": "MR", "normalisation": "ct", "low": -1000.0, "high": 1000.0, "mean": 0.0, "std": 1.0}
        values: dict[str, Any] = {
            "dataset": "made up",
            "classes": ("background", "square"),
            "groups": {},
            "channels": [channel],
            "ndim": ndim,
            "spacing_mm": (None, 1.0, 1.0) if ndim == 2 else (2.0, 1.0, 1.0),
            "size": (4, 32, 32),
            "patch": (32, 32) if ndim == 2 else (4, 32, 32),
            "orientation": "as-stored",
            "fingerprint": "none",
        }
        return Plan.parse({**values, **changes})

    return make


@pytest.fixture
def saved(tmp_path: Path, plan: Callable[..., Plan]) -> Callable[..., Path]:
    """Return a maker of models. `threshold` expects images around 0: squares of 1, the rest -1."""

    def make(backbone: str = "threshold", settings: dict[str, Any] | None = None, **changes: Any) -> Path:
        made = plan(**changes)
        torch.manual_seed(0)
        return save_model(
            tmp_path / "model",
            network=build_for_plan(made, backbone, **(settings or {})),
            backbone=backbone,
            backbone_settings=settings or {},
            plan=made,
            method="by hand",
            settings={"seed": 0},
            metrics={"dice": 0.9},
            history={"steps": 7},
            one_piece=((1,),),
        )

    return make


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of folders of images: images(offset) with squares of 16 x 16 on 32 x 32 in 4 slices of 2 mm."""

    def make(offset: float = 0.0, count: int = 5, noise: float = 0.1, name: str = "images") -> Path:
        for number in range(count):
            rng = np.random.default_rng(number)
            array = -np.ones((1, 4, 32, 32), np.float32)
            y, x = rng.integers(2, 14, 2)
            array[:, :, y : y + 16, x : x + 16] = 1
            array += rng.normal(0, noise, array.shape).astype(np.float32) + offset
            geometry = Geometry(size=(4, 32, 32), spacing_mm=(2.0, 1.0, 1.0))
            write_image(tmp_path / name / f"c{number}_0000.nii.gz", Image(array, geometry))
        return tmp_path / name

    return make
