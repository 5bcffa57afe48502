"""The class ratio of what is drawn is that of the image, whatever is padded and wherever windows lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from medcl.data.geometry import Geometry
from medcl.data.grid import Grid
from medcl.data.plan import Plan
from medcl.data.prepare import Prepared
from medcl.losses.class_ratio import mean_ratio, weighted_entropy
from medcl.training.adaptation.images import Draws, Target
from medcl.training.adaptation.sizes import sizes_from, voxel_ml


def _target(mask: np.ndarray) -> Target:
    geometry = Geometry(size=mask.shape, spacing_mm=(1.0, 1.0, 1.0))
    return Target("a", Prepared(mask.astype(np.float32)[None], Grid(geometry, (0, 1, 2), (False,) * 3, mask.shape)))


def _middle(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(side // 3, side - side // 3) for side in shape)] = True
    return mask


def _corner(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(0, side // 2 + 1) for side in shape)] = True
    return mask


@pytest.mark.parametrize(
    ("shape", "changes", "draws", "tolerance"),
    [
        ((4, 97, 97), {}, 1, 1e-5),  # padded to 128
        ((4, 48, 33), {}, 1, 1e-5),
        ((2, 650, 700), {}, 300, 0.06),  # windows of 512
        ((20, 23, 21), {"ndim": 3, "patch": (8, 8, 8)}, 2000, 0.06),
        ((5, 64, 20), {"ndim": 3, "patch": (8, 16, 16)}, 400, 0.06),  # padded across, windows along
        ((6, 20, 20), {"ndim": 3, "patch": (8, 32, 32)}, 1, 1e-5),
    ],
)
@pytest.mark.parametrize("where", [_middle, _corner])
def test_a_perfect_segmentation_has_the_ratio_that_is_expected(
    plan: Callable[..., Plan],
    where: Callable[[tuple[int, ...]], np.ndarray],
    shape: tuple[int, ...],
    changes: dict[str, Any],
    draws: int,
    tolerance: float,
) -> None:
    mask, made = where(shape), plan(**changes)
    target = _target(mask)
    voxel = voxel_ml(target.prepared)
    expected = sizes_from([np.array([mask.sum() * voxel])], made, source="").ratio(made, voxel * mask.size)
    batches = Draws([target], made, batch_size=4, seed=0)
    found = []
    for step in range(draws):
        image, places, _ = batches(step)
        found.append(mean_ratio(torch.cat((50 - 100 * image, 100 * image - 50), dim=1), places))
    seen = torch.stack(found).mean(dim=0)
    assert float(seen.sum()) == pytest.approx(1.0, rel=1e-5)
    assert float(seen[1] / expected[1]) == pytest.approx(1.0, abs=tolerance)


def test_only_the_places_that_count_are_averaged() -> None:
    """Of two images, the first is certain where it counts, the second undecided: half of log 2."""
    logits = torch.zeros(2, 2, 1, 3)
    logits[0, 0, 0, :2] = 100.0
    places = torch.tensor([[[True, True, False]], [[False, True, True]]])
    assert mean_ratio(logits, places).tolist() == pytest.approx([0.75, 0.25])
    assert float(weighted_entropy(logits, torch.ones(2), places)) == pytest.approx(np.log(2) / 2)
    everywhere = torch.ones(2, 1, 3, dtype=torch.bool)
    assert mean_ratio(logits, everywhere).tolist() == pytest.approx(mean_ratio(logits).tolist())
