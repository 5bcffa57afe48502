from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medcl.data.labels import UNLABELLED
from medcl.data.resample import resize, resize_map, resize_weights

sizes = st.integers(1, 40)


def test_halving_averages_pairs() -> None:
    np.testing.assert_allclose(resize(np.array([1.0, 3.0, 10.0, 20.0]), [2]), [2.0, 15.0])


def test_doubling_interpolates_between_centres() -> None:
    np.testing.assert_allclose(resize(np.array([0.0, 4.0]), [4]), [0.0, 1.0, 3.0, 4.0])


def test_three_to_two_weights_by_overlap() -> None:
    # each new voxel covers one and a half old ones
    np.testing.assert_allclose(resize_weights(3, 2).toarray(), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], atol=1e-6)


@given(sizes, sizes)
def test_refining_agrees_with_numpy_interpolation(size_in: int, more: int) -> None:
    values = np.random.default_rng(size_in).normal(size=size_in).astype(np.float32)
    size_out = size_in + more
    centres = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    np.testing.assert_allclose(resize(values, [size_out]), np.interp(centres, np.arange(size_in), values), atol=2e-5)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
def test_coarsening_by_whole_numbers_averages_blocks(size: int, y: int, x: int) -> None:
    values = np.random.default_rng(size).normal(size=(size * y, size * x)).astype(np.float32)
    expected = values.reshape(size, y, size, x).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(values, [size, size]), expected, atol=1e-5)


@given(sizes, sizes)
def test_weights_are_an_average(size_in: int, size_out: int) -> None:
    weights = resize_weights(size_in, size_out).toarray()
    assert weights.shape == (size_out, size_in)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


@given(st.integers(30, 90), st.integers(20, 120))
def test_a_blob_stays_at_its_place(size_in: int, size_out: int) -> None:
    centre = 0.5 * size_in + 2.3  # in old voxels from the outer edge
    edge = np.arange(size_in) + 0.5
    blob = np.exp(-0.5 * ((edge - centre) / 3.0) ** 2)
    new = resize(blob, [size_out])
    place = (np.arange(size_out) + 0.5) * size_in / size_out
    assert abs(float((place * new).sum() / new.sum()) - centre) < 0.05


def test_the_same_size_is_untouched() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(resize(values, [3, 5]), values)


# maps


def test_dense_labels_take_the_class_that_covers_most() -> None:
    values = np.array([[1, 1, 2, 2], [1, 0, 2, 2]])
    np.testing.assert_array_equal(resize_map(values, (1, 2), UNLABELLED), [[1, 2]])


def test_a_thin_line_keeps_its_length_and_is_one_voxel_wide() -> None:
    values = np.full((20, 20), UNLABELLED)
    values[7, 2:18] = 1
    small = resize_map(values, (10, 10), UNLABELLED)
    assert set(np.unique(small)) == {UNLABELLED, 1}
    assert (small == 1).sum(axis=0).max() == 1  # not swollen
    assert (small[3] == 1).sum() == 8  # 16 old pixels long, 8 new ones


@pytest.mark.parametrize("factor", [1.3, 1.88, 2.0, 3.1])
def test_a_thin_diagonal_stays_in_one_piece(factor: float) -> None:
    values = np.full((60, 60), UNLABELLED)
    index = np.arange(5, 55)
    values[index, index] = 2
    size = round(60 / factor)
    small = resize_map(values, (size, size), UNLABELLED)
    drawn = small == 2
    assert ndimage.label(ndimage.binary_dilation(drawn), structure=np.ones((3, 3)))[1] == 1
    assert drawn.sum() <= 2 * size


def test_a_broad_stroke_keeps_its_area() -> None:
    values = np.full((100, 100), UNLABELLED)
    values[20:51, 30:41] = 1
    small = resize_map(values, (53, 53), UNLABELLED)
    assert (small == 1).sum() / 53**2 == pytest.approx(31 * 11 / 100**2, rel=0.1)


def test_what_was_not_annotated_stays_so() -> None:
    values = np.full((40, 40), UNLABELLED)
    values[:10, :10] = 0
    for size in ((23, 23), (61, 61)):
        new = resize_map(values, size, UNLABELLED)
        assert (new[size[0] // 2 :] == UNLABELLED).all()
        assert (new[:, size[0] // 2 :] == UNLABELLED).all()
    empty = np.full((7, 5), UNLABELLED)
    assert (resize_map(empty, (3, 9), UNLABELLED) == UNLABELLED).all()


@st.composite
def stroke_maps(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    """Draw random walks of up to three classes on an unlabelled map, and a new size."""
    shape = draw(st.tuples(st.integers(1, 50), st.integers(1, 50)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = np.full(shape, UNLABELLED)
    for _ in range(draw(st.integers(1, 6))):
        steps = rng.integers(-1, 2, size=(rng.integers(1, 30), 2)).cumsum(axis=0) + rng.integers(0, shape, size=2)
        steps = steps[((steps >= 0) & (steps < shape)).all(axis=1)]
        values[tuple(steps.T)] = rng.integers(0, 3)
    factor = draw(st.floats(0.3, 1.8))
    return values, (max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor)))


@given(stroke_maps())
def test_no_piece_of_a_stroke_is_lost_or_invented(case: tuple[np.ndarray, tuple[int, int]]) -> None:
    values, size = case
    new = resize_map(values, size, UNLABELLED)
    scale = np.array(size) / np.array(values.shape)
    for value in range(3):
        near = ndimage.maximum_filter((new == value).astype(int), size=3, mode="constant") > 0
        pieces, count = ndimage.label(values == value, structure=np.ones((3, 3)))
        for piece in range(1, count + 1):
            home = np.floor((np.argwhere(pieces == piece) + 0.5) * scale).astype(int).T
            taken = new[tuple(home)]
            # beside a voxel of its own class, or in voxels where another class is drawn
            assert near[tuple(home)].any() or (taken != UNLABELLED).all()
        # and every new voxel has a stroke of its class in the old pixels that it touches
        for point in np.argwhere(new == value):
            low = np.floor((point - 0.5) / scale).astype(int).clip(0)
            high = np.ceil((point + 1.5) / scale).astype(int) + 1
            assert (values[low[0] : high[0], low[1] : high[1]] == value).any()


@given(stroke_maps(), st.permutations([0, 1, 2]))
def test_permuting_classes_permutes_the_map(case: tuple[np.ndarray, tuple[int, int]], order: list[int]) -> None:
    values, size = case
    table = np.array([*order, UNLABELLED])  # index -1 is unlabelled
    np.testing.assert_array_equal(
        resize_map(table[values], size, UNLABELLED), table[resize_map(values, size, UNLABELLED)]
    )


def test_volumes_too() -> None:
    values = np.full((8, 16, 16), UNLABELLED)
    values[3, 4, 2:14] = 1
    small = resize_map(values, (4, 8, 8), UNLABELLED)
    assert (small == 1).sum() == 6
    assert (small[1, 2] == 1).sum() == 6
