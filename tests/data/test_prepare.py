from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.geometry import Geometry, Image
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.data.prepare import plan_grid, prepare_image, prepare_map, restore_probabilities, restore_slices
from medcl.errors import DataError

DIRECTIONS = [
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (0.54, 0.37, -0.75, 0.82, -0.03, 0.57, -0.19, 0.93, 0.32),
]


def plan(ndim: int = 2, *, channel: dict[str, Any] | None = None, channels: int = 1, **values: Any) -> Plan:
    one = {"name": "MR", "normalisation": "zscore"} | (channel or {})
    defaults = {
        "dataset": "made-up",
        "classes": ("background", "a", "b"),
        "groups": {},
        "channels": [one] * channels,
        "ndim": ndim,
        "spacing_mm": (None, 1.0, 1.0) if ndim == 2 else (1.0, 1.0, 1.0),
        "size": (8, 32, 32),
        "patch": (32, 32) if ndim == 2 else (8, 32, 32),
        "orientation": "as-stored",
        "fingerprint": "",
    }
    return Plan.parse(defaults | values)


def noise(size: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), **geometry: Any) -> Image:
    values = np.random.default_rng(0).normal(100, 20, size=(1, *size)).astype(np.float32)
    return Image(values, Geometry(size, spacing, **geometry))


def unscaled() -> dict[str, Any]:
    """Return a channel whose values stay as they are."""
    return {"normalisation": "ct", "low": -1e6, "high": 1e6, "mean": 0.0, "std": 1.0}


# images


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(*[st.floats(0.3, 4.0)] * 3),
    st.sampled_from(DIRECTIONS),
    st.sampled_from(["as-stored", "LPS"]),
    st.sampled_from([2, 3]),
)
def test_any_grid_comes_back_in_its_own_shape(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: tuple[float, ...],
    orientation: str,
    ndim: int,
) -> None:
    image = noise(size, spacing, direction=direction)
    prepared = prepare_image(image, plan(ndim, orientation=orientation))
    assert prepared.array.dtype == np.float32
    assert prepared.array.shape == (1, *prepared.grid.size)
    assert np.isfinite(prepared.array).all()
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), size=prepared.grid.size).transpose(3, 0, 1, 2)
    restored = restore_probabilities(probabilities, prepared)
    assert restored.shape == (3, *size)
    np.testing.assert_allclose(restored.sum(axis=0), 1.0, atol=1e-5)
    labels = prepare_map(rng.integers(0, 3, size=size).astype(np.int16), prepared, plan(ndim, orientation=orientation))
    assert labels.shape == prepared.grid.size
    assert labels.min() >= 0  # dense stays dense


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("orientation", ["as-stored", "LPS"])
def test_a_blob_stays_at_its_place_in_the_patient(direction: tuple[float, ...], ndim: int, orientation: str) -> None:
    size, spacing = (24, 60, 70), (1.5, 0.6, 0.8)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1) * np.array(spacing)
    centre_mm = np.array([17.0, 14.0, 33.0])
    blob = np.exp(-0.5 * ((index - centre_mm) ** 2).sum(axis=-1) / 4.0**2)
    image = Image(blob[None].astype(np.float32), Geometry(size, spacing, direction=direction))
    prepared = prepare_image(image, plan(ndim, channel=unscaled(), orientation=orientation))
    grid = prepared.grid
    weight = prepared.array[0] / prepared.array.sum()
    # centre of mass on the plan's grid, in mm from the outer corner, then by hand back to the file's axes
    found = [
        float((weight.sum(axis=tuple(a for a in range(3) if a != axis)) * (np.arange(grid.size[axis]) + 0.5)).sum())
        * grid.spacing_mm[axis]
        for axis in range(3)
    ]
    for axis, stored in enumerate(grid.order):
        extent = size[stored] * spacing[stored]
        place = extent - found[axis] if grid.flips[axis] else found[axis]
        assert place == pytest.approx(centre_mm[stored] + 0.5 * spacing[stored], abs=0.05)


def test_equal_grids_are_only_scaled() -> None:
    image = noise((4, 30, 20))
    prepared = prepare_image(image, plan(channel=unscaled()))
    np.testing.assert_array_equal(prepared.array, image.array)


def test_zscore_is_blind_to_scale_offset_and_single_bright_voxels() -> None:
    image = noise((8, 40, 40))
    base = prepare_image(image, plan()).array
    assert abs(base.mean()) < 0.05
    assert base.std() == pytest.approx(1.0, abs=0.1)
    scaled = Image(image.array * 500 + 7000, image.geometry)
    np.testing.assert_allclose(prepare_image(scaled, plan()).array, base, atol=1e-3)
    image.array[0, 0, 0, 0] = 1e6
    assert np.abs(prepare_image(image, plan()).array[0, 1:] - base[0, 1:]).max() < 0.02


def test_skipping_zeros_ignores_how_much_of_them_there_is() -> None:
    image = noise((8, 40, 40))
    padded = Image(np.pad(image.array, ((0, 0), (0, 0), (0, 0), (0, 200))), Geometry((8, 40, 240)))
    with_zeros = prepare_image(padded, plan(channel={"skip_zeros": True})).array[..., :40]
    np.testing.assert_allclose(with_zeros, prepare_image(image, plan()).array, atol=1e-4)


