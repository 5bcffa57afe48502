from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.scribbles.coverage import _farthest_in_volume, count_pieces, farthest_from, measure_coverage

CLASSES = ("background", "organ")


def blank(*shape: int) -> np.ndarray:
    return np.full(shape, UNLABELLED, dtype=np.int16)


def test_counts_pieces_pixels_share_and_slices() -> None:
    scribble = blank(3, 10, 10)
    scribble[0, 0, 0:4] = 1
    scribble[0, 5, 5] = 1
    scribble[0, 6, 6] = 1  # touches by a corner: one piece with the pixel above
    scribble[1, 0, 0] = 0
    scribble[2, 0, 0:2] = 1
    background, organ = measure_coverage(scribble, (5.0, 1.0, 1.0), CLASSES).classes
    assert (organ.strokes, organ.pixels, organ.slices) == (3, 8, 2)
    assert organ.share == 8 / 300
    assert organ.skipped_slices == (1,)
    assert (background.strokes, background.pixels, background.slices) == (1, 1, 1)


def test_farthest_pixel_uses_the_spacing_of_each_axis() -> None:
    scribble = blank(1, 4, 4)
    scribble[0, 0, 0] = 0
    found = measure_coverage(scribble, (1.0, 3.0, 4.0), CLASSES)
    assert found.farthest_at == (0, 3, 3)
    assert found.farthest_mm == pytest.approx(np.hypot(3 * 3.0, 3 * 4.0))  # 15 mm
    assert found.field_mm == pytest.approx(15.0)


def test_distances_stay_within_slices_that_hold_strokes() -> None:
    scribble = blank(3, 5, 5)
    scribble[0, 2, 2] = 1
    scribble[1, :, 0] = 0
    found = measure_coverage(scribble, (1.0, 1.0, 1.0), CLASSES)
    assert found.ndim == 2
    assert found.empty_slices == (2,)
    assert (found.farthest_mm, found.farthest_at) == (4.0, (1, 0, 4))


def test_mostly_empty_volumes_are_measured_in_3d() -> None:
    scribble = blank(5, 3, 3)
    scribble[0] = 0
    found = measure_coverage(scribble, (2.5, 1.0, 1.0), CLASSES)
    assert found.ndim == 3
    assert (found.farthest_mm, found.farthest_at) == (10.0, (4, 0, 0))


def test_margin_is_not_far() -> None:
    scribble = blank(1, 1, 10)
    scribble[0, 0, 0] = 0
    inside = np.ones((1, 1, 10), dtype=bool)
    inside[0, 0, 6:] = False
    assert measure_coverage(scribble, (1, 1, 1), CLASSES, inside=inside).farthest_at == (0, 0, 5)
    assert measure_coverage(scribble, (1, 1, 1), CLASSES, inside=~np.ones_like(inside)).farthest_at is None


def test_without_strokes_there_is_no_distance() -> None:
    found = measure_coverage(blank(2, 4, 4), (1, 1, 1), CLASSES)
    assert found.farthest_mm is None
    assert found.farthest_at is None
    assert found.empty_slices == (0, 1)
    assert [entry.strokes for entry in found.classes] == [0, 0]


def test_with_a_dense_label_each_class_is_judged_by_its_own_strokes() -> None:
    scribble, label = blank(1, 1, 10), np.zeros((1, 1, 10), dtype=np.int16)
    label[0, 0, 4:10] = 1
    label[0, 0, 0] = UNLABELLED
    scribble[0, 0, 5] = 1
    scribble[0, 0, 3] = 0
    background, organ = measure_coverage(scribble, (1, 1, 2.0), CLASSES, label=label).classes
    assert (organ.label_pixels, organ.farthest_mm) == (6, 8.0)  # pixel 9 is four pixels of 2 mm from pixel 5
    assert organ.drawn_share == pytest.approx(1 / 6)
    assert (background.label_pixels, background.farthest_mm) == (3, 4.0)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="label: expected the scribble's shape"):
        measure_coverage(blank(1, 2, 2), (1, 1, 1), CLASSES, label=blank(1, 2, 3))
    with pytest.raises(ValueError, match="expected \\(Z, Y, X\\)"):
        measure_coverage(blank(2, 2), (1, 1, 1), CLASSES)


def test_pieces_across_slices_join_only_in_3d() -> None:
    mask = np.zeros((2, 3, 3), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_pieces(mask, 2) == 2
    assert count_pieces(mask, 3) == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_farthest_agrees_with_trying_all_pairs(seed: int, ndim: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, 3))
    spacing = tuple(rng.uniform(0.3, 4, 3))
    drawn = rng.random(shape) < 0.2
    best = -1.0
    for voxel in np.ndindex(*shape):
        strokes = [s for s in np.argwhere(drawn) if ndim == 3 or s[0] == voxel[0]]
        if strokes:
            best = max(best, min(float(np.linalg.norm((s - voxel) * np.array(spacing))) for s in strokes))
    distance, at = farthest_from(drawn, spacing, 2 if ndim == 2 else 3)
    if best < 0:
        assert distance is None
        assert at is None
    else:
        assert distance == pytest.approx(best, abs=1e-5)


def test_large_volumes_are_measured_on_blocks() -> None:
    rng = np.random.default_rng(0)
    drawn = np.zeros((9, 41, 37), dtype=bool)
    drawn[rng.integers(0, 9, 5), rng.integers(0, 41, 5), rng.integers(0, 37, 5)] = True
    among = rng.random(drawn.shape) < 0.5
    spacing = (3.0, 0.8, 0.8)
    exact, _ = farthest_from(drawn, spacing, 3, among)
    coarse, at = _farthest_in_volume(drawn, spacing, among, largest=2000)
    assert exact is not None
    assert at is not None
    assert coarse == pytest.approx(exact, abs=np.linalg.norm((3.0, 3.2, 3.2)))
    assert among[at]
