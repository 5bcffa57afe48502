"""A small phantom data set and settings that train in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcl.phantom import make_phantom

TINY: dict[str, Any] = {
    "backbone": {"name": "unet", "base": 4, "levels": 3},
    # all that MedCL can do, in every step
    "method": {
        "name": "medcl",
        "code_grid": 8,
        "code_width": 16,
        "code_dim": 8,
        "start": 0.2,
        "views": 2,
        "intra_mix": True,
        "mixing": 1.0,
        "weights": {"local": 1.0},
    },
    "batch_size": 4,
    "precision": "fp32",
    "threads": 1,
    "plan": {"patch": [32, 32]},
    "sample_pictures": 0,
    "validate_every": 0.5,
}


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up hearts with strokes, one with dense labels for validation."""
    return make_phantom(
        tmp_path_factory.mktemp("phantom") / "hearts", "heart", cases=3, validation=1, size=(4, 64, 64), seed=1
    )


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    """Settings of a training that takes a second or two."""
    import copy

    return copy.deepcopy(TINY)