@pytest.mark.parametrize("value", [0, 7, -3])
@pytest.mark.parametrize("skip_zeros", [True, False])
def test_a_constant_image_becomes_zeros(value: int, skip_zeros: bool) -> None:
    image = Image(np.full((1, 2, 9, 9), value, dtype=np.int16), Geometry((2, 9, 9)))
    assert (prepare_image(image, plan(channel={"skip_zeros": skip_zeros})).array == 0).all()


def test_a_few_voxels_that_differ_still_show() -> None:
    image = Image(np.zeros((1, 2, 90, 90), dtype=np.int16), Geometry((2, 90, 90)))
    image.array[0, 0, :2, :2] = 100
    prepared = prepare_image(image, plan()).array
    assert np.isfinite(prepared).all()
    assert prepared[0, 0, 0, 0] > prepared[0, 1, 0, 0] + 1


def test_ct_by_hand() -> None:
    image = Image(np.array([-1000, 0, 50, 900], dtype=np.int16).reshape(1, 1, 1, 4), Geometry((1, 1, 4)))
    channel = {"normalisation": "ct", "low": -100, "high": 300, "mean": 50, "std": 50}
    np.testing.assert_allclose(prepare_image(image, plan(channel=channel)).array[0, 0, 0], [-3, -1, 0, 5])


def test_unit_by_hand() -> None:
    image = Image(np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3), Geometry((1, 1, 3)))
    channel = {"normalisation": "unit", "scale": 255, "mean": 0.2, "std": 0.4}
    np.testing.assert_allclose(prepare_image(image, plan(channel=channel)).array[0, 0, 0], [-0.5, 0, 2], atol=1e-6)


def test_colours_in_0_to_1_are_refused_where_0_to_255_is_meant() -> None:
    image = Image(np.linspace(0, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3), Geometry((1, 3, 3)))
    channel = {"normalisation": "unit", "scale": 255, "mean": 0.2, "std": 0.4}
    with pytest.raises(DataError, match="multiply the image by 255"):
        prepare_image(image, plan(channel=channel))


def test_wrong_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected 2 channels \(MR, MR\), got 1"):
        prepare_image(noise((2, 8, 8)), plan(channels=2))
    broken = noise((2, 8, 8))
    broken.array[0, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="finite values in channel MR"):
        prepare_image(broken, plan())
    with pytest.raises(DataError, match="like its geometry"):
        prepare_image(Image(np.zeros((1, 2, 8, 9)), Geometry((2, 8, 8))), plan())


# maps and the way back


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="like its image"):
        prepare_map(np.zeros((2, 8, 9), dtype=np.int16), Geometry((2, 8, 8)), plan())


def test_strokes_of_one_slice_stay_in_it() -> None:
    drawn = np.full((5, 40, 40), UNLABELLED, dtype=np.int16)
    drawn[2, 10:30, 20] = 1
    for spacing in (0.5, 1.7):
        new = prepare_map(drawn, Geometry((5, 40, 40), (8.0, spacing, spacing)), plan())
        assert (new[[0, 1, 3, 4]] == UNLABELLED).all()
        assert (new[2] == 1).any()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("ndim", "spacing"), [(2, (5.0, 0.7, 0.7)), (2, (0.7, 0.7, 5.0)), (3, (0.8, 1.3, 0.6))])
def test_there_and_back_gives_the_same_mask(
    direction: tuple[float, ...], ndim: int, spacing: tuple[float, float, float]
) -> None:
    size = (40, 44, 36)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    mask = ((z**2 + y**2 + x**2) < 0.6).astype(np.int16) + ((z**2 + (y - 0.2) ** 2 + x**2) < 0.15)
    geometry = Geometry(size, spacing, direction=direction)
    recipe = plan(ndim, orientation="LPS" if ndim == 3 else "as-stored")
    grid = plan_grid(geometry, recipe)
    there = prepare_map(mask, geometry, recipe)
    back = restore_probabilities((there == np.arange(3)[:, None, None, None]).astype(np.float32), grid).argmax(axis=0)
    for index in (1, 2):
        dice = 2 * ((back == index) & (mask == index)).sum() / ((back == index).sum() + (mask == index).sum())
        assert dice > 0.93


def test_equal_grids_come_back_exactly_whatever_the_orientation() -> None:
    for direction in DIRECTIONS:
        geometry = Geometry((4, 5, 6), direction=direction)
        values = np.random.default_rng(2).integers(0, 3, size=(4, 5, 6)).astype(np.int16)
        recipe = plan(3, orientation="LPS")
        there = prepare_map(values, geometry, recipe)
        one_hot = (there == np.arange(3)[:, None, None, None]).astype(np.float16)
        np.testing.assert_array_equal(restore_probabilities(one_hot, plan_grid(geometry, recipe)).argmax(0), values)


def test_slices_come_one_by_one_and_memory_stays_bounded() -> None:
    size = (60, 200, 180)
    grid = plan_grid(Geometry(size, (1.0, 0.5, 0.5)), plan())
    probabilities = np.zeros((4, *grid.size), dtype=np.float16)
    probabilities[1] = 1
    full = 4 * int(np.prod(size)) * 4
    tracemalloc.start()
    count = sum(int(plane.shape == (4, 200, 180)) for plane in restore_slices(probabilities, grid))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60
    assert peak < full / 10


def test_probabilities_of_another_grid_are_refused() -> None:
    grid = plan_grid(Geometry((4, 20, 20)), plan())
    with pytest.raises(DataError, match="on the plan's grid"):
        next(restore_slices(np.zeros((2, 4, 20, 21)), grid))
