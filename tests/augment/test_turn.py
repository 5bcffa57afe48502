"""Turning: right angles are exact, SciPy judges the rest, and nothing is invented where the image ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medcl.augment.turn import random_angles, turn


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize(("degrees", "quarters"), [(0, 0), (90, -1), (180, 2), (-90, 1)])
def test_right_angles_are_exact(degrees: float, quarters: int, nearest: bool) -> None:
    values = torch.rand(2, 3, 8, 8)
    turned = turn(values, torch.full((2,), float(degrees)), nearest=nearest)
    torch.testing.assert_close(turned, torch.rot90(values, quarters, (2, 3)), atol=1e-5, rtol=0)


def test_each_sample_and_slice_turns_by_itself() -> None:
    volume = torch.rand(2, 2, 3, 9, 13)
    angles = torch.tensor([20.0, -35.0])
    turned = turn(volume, angles)
    for n in range(2):
        for z in range(3):
            flat = turn(volume[n : n + 1, :, z], angles[n : n + 1])
            torch.testing.assert_close(turned[n, :, z], flat[0])


@pytest.mark.parametrize("size", [(21, 21), (20, 33)])
def test_other_angles_agree_with_scipy(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=size), 2)
    for degrees in (17.0, -40.0):
        judge = ndimage.rotate(smooth, -degrees, reshape=False, order=1)
        turned = turn(torch.from_numpy(smooth)[None, None], torch.tensor([degrees]))[0, 0].numpy()
        inside = ndimage.rotate(np.ones(size), -degrees, reshape=False, order=1) > 0.999
        np.testing.assert_allclose(turned[inside], judge[inside], atol=1e-4)


def test_gaps_are_unlabelled_and_strokes_keep_their_values() -> None:
    target = torch.ones(1, 2, 12, 12)
    turned = turn(target, torch.tensor([45.0]), nearest=True)
    assert set(turned.unique().tolist()) == {0.0, 1.0}
    assert turned[..., 0, 0].sum() == 0
    assert turned[..., 6, 6].sum() == 2


def test_angles_stay_in_range() -> None:
    angles = random_angles(500, 30.0, torch.Generator().manual_seed(0))
    assert angles.abs().max() <= 30
    assert angles.min() < -25
    assert angles.max() > 25
