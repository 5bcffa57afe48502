from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from medcl.data.geometry import Geometry
from medcl.data.plan import Plan
from medcl.errors import SettingsError
from medcl.training.adaptation.sizes import keep_sizes, read_sizes, stated_sizes


def test_training_keeps_what_its_model_predicts(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Two cases with squares of 4 x 4 and 8 x 8 in two slices of 1 x 1 x 2 mm: 64 and 256 mm3."""
    store = {}
    for name, side in (("a", 4), ("b", 8)):
        image = -np.ones((1, 2, 32, 32), np.float32)
        image[:, :, :side, :side] = 1
        store[name] = SimpleNamespace(image=image, geometry=Geometry((2, 32, 32), (2.0, 1.0, 1.0)))

    def forward(batch: Tensor) -> Tensor:
        return torch.cat((-batch, batch), dim=1)

    keep_sizes(tmp_path, forward, plan(), store, ["a", "b"])  # type: ignore[arg-type]
    sizes = read_sizes(tmp_path, plan())
    assert sizes is not None
    assert sizes.mean_ml == {"square": pytest.approx(0.16)}
    assert sizes.sd_ml == {"square": pytest.approx(0.096)}
    assert sizes.cases == 2


def test_a_model_of_before_has_none(plan: Callable[..., Plan], tmp_path: Path) -> None:
    assert read_sizes(tmp_path, plan()) is None


def test_stated_volumes_are_complete_and_positive(plan: Callable[..., Plan]) -> None:
    assert stated_sizes({"square": 3.0}, plan()).mean_ml == {"square": 3.0}
    with pytest.raises(SettingsError, match="square is missing"):
        stated_sizes({}, plan())
    with pytest.raises(SettingsError, match="above 0"):
        stated_sizes({"square": -1.0}, plan())
