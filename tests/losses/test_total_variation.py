"""Total variation by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medcl.losses.total_variation import total_variation


def one_hot(labels: list[list[int]], classes: int = 2) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), classes).movedim(-1, 0)[None].float()


def test_an_edge_costs_two_per_pixel_edge() -> None:
    # One of four pixels' steps crosses the border of two classes: each of the two maps changes by 1.
    assert total_variation(one_hot([[0, 0, 1, 1]])).item() == pytest.approx(2 / 4)
    # A lone pixel in a 3 x 3 image has four edges.
    assert total_variation(one_hot([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).item() == pytest.approx(4 * 2 / 9)


def test_soft_steps_add_up_to_the_hard_one() -> None:
    ramp = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    maps = torch.stack((ramp, 1 - ramp))[None, :, None]
    assert total_variation(maps).item() == pytest.approx(2 / 5)


def test_constant_maps_cost_nothing() -> None:
    assert total_variation(torch.tensor([0.2, 0.8]).reshape(1, 2, 1, 1).expand(1, 2, 5, 6)).item() == 0


@pytest.mark.parametrize("size", [(7, 5), (3, 6, 4), (1, 9)])
def test_agrees_with_scipy(size: tuple[int, ...]) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).softmax(1)
    array = maps.double().numpy()
    # With the border repeated, the step over it is 0.
    steps = [ndimage.correlate1d(array, [-1, 1], axis=axis, mode="nearest", origin=-1) for axis in range(2, array.ndim)]
    judge = sum(np.abs(step).sum() for step in steps) / (2 * np.prod(size))
    assert total_variation(maps).item() == pytest.approx(judge, rel=1e-5)
