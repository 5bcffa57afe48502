from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.annotate.runs import check_runs, left_by, overlap, pack, replay, runs_of_map, unpack
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError

VOXELS = 60
sets = st.sets(st.integers(0, VOXELS - 1), min_size=1)


def pairs(voxels: set[int]) -> np.ndarray:
    flat = np.full(VOXELS, UNLABELLED, np.int16)
    flat[sorted(voxels)] = 0
    return runs_of_map(flat)[:, :2]


def drawn(strokes: list[tuple[np.ndarray, int | None]]) -> dict[int, int]:
    numbers, classes = left_by(strokes)
    half = len(strokes) // 2
    again = left_by(strokes[half:], left_by(strokes[:half]))
    assert [part.tolist() for part in again] == [numbers.tolist(), classes.tolist()]
    return dict(zip(numbers.tolist(), classes.tolist(), strict=True))


def as_dict(flat: list[int]) -> dict[int, int]:
    return {voxel: value for voxel, value in enumerate(flat) if value != UNLABELLED}


@given(st.lists(st.tuples(sets, st.none() | st.integers(0, 3))))
def test_replay_is_painting_voxel_by_voxel(strokes: list[tuple[set[int], int | None]]) -> None:
    expected = [UNLABELLED] * VOXELS
    for voxels, value in strokes:
        for voxel in voxels:
            expected[voxel] = UNLABELLED if value is None else value
    found = replay(VOXELS, [(pairs(voxels), value) for voxels, value in strokes])
    assert found.tolist() == expected
    assert drawn([(pairs(voxels), value) for voxels, value in strokes]) == as_dict(expected)


@given(st.lists(st.integers(-1, 3), min_size=VOXELS, max_size=VOXELS), sets)
def test_an_import_stands_in_for_everything_before_it(flat: list[int], before: set[int]) -> None:
    view = np.array(flat, np.int16)
    imported = unpack(pack(runs_of_map(view)), 3)
    np.testing.assert_array_equal(replay(VOXELS, [(pairs(before), 2), (imported, None)]), view)
    assert drawn([(pairs(before), 2), (imported, None)]) == as_dict(flat)


@given(sets)
def test_packing_and_checking_keep_runs(voxels: set[int]) -> None:
    runs = pairs(voxels)
    np.testing.assert_array_equal(unpack(pack(runs)), runs)
    np.testing.assert_array_equal(check_runs(runs.ravel().tolist(), VOXELS), runs)


@given(sets, sets)
def test_overlap_is_that_of_sets(first: set[int], second: set[int]) -> None:
    assert overlap(pairs(first), pairs(second)) == bool(first & second)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([1], "pairs"),
        ([], "pairs"),
        ([1, 0], "at least 1"),
        ([50, 20], "below 60"),
        ([10**30, 1], "below 60"),
        ([5, 5, 7, 2], "rising"),
        ([9, 1, 3, 1], "rising"),
    ],
)
def test_bad_runs_are_refused(values: list[int], word: str) -> None:
    with pytest.raises(DataError, match=word):
        check_runs(values, VOXELS)


def test_strokes_that_the_image_no_longer_holds_are_an_error() -> None:
    with pytest.raises(IndexError):
        replay(10, [(np.array([[8, 5]]), 1)])


def test_bytes_that_are_no_stroke_are_an_error() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        unpack(b"not zlib")
