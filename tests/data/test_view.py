from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.geometry import Geometry
from medcl.data.view import View


@st.composite
def geometries(draw: st.DrawFn, degrees: float) -> Geometry:
    """Axes in any order and direction, turned by up to so many degrees about any axis."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    swap = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        swap[row, column] = sign
    axis = np.array(draw(st.tuples(*[st.integers(-9, 9)] * 3)), float) + 0.01
    axis /= np.linalg.norm(axis)
    angle = np.radians(draw(st.floats(-degrees, degrees)))
    cross = np.cross(np.eye(3), -axis)  # Rodrigues' formula
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    size = draw(st.tuples(*[st.integers(1, 5)] * 3))
    spacing = draw(st.tuples(*[st.sampled_from((0.5, 1.0, 5.0))] * 3))
    return Geometry(size, spacing, (3.0, -20.0, 7.5), tuple((turn @ swap).ravel().tolist()))


def nifti(geometry: Geometry, array: np.ndarray) -> nibabel.Nifti1Image:
    """The same array and place as nibabel sees them: (X, Y, Z), RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(geometry.direction, (3, 3)) * np.array(geometry.spacing_mm[::-1])
    affine[:3, 3] = geometry.origin_mm
    return nibabel.Nifti1Image(array.T, np.diag([-1.0, -1, 1, 1]) @ affine)


@given(geometries(35))
def test_the_view_is_nibabels_closest_canonical(geometry: Geometry) -> None:
    array = np.arange(np.prod(geometry.size), dtype=np.int32).reshape(geometry.size)
    view = View.of(geometry)
    expected = nibabel.as_closest_canonical(nifti(geometry, array))
    np.testing.assert_array_equal(view.to_view(array), np.asarray(expected.dataobj).T)
    np.testing.assert_allclose(view.affine, expected.affine, atol=1e-9)
    assert view.size == expected.shape
    np.testing.assert_allclose(view.spacing_mm, expected.header.get_zooms())


@given(geometries(180))
def test_no_voxel_moves_in_space_and_the_way_back_is_exact(geometry: Geometry) -> None:
    """Also half way between two axes, where nobody can say which one is nearer."""
    array = np.arange(np.prod(geometry.size), dtype=np.int32).reshape(geometry.size)
    view = View.of(geometry)
    turned = view.to_view(array)
    np.testing.assert_array_equal(view.from_view(turned), array)
    source = nifti(geometry, array)
    for k, j, i in np.ndindex(turned.shape):
        z, y, x = np.unravel_index(turned[k, j, i], geometry.size)
        np.testing.assert_allclose(view.affine @ [i, j, k, 1], source.affine @ [x, y, z, 1], atol=1e-6)
    if geometry.size == view.shape:
        assert (np.diag(view.affine)[:3] >= -1e-9).all()


def test_a_voxels_number_counts_i_first() -> None:
    view = View.of(Geometry((2, 3, 4)))  # LPS: x to the left, y to the back
    array = np.zeros((2, 3, 4), int)
    array[1, 0, 3] = 1  # head, front, left
    i, j, k = 0, 2, 1
    assert view.size == (4, 3, 2)
    assert view.to_view(array).ravel()[i + 4 * (j + 3 * k)] == 1


def test_channels_are_turned_together() -> None:
    view = View.of(Geometry((2, 3, 4)))
    array = np.arange(48).reshape(2, 2, 3, 4)
    np.testing.assert_array_equal(view.to_view(array)[1], view.to_view(array[1]))


@pytest.mark.parametrize("size", [(1, 5, 7), (5, 1, 7)])
def test_flat_images_have_a_view(size: tuple[int, int, int]) -> None:
    assert sorted(View.of(Geometry(size)).size) == sorted(size)
