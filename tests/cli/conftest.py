"""A model of a few numbers, which every command that takes one can use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medcl.backbones import build_backbone
from medcl.data.plan import Plan
from medcl.inference.model import save_model

UNET = {"base": 2, "levels": 2}


@pytest.fixture
def make_model() -> Callable[..., Path]:
    """Return what writes a model of one structure and slices of 16 x 16 mm, with weights of a seed."""

    def make(folder: Path, structure: str = "organ", seed: int = 0) -> Path:
        plan = Plan.parse(
            {
                "dataset": "made up",
                "classes": ("background", structure),
                "groups": {},
                "channels": [{"name": "MR", "normalisation": "zscore"}],
                "ndim": 2,
                "spacing_mm": (None, 1.0, 1.0),
                "size": (1, 16, 16),
                "patch": (16, 16),
                "orientation": "as-stored",
                "fingerprint": "",
            }
        )
        torch.manual_seed(seed)
        network = build_backbone("unet", in_channels=1, classes=2, ndim=2, **UNET)
        facts = {"backbone": "unet", "backbone_settings": UNET, "method": "m", "settings": {}, "metrics": {}}
        return save_model(folder, network=network, plan=plan, **facts)

    return make
