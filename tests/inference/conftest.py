"""A network whose answer a human can tell, and models built from it."""

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
from medcl.data.plan import Plan
from medcl.inference.model import Model, save_model
from medcl.settings import Settings


@backbones.register("bright")
class BrightSettings(Settings):
    """Class 1 where the first channel is above its mean, class 0 below; further classes never."""

    def build(self, *, in_channels: int, classes: int, ndim: int) -> nn.Module:
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[ndim](in_channels, classes, 1)
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -50.0)
        with torch.no_grad():
            layer.weight[0, 0], layer.weight[1, 0] = -10.0, 10.0
            layer.bias[:2] = 0.0
        return layer


def _plan(**changes: Any) -> Plan:
    ndim = changes.get("ndim", 2)
    values: dict[str, Any] = {
        "dataset": "made up",
        "classes": ("background", "a", "b"),
        "groups": {"both": (1, 2)},
        "channels": [{"name": "MR", "normalisation": "zscore", "clip": (0, 100)}],
        "ndim": ndim,
        "spacing_mm": (None, 1.0, 1.0) if ndim == 2 else (1.0, 1.0, 1.0),
        "size": (4, 32, 32),
        "patch": (32, 32) if ndim == 2 else (8, 16, 16),
        "orientation": "as-stored",
        "fingerprint": "none",
    }
    return Plan.parse({**values, **changes})


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """Return a maker of small plans; keyword arguments change fields."""
    return _plan


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of model folders: saved(backbone, backbone_settings, **plan fields)."""

    def make(
        backbone: str = "bright",
        settings: dict[str, Any] | None = None,
        one_piece: tuple[tuple[int, ...], ...] = (),
        **changes: Any,
    ) -> Path:
        plan = _plan(**changes)
        torch.manual_seed(0)
        network = build_for_plan(plan, backbone, **(settings or {}))
        return save_model(
            tmp_path / "model",
            network=network,
            backbone=backbone,
            backbone_settings=settings or {},
            plan=plan,
            method="by hand",
            settings={"seed": 0},
            metrics={"dice": {"a": 0.875}},
            history={"steps": 7},
            one_piece=one_piece,
        )

    return make


@pytest.fixture
def bright(saved: Callable[..., Path]) -> Callable[..., Model]:
    """Return a maker of loaded models that find what is brighter than the mean, run by plain torch."""

    def make(**changes: Any) -> Model:
        return Model.load(saved(**changes), engine="torch", precision="fp32", device="cpu")

    return make


@pytest.fixture
def box() -> np.ndarray:
    """Return a dark volume (4, 20, 24) with a bright box of 2 x 8 x 9 voxels."""
    array = np.zeros((4, 20, 24), dtype=np.int16)
    array[1:3, 6:14, 5:14] = 100
    return array
