"""The person: draws what was asked, leaves the rest unlabelled, and takes the time that the cost model says."""

from __future__ import annotations

import numpy as np
import pytest

from medcl.benchmark.simulation.person import visit, visit_seed
from medcl.data.labels import UNLABELLED
from medcl.scribbles import preset

SETTINGS = preset("acdc-like")


@pytest.fixture
def label() -> np.ndarray:
    """A square of class 1, one of class 2, a stripe that nobody labelled."""
    found = np.zeros((48, 48), np.int16)
    found[6:20, 6:20] = 1
    found[26:42, 26:42] = 2
    found[:, 46:] = UNLABELLED
    return found


def test_every_class_of_the_slice_is_drawn_where_it_is(label: np.ndarray) -> None:
    done = visit(label, (1.0, 1.0), SETTINGS, 3, asked=1, what="slice")
    assert set(done.counts) == {0, 1, 2}
    drawn = done.strokes != UNLABELLED
    assert (done.strokes[drawn] == label[drawn]).all()
    assert 0 < drawn.mean() < 0.3
    assert (done.strokes[:, 46:] == UNLABELLED).all()


def test_only_the_asked_class_is_drawn_and_undrawn_is_unlabelled(label: np.ndarray) -> None:
    done = visit(label, (1.0, 1.0), SETTINGS, 3, asked=2, what="class")
    assert set(np.unique(done.strokes)) == {UNLABELLED, 2}
    whole = visit(label, (1.0, 1.0), SETTINGS, 3, asked=1, what="slice")
    assert (whole.strokes[done.strokes == 2] == 2).all()  # the same strokes, whoever asks
    assert done.seconds < whole.seconds


def test_a_class_that_is_not_here_gives_background(label: np.ndarray) -> None:
    done = visit(np.where(label == 2, 0, label).astype(np.int16), (1.0, 1.0), SETTINGS, 3, asked=2, what="class")
    assert set(np.unique(done.strokes)) == {UNLABELLED, 0}


def test_time_follows_the_cost_model(label: np.ndarray) -> None:
    free = SETTINGS.model_copy(update={"cost": SETTINGS.cost.model_copy(update={"per_mm_s": 0.0})})
    done = visit(label, (1.0, 1.0), free, 3, asked=1, what="slice")
    assert done.seconds == pytest.approx(2.0 + 2.4 * sum(done.counts.values()))
    longer = visit(label, (2.0, 2.0), SETTINGS, 3, asked=1, what="slice")  # the same slice, twice as large
    assert longer.seconds > visit(label, (1.0, 1.0), SETTINGS, 3, asked=1, what="slice").seconds


def test_a_slice_where_nothing_can_be_drawn_costs_a_look() -> None:
    done = visit(np.full((8, 8), UNLABELLED, np.int16), (1.0, 1.0), SETTINGS, 0, asked=1, what="slice")
    assert done.counts == {}
    assert done.seconds == SETTINGS.cost.per_slice_s


def test_the_same_visit_gives_the_same_strokes_and_the_second_one_others(label: np.ndarray) -> None:
    first = visit(label, (1.0, 1.0), SETTINGS, visit_seed(0, "a", 3, 0), asked=1, what="slice")
    again = visit(label, (1.0, 1.0), SETTINGS, visit_seed(0, "a", 3, 0), asked=2, what="slice")
    second = visit(label, (1.0, 1.0), SETTINGS, visit_seed(0, "a", 3, 1), asked=1, what="slice")
    assert (first.strokes == again.strokes).all()
    assert (first.strokes != second.strokes).any()
