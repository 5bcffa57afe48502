"""Reach: what is too far from its own strokes, by hand and against distances taken one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.training.reach import COARSE, beyond_reach


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
        strokes, spacing_mm, reach_mm, classes=classes, annotated=annotated, across_slices=across_slices
    )


def test_a_row_by_hand() -> None:
    # One stroke pixel in cell 0 of a row of 12 cells of 8 mm. Cells' centres lie 8 mm apart; two points of two cells
    # can be nearer than their centres by a cell's diagonal of 11.3 mm. Reach 20 mm: cells 4 (32 mm > 31.3) and on.
    strokes = empty(1, COARSE, 12 * COARSE)
    strokes[0, 3, 3] = 1
    marked = far(strokes, 20.0)
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
