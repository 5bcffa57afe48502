"""Rankings that a human can check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medcl.queries import CaseFacts, Place, Pool
from medcl.queries.coverage import Coverage
from medcl.queries.entropy_rarity import EntropyRarity
from medcl.queries.random_place import RandomPlace

CLASSES = ("background", "RV", "Myo")


def case(name: str, slices: int = 9, drawn: dict[int, set[int]] | None = None) -> CaseFacts:
    return CaseFacts(name, "axial", slices, 8.0, (4, 4, 4), {z: frozenset(c) for z, c in (drawn or {}).items()})


def place(name: str, index: int, c: int, doubt: float) -> Place:
    return Place(name, index, c, doubt, 0.1, (1, 1, index))


def test_doubt_counts_by_class_and_rare_classes_count_more() -> None:
    places = (place("a", 0, 1, 100.0), place("a", 1, 2, 10.0), place("b", 3, 2, 8.0))
    pool = Pool(CLASSES, (case("a"), case("b")), places, (5, 3, 1))
    found = EntropyRarity().rank(pool, 3)
    # Both classes' largest doubts count 1; Myo has one stroke, RV three: (1 + 3) / (1 + 1) against (1 + 3) / (1 + 3).
    assert (found[0].case, found[0].slice, found[0].class_index) == ("a", 1, 2)
    assert found[0].score == pytest.approx(2**0.5)
    assert found[0].reason == "Myo, most uncertain, nothing drawn in this case yet"


def test_slices_without_strokes_and_cases_with_few_come_first() -> None:
    places = (place("a", 2, 1, 100.0), place("a", 3, 1, 60.0), place("b", 0, 1, 40.0))
    drawn = Pool(CLASSES, (case("a", drawn={2: {1}}), case("b")), places, (1, 1, 1))
    found = EntropyRarity(rarity=0).rank(drawn, 3)
    assert [(q.case, q.slice) for q in found] == [("b", 0), ("a", 3), ("a", 2)]
    # 0.4; half of 0.6, as the case has a drawn slice; a third of a tenth of 1, as two slices are drawn by then
    assert [q.score for q in found] == pytest.approx([0.4, 0.3, 0.1 / 3])
    assert [q.reason for q in found] == [
        "RV, uncertain, nothing drawn in this case yet",
        "RV, very uncertain, never drawn here",
        "RV, most uncertain, drawn here before",
    ]


def test_next_to_no_doubt_is_left_out_unless_there_is_nothing_else() -> None:
    facts = (case("a"),)
    both = Pool(CLASSES, facts, (place("a", 0, 1, 3.9), place("a", 1, 2, 4.1)), (0, 9, 0))
    assert [q.slice for q in EntropyRarity().rank(both, 5)] == [1]
    one = replace(both, places=both.places[:1])
    assert [q.slice for q in EntropyRarity().rank(one, 5)] == [0]


def test_coverage_goes_to_untouched_cases_then_to_the_widest_gap() -> None:
    pool = Pool(CLASSES, (case("a", drawn={2: {1}}), case("b")), (), (0, 1, 0))
    found = Coverage().rank(pool, 5)
    assert [(q.case, q.slice) for q in found[:4]] == [("b", 4), ("a", 8), ("b", 0), ("b", 8)]
    assert [CLASSES[q.class_index] for q in found[:4]] == ["Myo", "background", "RV", "Myo"]
    assert found[0].reason == "Myo, fewest strokes so far, nothing drawn in this case yet"
    assert found[1].reason == "background, fewest strokes so far, far from all strokes of this case"


def test_random_reaches_every_slice_and_class_evenly() -> None:
    pool = Pool(CLASSES, (case("a"), case("b")), (), (0, 0, 0))
    first = [RandomPlace().rank(pool, 1, seed=seed)[0] for seed in range(400)]
    for c in range(3):
        assert 90 < sum(q.class_index == c for q in first) < 180
    assert 150 < sum(q.case == "a" for q in first) < 250
    assert {q.slice for q in first} == set(range(9))
