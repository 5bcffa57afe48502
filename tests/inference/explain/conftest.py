"""A network that looks at each pixel alone, so that what explains a pixel is known: the pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcl.backbones import backbones
from medcl.backbones.for_plan import build_for_plan
from medcl.data.geometry import Geometry, Image
from medcl.data.plan import Plan
from medcl.inference.explain.scene import Scene
from medcl.inference.model import Model, save_model
from medcl.settings import Settings


@backbones.register("each-pixel")
class EachPixelSettings(Settings):
    """Class 1 where an image is above 0.5, class 0 below; certain, never class 2."""

    def build(self, *, in_channels: int, classes: int, ndim: int) -> nn.Module:
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[ndim](in_channels, classes, 1)
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -500.0)
        with torch.no_grad():
            layer.weight[0, in_channels // 2], layer.weight[1, in_channels // 2] = -100.0, 100.0
            layer.bias[0], layer.bias[1] = 50.0, -50.0
        return layer


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Return a maker of scenes of 16 x 16 with a bright square at rows 4-7 and columns 8-11."""

    def make(network: nn.Module | None = None, size: tuple[int, ...] = (16, 16), **changes: Any) -> Scene:
        module = network or EachPixelSettings().build(in_channels=1, classes=3, ndim=len(size))
        module.eval()
        image = torch.zeros(1, *size)
        image[..., 4:8, 8:12] = 1.0
        values: dict[str, Any] = {
            "image": image,
            "asked": image[0] > 0.5,
            "index": 1,
            "region": tuple((0, side) for side in size),
            "spacing_mm": (1.0,) * len(size),
            "network": module,
            "module": module,
            "batch_size": 5,
        }
        return Scene(**{**values, **changes})

    return make


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Model]:
    """Return a maker of loaded models of the classes square and other."""

    def make(backbone: str = "each-pixel", settings: dict[str, Any] | None = None, **changes: Any) -> Model:
        ndim = changes.get("ndim", 2)
        channel = {"name": "MR", "normalisation": "ct", "low": -1000.0, "high": 1000.0, "mean": 0.0, "std": 1.0}
        values: dict[str, Any] = {
            "dataset": "made up",
            "classes": ("background", "square", "other"),
            "groups": {"both": (1, 2)},
            "channels": [channel],
            "ndim": ndim,
            "spacing_mm": (None, 1.0, 1.0) if ndim == 2 else (1.0, 1.0, 1.0),
            "size": (3, 32, 32),
            "patch": (16, 16) if ndim == 2 else (4, 16, 16),
            "orientation": "as-stored",
            "fingerprint": "none",
        }
        plan = Plan.parse({**values, **changes})
        torch.manual_seed(0)
        folder = save_model(
            tmp_path / "model",
            network=build_for_plan(plan, backbone, **(settings or {})),
            backbone=backbone,
            backbone_settings=settings or {},
            plan=plan,
            method="by hand",
            settings={},
            metrics={},
        )
        return Model.load(folder, device="cpu", engine="torch", precision="fp32")

    return make


@pytest.fixture
def image() -> Image:
    """A square of 8 x 8 voxels of 1 in the middle slice of three, off the middle, on an oblique anisotropic grid."""
    array = np.zeros((1, 3, 40, 30), np.float32)
    array[:, 1, 4:12, 6:14] = 1
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    geometry = Geometry((3, 40, 30), (8.0, 1.0, 1.0), (5.0, -7.0, 3.0), tuple(turn.ravel().tolist()))
    return Image(array, geometry)


class Wrapped(nn.Module):
    """The score of a scene as a classifier's logits (N, 1), as MONAI's occlusion sensitivity wants it."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene

    def forward(self, images: Tensor) -> Tensor:
        return self.scene.score(images)[:, None]


@pytest.fixture
def wrapped() -> type[Wrapped]:
    return Wrapped
