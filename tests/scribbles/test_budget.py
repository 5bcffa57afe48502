"""Budgets are kept, whatever they limit; the cost model adds up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.errors import SettingsError
from medcl.scribbles import Drawing, ScribbleSettings, StrokeBudget, draw
from medcl.scribbles.budget import spread_order


def blobs(slices: int = 8) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    label = np.zeros((slices, 64, 64), np.int16)
    label[:, np.hypot(y - 20, x - 20) < 12] = 1
    label[:, np.hypot(y - 44, x - 44) < 12] = 2
    return label


def drawn(text: str, seed: int = 0, **values: object) -> Drawing:
    budget = StrokeBudget.from_text(text)
    return draw(blobs(), (5.0, 1.0, 1.0), ScribbleSettings.parse({"budget": budget, **values}), seed)


@given(share=st.floats(0.0002, 0.05), seed=st.integers(0, 50))
def test_share_of_pixels_is_kept_and_used(share: float, seed: int) -> None:
    drawing = drawn(f"{100 * share:.4f}%", seed)
    stroked = (drawing.scribble != UNLABELLED).mean()
    assert stroked <= share * 1.0001
    everything = drawn("100%", seed)
    # what a slice has no stroke of every class for stays unspent
    unspent = (20 + max(len(np.flatnonzero(plane != UNLABELLED)) for plane in everything.scribble)) / blobs().size
    assert stroked > min(share, (everything.scribble != UNLABELLED).mean()) - unspent


@given(share=st.floats(0.0002, 0.02), seconds=st.floats(5, 200), seed=st.integers(0, 50))
def test_the_budget_never_ends_between_the_classes_of_a_slice(share: float, seconds: float, seed: int) -> None:
    for text in (f"{100 * share:.4f}%", f"{seconds:.2f}s"):
        drawing = drawn(text, seed)
        held = [plane for plane in drawing.scribble if (plane != UNLABELLED).any()]
        if len(held) > 1:  # of a single slice the budget may not be enough for
            assert all({1, 2} <= set(np.unique(plane)) for plane in held)
        assert drawing.slices == len(held)


def test_a_class_that_was_forgotten_is_no_reason_to_leave_a_slice_out() -> None:
    drawing = drawn("100%,1000s", missing_classes=1.0)
    assert set(np.unique(drawing.scribble)) == {0, UNLABELLED}
    assert drawing.slices == len(blobs())


@given(seconds=st.floats(5, 300), seed=st.integers(0, 50))
def test_seconds_are_kept_and_add_up(seconds: float, seed: int) -> None:
    drawing = drawn(f"{seconds:.2f}s", seed)
    assert drawing.seconds <= seconds + 1e-6
    cost = ScribbleSettings().cost
    visits = sum(a != b for a, b in zip([None, *places(drawing)], places(drawing), strict=False))
    expected = cost.per_stroke_s * len(drawing.strokes) + cost.per_mm_s * drawing.length_mm + cost.per_slice_s * visits
    assert drawing.seconds == pytest.approx(expected)
    assert visits == drawing.slices


def places(drawing: Drawing) -> list[tuple[int, int]]:
    return [(stroke.axis, stroke.index) for stroke in drawing.strokes]


def test_length_is_measured_in_mm() -> None:
    settings = ScribbleSettings.parse({"style": "line", "background": {"loops": 0, "far": 0}, "breaks": 0})
    one, two = (draw(blobs(1), (5.0, mm, mm), settings, 1).length_mm for mm in (1.0, 2.0))
    assert two == pytest.approx(2 * one)


def test_slices_and_strokes_per_class_and_slice() -> None:
    drawing = drawn("3slices,1strokes", breaks=2.0)
    assert drawing.slices == 3
    assert sum((plane != UNLABELLED).any() for plane in drawing.scribble) == 3
    counts = Counter((stroke.index, stroke.value) for stroke in drawing.strokes)
    assert set(counts.values()) == {1}


def test_a_larger_budget_adds_strokes_and_moves_none() -> None:
    small, large = (drawn(f"{slices}slices").scribble for slices in (2, 5))
    held = small != UNLABELLED
    np.testing.assert_array_equal(small[held], large[held])


def test_slices_of_a_small_budget_are_spread_over_the_volume() -> None:
    for seed in range(10):
        order = spread_order(np.random.default_rng(seed), 16)
        assert sorted(order) == list(range(16))
        assert len({index // 4 for index in order[:4]}) == 4


def test_text_is_read_and_refused() -> None:
    assert StrokeBudget.from_text("1%") == StrokeBudget(pixels=0.01)
    assert StrokeBudget.from_text("2strokes, 5slices,1.5m") == StrokeBudget(strokes=2, slices=5, seconds=90)
    with pytest.raises(SettingsError, match="expected limits such as 1%, 2strokes"):
        StrokeBudget.from_text("20 steps")
    with pytest.raises(SettingsError, match="limits seconds twice"):
        StrokeBudget.from_text("20s,1m")
    with pytest.raises(SettingsError, match="less than or equal to 1"):
        StrokeBudget.from_text("200%")
    with pytest.raises(SettingsError, match="strokes"):
        StrokeBudget.from_text("1.5strokes")
