from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.geometry import Geometry
from medcl.data.grid import Grid, canonical_axes, make_grid, slice_axis_first
from medcl.errors import DataError

signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
axes = st.permutations([0, 1, 2])


def direction(order: list[int], sign: tuple[float, ...], tilt_degrees: float = 0.0) -> tuple[float, ...]:
    """Return a direction matrix of permuted, mirrored axes, tilted around the patient's z."""
    matrix = np.eye(3)[:, order] * sign
    angle = np.radians(tilt_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return tuple((turn @ matrix).ravel().tolist())


@given(axes, signs, st.floats(-29.0, 29.0))
def test_canonical_axes_agree_with_simpleitk(order: list[int], sign: tuple[float, ...], tilt: float) -> None:
    array = np.random.default_rng(0).integers(0, 100, size=(3, 4, 5)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection(direction(order, sign, tilt))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS"))
    geometry = Geometry(array.shape, direction=image.GetDirection())
    grid = make_grid(geometry, "LPS", (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(grid.turn(array), expected)
    assert canonical_axes(geometry)[2] == pytest.approx(abs(tilt), abs=1e-4)


@given(axes, signs, st.integers(0, 2))
def test_turning_back_is_exact(order: list[int], sign: tuple[float, ...], lead: int) -> None:
    shape = (3, 4, 5)
    array = np.random.default_rng(1).normal(size=(2,) * lead + shape)
    geometry = Geometry(shape, (1.0, 2.0, 3.0), direction=direction(order, sign))
    grid = make_grid(geometry, "LPS", (1.0, 1.0, 1.0))
    assert grid.turn(array).shape[lead:] == grid.turned_size
    np.testing.assert_array_equal(grid.turn_back(grid.turn(array)), array)


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((10, 200, 200), (8.0, 1.0, 1.0), (0, 1, 2)),
        ((200, 200, 10), (1.0, 1.0, 8.0), (2, 0, 1)),  # slices stacked along x: sagittal
        ((200, 10, 200), (1.0, 8.0, 1.0), (1, 0, 2)),
        ((40, 40, 40), (1.0, 1.0, 1.2), (0, 1, 2)),  # not clear enough
        ((1, 200, 200), (1.0, 1.0, 8.0), (0, 1, 2)),  # a picture: its only slice is the slice axis
        ((200, 1, 200), (1.0, 1.0, 1.0), (1, 0, 2)),
    ],
)
def test_slice_axis(size: tuple[int, int, int], spacing: tuple[float, float, float], expected: tuple[int, ...]) -> None:
    assert slice_axis_first(Geometry(size, spacing)) == expected


def test_spacing_and_size_follow_the_axes() -> None:
    grid = make_grid(Geometry((200, 100, 10), (1.0, 0.5, 8.0)), "as-stored", (None, 1.0, 1.0))
    assert grid.order == (2, 0, 1)
    assert grid.size == (10, 200, 50)
    assert grid.spacing_mm == (8.0, 1.0, 1.0)


def test_json_keeps_everything() -> None:
    geometry = Geometry((3, 4, 5), (0.1, 0.2, 0.3), (1 / 3, 2.0, 3.0), direction([2, 0, 1], (1, -1, 1), 11.0), 3)
    grid = make_grid(geometry, "LPS", (0.2, 0.2, 0.2))
    assert Grid.from_json(json.loads(json.dumps(grid.as_json()))) == grid


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_unusable_spacing_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="positive spacing"):
        make_grid(Geometry((3, 4, 5), spacing), "as-stored", (None, 1.0, 1.0))


def test_spacing_in_a_wrong_unit_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(DataError, match="must be mm"):
        make_grid(Geometry((50, 512, 512), (5000.0, 700.0, 700.0)), "as-stored", (None, 0.7, 0.7))
