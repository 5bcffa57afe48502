"""Which drawn slices are kept from training, and how masks are scored on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.annotate.jobs.holdback import EVERY, FIRST, Drawn, held_back, scores, split
from medcl.data.labels import UNLABELLED

CLASSES = ("background", "RV", "Myo")


def strokes(*slices: int, class_index: int = 1) -> list[Drawn]:
    return [Drawn("a", "axial", z, class_index) for z in slices]


def test_the_first_slices_are_all_learned_from() -> None:
    assert held_back(strokes(*range(FIRST))) == set()
    assert held_back([]) == set()
    assert held_back(strokes(*[3] * 100)) == set(), "many strokes in one slice are one slice"


def test_then_every_eighth_is_held_back() -> None:
    found = held_back(strokes(*range(30)))
    assert found == {("a", "axial", z) for z in (FIRST, FIRST + EVERY, FIRST + 2 * EVERY, FIRST + 3 * EVERY)}


def test_a_class_that_is_drawn_nowhere_else_is_learned() -> None:
    history = strokes(*range(FIRST)) + strokes(FIRST, class_index=2)
    assert held_back(history) == set()
    assert held_back(strokes(*range(FIRST + 1)) + strokes(FIRST, class_index=2)) == set(), "also if it comes later"
    assert held_back([*strokes(*range(FIRST)), *strokes(0, class_index=2), *strokes(FIRST, class_index=2)])


def test_accepted_cases_are_learned_as_a_whole() -> None:
    assert held_back(strokes(*range(30)), never=["a"]) == set()


slices = st.lists(
    st.builds(Drawn, st.sampled_from("ab"), st.just("axial"), st.integers(0, 9), st.integers(0, 2)), max_size=60
)


@given(slices, slices)
def test_what_was_learned_from_is_never_held_back_later(before: list[Drawn], after: list[Drawn]) -> None:
    drawn = {(s.case, s.plane, s.slice) for s in before}
    learned = drawn - held_back(before)
    assert not learned & held_back(before + after)


@given(slices)
def test_every_drawn_class_is_learned_somewhere(history: list[Drawn]) -> None:
    held = held_back(history)
    learned = {s.class_index for s in history if (s.case, s.plane, s.slice) not in held}
    assert learned == {s.class_index for s in history}


def test_each_voxel_is_learned_from_or_scored_on() -> None:
    drawn = np.full((3, 4, 5), UNLABELLED, np.int16)
    drawn[1, 2, :] = 1
    drawn[:, 0, 0] = 2
    kept, apart = split(drawn, [("axial", 1), ("sagittal", 0), ("coronal", 99)])
    assert ((kept == UNLABELLED) | (apart == UNLABELLED)).all()
    assert np.array_equal(np.maximum(kept, apart), drawn)
    assert (apart[1, 2] == 1).all()
    assert (apart[:, 0, 0] == 2).all()
    assert (kept == UNLABELLED).all()


def test_dice_counts_stroked_voxels_alone() -> None:
    truth = np.full((1, 1, 8), UNLABELLED, np.int16)
    truth[0, 0, :4] = 1
    truth[0, 0, 4:6] = 0
    mask = np.array([[[1, 1, 1, 0, 1, 0, 2, 2]]])
    # RV: three of four found, one stroke of background taken for it: 2 * 3 / (4 + 4)
    assert scores([(mask, truth)], CLASSES) == {"dice": pytest.approx(0.75), "dice/RV": pytest.approx(0.75)}


def test_nothing_held_back_is_no_score_and_not_a_bad_one() -> None:
    nothing = np.full((1, 2, 2), UNLABELLED, np.int16)
    assert scores([], CLASSES) == {}
    assert scores([(np.zeros_like(nothing), nothing)], CLASSES) == {}
    background = np.zeros((1, 2, 2), np.int16)
    assert scores([(background, background)], CLASSES) == {}, "Dice of a structure that was not drawn says nothing"
