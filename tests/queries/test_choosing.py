"""What may stand in one list, on pools that a human can check."""

from __future__ import annotations

import numpy as np
import pytest

from medcl.queries import CaseFacts, Place, Pool, build_strategy, queries
from medcl.queries.choosing import Needs, overlap, power, spots_of

CLASSES = ("background", "RV", "Myo")


def pool(*places: Place, drawn: dict[int, frozenset[int]] | None = None, cases: str = "ab", slices: int = 6) -> Pool:
    facts = tuple(CaseFacts(c, "axial", slices, 8.0, (4, 4, 3), (drawn or {}) if c == "a" else {}) for c in cases)
    return Pool(CLASSES, facts, places)


def place(case: str, index: int, c: int, doubt: float, *, entropy: float = 0.0, box: object = None) -> Place:
    return Place(case, index, c, doubt, 0.1, (1, 1, index), entropy, 0.0, 0.0, 1.0, 100.0 if entropy else 0.0, box)


def keys(found: list) -> list[tuple[str, int]]:
    return [(q.case, q.slice) for q in found]


def test_entropy_takes_the_largest_first_and_asks_for_the_structure_in_doubt() -> None:
    found = build_strategy("entropy").rank(
        pool(place("a", 0, 0, 50), place("a", 0, 2, 9), place("b", 1, 1, 30), place("b", 1, 2, 31)), 5
    )
    # 59 mm2 against 61; background has most doubt in the first, but a structure is asked for
    assert [(q.case, q.class_index, q.score) for q in found] == [("b", 2, 61.0), ("a", 2, 59.0)]
    assert found[0].reason == "Myo, most uncertain (61 mm2 uncertain), nothing drawn in this case yet"


def test_mean_entropy_does_not_favour_large_images() -> None:
    small, large = place("a", 0, 1, 10, entropy=0.1), place("b", 0, 1, 90, entropy=0.09)
    assert keys(build_strategy("entropy", {"aggregate": "mean"}).rank(pool(small, large), 2)) == [("a", 0), ("b", 0)]


def test_limits_per_case_distance_and_strokes() -> None:
    told = pool(
        *(place("a", z, 1, 100 - z) for z in range(6)),
        *(place("b", z, 1, 10 - z) for z in range(6)),
        drawn={0: frozenset({1})},
    )
    plain = keys(build_strategy("entropy").rank(told, 20))
    assert plain[:2] == [("a", 1), ("a", 2)]
    assert plain[-1] == ("a", 0), "drawn slices come last"
    assert ("a", 0) not in keys(build_strategy("entropy", {"drawn": "never"}).rank(told, 20))
    assert keys(build_strategy("entropy", {"drawn": "equal"}).rank(told, 1)) == [("a", 0)]
    assert keys(build_strategy("entropy", {"per_case": 1}).rank(told, 20)) == [("a", 1), ("b", 0)]
    apart = keys(build_strategy("entropy", {"apart": 2, "drawn": "never"}).rank(told, 20))
    assert apart == [("a", 1), ("a", 4), ("b", 0), ("b", 3)]


@pytest.mark.parametrize("name", [n for n in queries if n not in ("coverage", "entropy-rarity", "random")])
def test_all_new_strategies_keep_the_limits(name: str) -> None:
    facts = tuple(CaseFacts(c, "axial", 6, 8.0, (4, 4, 3)) for c in "abc")
    places = tuple(
        Place(c, z, k, 5.0 + z + k, 0.1, (1, 1, z), 0.2, 0.1, 1.0, 4.0, 50.0)
        for c in "abc"
        for z in range(6)
        for k in (0, 1, 2)
    )
    features = {(c, z): (float(z), float(ord(c))) for c in "abc" for z in range(6)}
    found = build_strategy(name, {"per_case": 2, "apart": 1}).rank(Pool(CLASSES, facts, places, (), features), 50, 4)
    assert len(found) == 6
    for case in "abc":
        one, other = (q.slice for q in found if q.case == case)
        assert abs(one - other) > 1


def test_boxes_of_a_slice_come_one_by_one() -> None:
    left, right = ((0, 4), (0, 8), (2, 3)), ((4, 8), (0, 8), (2, 3))
    told = pool(place("a", 2, 1, 5, box=left), place("a", 2, 1, 7, box=right), cases="a")
    found = build_strategy("entropy").rank(told, 5)
    assert [q.box for q in found] == [right, left]
    assert not overlap(left, right)
    assert overlap(left, ((3, 5), (7, 9), (2, 3)))
    # strategies without doubt take boxes where the predictions come by box, and all slices of other cases
    two = pool(place("a", 2, 1, 5, box=left), place("a", 2, 1, 7, box=right), cases="ab", slices=3)
    assert {s.key for s in spots_of(two, predicted=False)} == {
        *(("a", 2, box) for box in (left, right)),
        *(("b", z, None) for z in range(3)),
    }


def test_power_noise_draws_in_proportion_to_the_score() -> None:
    firsts = [int(power(np.array([3.0, 1.0]), 1.0, ["x", "y"], seed).argmax()) for seed in range(600)]
    assert np.mean(firsts) == pytest.approx(0.25, abs=0.05)  # 1 of 3 + 1 (Gumbel-max: Kirsch et al., section 3)
    squared = [int(power(np.array([3.0, 1.0]), 2.0, ["x", "y"], seed).argmax()) for seed in range(600)]
    assert np.mean(squared) == pytest.approx(0.1, abs=0.04)  # 1 of 9 + 1
    certain = power(np.array([3.0, 1.0, 0.0]), 1e9, "xyz", 0)
    assert certain == pytest.approx([np.log(3), 0, np.log(1e-12)], abs=1e-6)


def test_the_noise_of_a_place_does_not_depend_on_other_places() -> None:
    alone = power(np.array([2.0]), 1.0, ["x"], 5)[0]
    assert power(np.array([9.0, 2.0]), 1.0, ["w", "x"], 5)[1] == alone


def test_the_class_with_fewest_strokes_among_those_in_sight() -> None:
    told = Pool(CLASSES, (CaseFacts("a", "axial", 2, 1.0, (1, 1, 1)),), (place("a", 0, 1, 5),), (0, 4, 2))
    (seen,) = (s for s in spots_of(told, predicted=True))
    blank = next(s for s in spots_of(told, predicted=False) if s.slice == 1)
    needs = Needs(told)
    assert needs.next(seen) == 1, "only RV is in sight"
    assert [needs.next(blank) for _ in range(3)] == [0, 0, 2], "background has none, then Myo before background"
