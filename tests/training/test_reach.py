"""Reach: what is too far from its own strokes, by hand and against distances taken one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.training.reach import COARSE, SHORTEST, absence_in_words, beyond_reach, closed_off, impossible_places


def empty(*size: int) -> np.ndarray:
    return np.full(size, UNLABELLED, np.int16)


def far(
    strokes: np.ndarray,
    reach_mm: float,
    *,
    classes: int = 3,
    annotated: tuple[int, ...] = (0, 1, 2),
    across_slices: bool = False,
    spacing_mm: tuple[float, float, float] = (10.0, 1.0, 1.0),
) -> np.ndarray:
    return beyond_reach(
        strokes,
        spacing_mm,
        0.0,
        shortest_mm=reach_mm,
        classes=classes,
        annotated=annotated,
        across_slices=across_slices,
    )


def test_a_row_by_hand() -> None:
    # One stroke pixel in cell 0 of a row of 12 cells of 4 mm. Cells' centres lie 4 mm apart; two points of two cells
    # can be nearer than their centres by a cell's diagonal of 5.7 mm. Reach 10 mm: cells 4 (16 mm > 15.7) and on.
    strokes = empty(1, COARSE, 12 * COARSE)
    strokes[0, 3, 3] = 1
    marked = far(strokes, 10.0)
    assert marked.shape == (3, 1, 1, 12)
    assert marked[1, 0, 0].tolist() == [False] * 4 + [True] * 8
    assert not marked[0].any()
    assert not marked[2].any()  # not drawn in this slice: the strokes say nothing about distance


def test_background_and_classes_nobody_looked_for_are_never_marked() -> None:
    strokes = empty(1, 16, 160)
    strokes[0, 0, 0], strokes[0, 0, 1], strokes[0, 1, 0] = 0, 1, 2
    marked = far(strokes, 5.0, annotated=(0, 1))
    assert marked[1].any()
    assert not marked[0].any()
    assert not marked[2].any()


def test_slices_stand_alone_in_2d_and_touch_in_3d() -> None:
    strokes = empty(3, 16, 160)
    strokes[0, 4, 4] = 1
    alone = far(strokes, 25.0)
    assert alone[1, 0].any()
    assert not alone[1, 1:].any()  # no stroke of the class in these slices
    together = far(strokes, 25.0, across_slices=True)
    assert not together[1, :, 0, 0].any()  # 20 mm above the stroke is within reach
    assert together[1, 2, 0].sum() >= together[1, 0, 0].sum() > 0  # the reach is a ball: narrower two slices up
    assert not far(empty(3, 16, 160), 1.0, across_slices=True).any()


def test_spacing_counts_in_mm() -> None:
    strokes = empty(1, 8, 96)
    strokes[0, 0, 0] = 1
    fine, coarse = (far(strokes, 30.0, spacing_mm=(5.0, s, s))[1, 0, 0] for s in (1.0, 3.0))
    assert coarse.sum() > fine.sum()


@settings(max_examples=15)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    count=st.integers(1, 4),
    reach_mm=st.floats(1, 40),
    spacing=st.tuples(st.floats(0.5, 3), st.floats(0.5, 3)),
    seed=st.integers(0, 999),
)
def test_no_pixel_within_reach_is_ever_marked(
    height: int, width: int, count: int, reach_mm: float, spacing: tuple[float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    strokes = empty(1, height, width)
    points = np.stack([rng.integers(0, height, count), rng.integers(0, width, count)], axis=1)
    strokes[0, points[:, 0], points[:, 1]] = 1
    marked = far(strokes, reach_mm, classes=2, annotated=(0, 1), spacing_mm=(10.0, *spacing))[1, 0]
    fine = marked.repeat(COARSE, axis=0).repeat(COARSE, axis=1)[:height, :width]
    pixels = np.argwhere(fine)
    if len(pixels):
        nearest = np.linalg.norm((pixels[:, None] - points[None]) * spacing, axis=2).min(axis=1)
        assert nearest.min() > reach_mm
    # And it is not timid: whatever lies beyond the reach by two cell diagonals is marked.
    yx = np.argwhere(np.ones((height, width), bool))
    beyond = np.linalg.norm((yx[:, None] - points[None]) * spacing, axis=2).min(axis=1)
    sure = beyond > reach_mm + 2.01 * np.hypot(*spacing) * COARSE
    assert fine[yx[sure][:, 0], yx[sure][:, 1]].all()


def test_long_strokes_reach_farther() -> None:
    short, long = empty(1, 16, 400), empty(1, 16, 400)
    short[0, 4, 4:8], long[0, 4, 4:64] = 1, 1
    options = {"shortest_mm": 10.0, "classes": 2, "annotated": (0, 1), "across_slices": False}
    marked = [beyond_reach(strokes, (5.0, 1.0, 1.0), 2.0, **options)[1, 0, 1] for strokes in (short, long)]  # type: ignore[arg-type]
    # 4 pixels: the shortest reach counts, 10 mm. 60 pixels, 59 mm from end to end: 118 mm beyond pixel 63.
    assert (~marked[0]).sum() * COARSE == np.ceil((7 + 10) / COARSE) * COARSE
    assert 63 + 118 <= (~marked[1]).sum() * COARSE <= 63 + 118 + 3 * COARSE


def ring(strokes: np.ndarray, z: int, top: int, bottom: int, left: int, right: int) -> None:
    strokes[z, [top, bottom], left : right + 1] = 0
    strokes[z, top : bottom + 1, left] = 0
    strokes[z, top : bottom + 1, right] = 0


def test_a_loop_of_background_closes_off() -> None:
    strokes = empty(2, 40, 40)
    for z in (0, 1):
        ring(strokes, z, 8, 31, 8, 31)
    strokes[0, 20, 20] = 1
    closed = closed_off(strokes, classes=3, annotated=(0, 1, 2))
    assert closed.shape == (3, 2, 10, 10)
    inside = np.zeros((10, 10), bool)
    inside[2:8, 2:8] = True  # pixels 8..31, the loop's own cells among them: part of each lies inside
    assert np.array_equal(~closed[1, 0], inside)
    assert not closed[1, 1].any()  # not drawn in this slice: the loop says nothing about the class
    assert not closed[[0, 2]].any()


def test_a_gap_in_the_loop_lets_everything_through() -> None:
    strokes = empty(1, 40, 40)
    ring(strokes, 0, 8, 31, 8, 31)
    strokes[0, 20, 20] = 1
    strokes[0, 8, 15] = UNLABELLED
    assert not closed_off(strokes, classes=2, annotated=(0, 1)).any()


def test_a_slanted_line_whose_corners_touch_is_closed() -> None:
    strokes = empty(1, 40, 40)
    strokes[0, range(40), range(40)] = 0
    strokes[0, 30, 5] = 1  # below the diagonal
    closed = closed_off(strokes, classes=2, annotated=(0, 1))[1, 0]
    assert closed[0, 9]
    assert not closed[9, 0]


def test_rules_add_up_and_may_be_off() -> None:
    strokes = empty(1, 40, 200)
    ring(strokes, 0, 8, 31, 8, 31)
    strokes[0, 20, 20] = 1
    options = {"classes": 2, "annotated": (0, 1), "across_slices": False}
    both, reach, closed = (
        impossible_places(strokes, (5.0, 1.0, 1.0), reach=r, enclosed=e, **options)  # type: ignore[arg-type]
        for r, e in ((1.0, True), (1.0, False), (0.0, True))
    )
    assert both is not None
    assert np.array_equal(both, reach | closed)
    first = np.flatnonzero(reach[1, 0, 5])  # columns to the right of the dot at 20, beyond a tenth of 200 mm
    assert first[0] * COARSE > 20 + SHORTEST * 200
    assert impossible_places(strokes, (5.0, 1.0, 1.0), reach=0.0, enclosed=False, **options) is None  # type: ignore[arg-type]


def test_rules_are_told_in_words_and_so_is_their_absence_in_pictures() -> None:
    first, second = absence_in_words(1.0, True, pictures=True)
    assert first.startswith("reach 1:")
    assert second.startswith("enclosed:")
    assert absence_in_words(0.0, False, pictures=False) == ()
    (hint,) = absence_in_words(0.0, False, pictures=True)
    assert "set reach=1 and enclosed=true" in hint
