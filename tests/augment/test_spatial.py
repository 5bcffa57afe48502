"""Spatial changes: exact where they can be, never a stroke that nobody drew."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medcl.augment.spatial import random_grid, spatial, warp
from medcl.batch import Batch
from medcl.settings import AugmentSettings

STILL = AugmentSettings(rotation_degrees=0, scale=0, shift=0, flip=False, elastic=0)
STRONG = AugmentSettings(rotation_degrees=180, scale=0.5, shift=0.3, flip=True, elastic=0.2)


def make_batch(count: int, size: tuple[int, ...], classes: int = 3, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, classes, (count, *size), generator=generator)
    target = torch.stack([labels == c for c in range(classes)], dim=1).float()
    absent = (torch.rand(count, classes, *size, generator=generator) > 0.7).float()
    flags = torch.ones(count, classes, dtype=torch.bool)
    grown = (torch.rand(count, classes, *size, generator=generator) > 0.6).float()
    return Batch(torch.randn(count, 2, *size, generator=generator), target, flags, flags, absent, grown)


def centre_crop(values: Tensor, patch: tuple[int, ...]) -> Tensor:
    for axis, length in enumerate(patch, start=2):
        values = values.narrow(axis, (values.shape[axis] - length + 1) // 2, length)
    return values


def rotation_grid(degrees: float, size: tuple[int, int]) -> Tensor:
    """Grid that turns the plane by hand: output position p reads the input at R p, R anticlockwise in (x, y down)."""
    angle = np.deg2rad(degrees)
    y, x = np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in size), indexing="ij")
    points = np.stack((np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y), axis=-1)
    return torch.from_numpy(points / (np.array(size[::-1]) / 2)).float()[None]


# --- no change ---


@pytest.mark.parametrize(
    ("source", "patch"),
    [
        ((9, 9), (9, 9)),
        ((12, 10), (8, 6)),
        ((43, 33), (32, 24)),  # an odd canvas around an even patch
        ((5, 9, 8), (5, 6, 6)),
        ((6, 9, 8), (3, 6, 6)),
    ],
)
def test_zero_strength_cuts_out_the_centre(source: tuple[int, ...], patch: tuple[int, ...]) -> None:
    batch = make_batch(2, source)
    cut = spatial(batch, patch, STILL, torch.Generator())
    torch.testing.assert_close(cut.image, centre_crop(batch.image, patch), atol=1e-4, rtol=1e-4)
    assert torch.equal(cut.target, centre_crop(batch.target, patch))
    assert torch.equal(cut.absent, centre_crop(batch.absent, patch))


# --- known changes ---


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact_for_image_and_strokes(turns: int) -> None:
    batch = make_batch(1, (7, 7))
    turned = warp(batch, rotation_grid(90 * turns, (7, 7)))
    for values, result in (
        (batch.image, turned.image),
        (batch.target, turned.target),
        (batch.absent, turned.absent),
        (batch.grown, turned.grown),
    ):
        torch.testing.assert_close(result, torch.rot90(values, turns, dims=(2, 3)), atol=1e-4, rtol=1e-4)


def test_rotation_agrees_with_scipy_and_moves_strokes_along() -> None:
    # A smooth blob and the stroke that covers its core, turned by 30 degrees.
    y, x = np.meshgrid(np.arange(41.0), np.arange(41.0), indexing="ij")
    image = np.exp(-((y - 12) ** 2 + (x - 24) ** 2) / 30).astype(np.float32)
    stroke = (image > 0.6).astype(np.float32)
    batch = Batch(
        torch.from_numpy(image)[None, None],
        torch.from_numpy(stroke)[None, None],
        torch.ones(1, 1, dtype=torch.bool),
        torch.ones(1, 1, dtype=torch.bool),
        torch.zeros(1, 1, 41, 41),
    )
    turned = warp(batch, rotation_grid(30, (41, 41)))
    judge = scipy.ndimage.rotate(image, 30, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(turned.image[0, 0].numpy(), judge, atol=2e-3)
    judge = scipy.ndimage.rotate(stroke, 30, reshape=False, order=0)
    assert (turned.target[0, 0].numpy() != judge).mean() < 0.002  # nearest neighbour may break ties otherwise
    covered = turned.image[0, 0][turned.target[0, 0] > 0]
    assert covered.min() > 0.55  # the stroke still lies on the blob


def test_flips_mirror_whole_axes() -> None:
    batch = make_batch(8, (4, 5, 6))
    flipped = spatial(batch, (4, 5, 6), STILL.model_copy(update={"flip": True}), torch.Generator().manual_seed(0))
    kinds = set()
    for n in range(8):
        found = [
            axes
            for axes in ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3))
            if torch.equal(flipped.target[n], batch.target[n].flip(axes))
        ]
        assert len(found) == 1
        kinds.update(found)
    assert len(kinds) > 2


@pytest.mark.parametrize("scale", [0.25, 0.5])
def test_zoom_stays_within_its_limits(scale: float) -> None:
    # Without rotation, the distance of neighbouring sampling points is the zoom (times the aspect along x).
    grid = random_grid(200, (50, 50), (10, 10), STILL.model_copy(update={"scale": scale}), torch.Generator())
    step_x = (grid[:, 0, 1, 0] - grid[:, 0, 0, 0]) * 25
    step_y = (grid[:, 1, 0, 1] - grid[:, 0, 0, 1]) * 25
    assert (1 + scale) ** -1 - 1e-4 <= step_y.min() < step_y.max() <= 1 + scale + 1e-4
    widest = (1 + scale) * (1 + scale / 3)
    assert 1 / widest - 1e-4 <= step_x.min() < step_x.max() <= widest + 1e-4


def test_shift_and_warp_stay_within_their_limits() -> None:
    still = random_grid(1, (40, 40), (20, 20), STILL, torch.Generator())
    for update, limit in (({"shift": 0.1}, 0.1 * 20), ({"elastic": 0.1}, 0.1 * 20)):
        grid = random_grid(200, (40, 40), (20, 20), STILL.model_copy(update=update), torch.Generator())
        moved_px = (grid - still).abs().max().item() * 20
        assert 0.4 * limit < moved_px <= limit + 1e-4


def test_thick_slices_stay_in_their_plane() -> None:
    # 3D without elastic warp and shift: rotation and zoom act in (Y, X), every slice reads one slice only.
    settings_ = STRONG.model_copy(update={"elastic": 0, "shift": 0, "flip": False})
    grid = random_grid(5, (4, 30, 30), (4, 16, 16), settings_, torch.Generator())
    slices = (grid[..., 2] + 1) * 4 / 2 - 0.5
    expected = torch.arange(4.0).reshape(1, 4, 1, 1).expand(5, 4, 16, 16)
    torch.testing.assert_close(slices, expected, atol=1e-4, rtol=1e-4)


# --- never inventing ---


def test_corners_that_leave_the_image_are_unlabelled() -> None:
    # All of the image is background stroke. Whatever is sampled outside it must be no stroke at all, image 0.
    full = torch.ones(1, 2, 9, 9)
    flags = torch.ones(1, 2, dtype=torch.bool)
    turned = warp(Batch(full + 4, full, flags, flags, full), rotation_grid(45, (9, 9)))
    for corner in ((0, 0), (0, 8), (8, 0), (8, 8)):
        assert turned.target[0, :, *corner].sum() == 0
        assert turned.absent[0, :, *corner].sum() == 0
        assert turned.image[0, :, *corner].sum() == 0
    assert turned.target[0, :, 4, 4].tolist() == [1, 1]


@settings(max_examples=12)
@given(
    size=st.sampled_from([(33, 47), (1, 20), (16, 16), (3, 17, 20), (1, 12, 12)]),
    seed=st.integers(0, 1000),
    count=st.integers(1, 3),
)
def test_strokes_are_moved_but_never_invented(size: tuple[int, ...], seed: int, count: int) -> None:
    batch = make_batch(count, size, seed=seed)
    batch = replace(batch, target=batch.target * torch.tensor([1.0, 0, 1]).reshape(1, 3, *(1,) * len(size)))
    patch = tuple(max(1, s - 2) for s in size)
    moved = spatial(batch, patch, STRONG, torch.Generator().manual_seed(seed))
    assert moved.image.shape == (count, 2, *patch)
    assert moved.target.shape == moved.absent.shape == (count, 3, *patch)
    assert set(moved.target.unique().tolist()) <= {0.0, 1.0}
    assert moved.target.sum(dim=1).max() <= 1  # still at most one class a pixel
    assert moved.target[:, 1].sum() == 0  # a class that nobody drew
    assert moved.image.isfinite().all()
    assert torch.equal(moved.present, batch.present)


# --- randomness ---


def test_same_seed_same_result() -> None:
    batch = make_batch(3, (20, 20))
    first, again = (spatial(batch, (16, 16), STRONG, torch.Generator().manual_seed(5)) for _ in range(2))
    other = spatial(batch, (16, 16), STRONG, torch.Generator().manual_seed(6))
    for field in fields(Batch):
        if field.name != "views":
            one, two = getattr(first, field.name), getattr(again, field.name)
            assert (one is None and two is None) or torch.equal(one, two)
    assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("size", [(15, 12), (4, 12, 12)])
def test_a_batch_is_its_elements_one_by_one(size: tuple[int, ...]) -> None:
    batch = make_batch(3, size)
    grid = random_grid(3, size, size, STRONG, torch.Generator().manual_seed(0))
    together = warp(batch, grid)
    for n in range(3):
        alone = warp(
            Batch(*(getattr(batch, f)[n : n + 1] for f in ("image", "target", "known", "present", "absent"))),
            grid[n : n + 1],
        )
        torch.testing.assert_close(alone.image, together.image[n : n + 1])
        assert torch.equal(alone.target, together.target[n : n + 1])


def test_views_of_an_image_differ() -> None:
    batch = make_batch(1, (16, 16)).repeat(2)
    assert batch.views == 2
    assert torch.equal(batch.image[0], batch.image[1])
    moved = spatial(batch, (16, 16), STRONG, torch.Generator())
    assert moved.views == 2
    assert not torch.equal(moved.image[0], moved.image[1])
