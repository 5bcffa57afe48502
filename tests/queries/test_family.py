"""What every registered strategy must do; a new one gets these tests by being registered."""

from __future__ import annotations

import pytest

from medcl.errors import SettingsError
from medcl.queries import CaseFacts, Place, Pool, build_strategy, queries

CLASSES = ("background", "RV", "Myo")


def pool(*, predicted: bool = True, cases: int = 3, slices: int = 4) -> Pool:
    """Return cases of some slices; the first has a stroke of RV in slice 1."""
    facts = tuple(
        CaseFacts(f"case{n}", "axial", slices, 8.0, (5, 6, slices // 2), {1: frozenset({1})} if n == 0 else {})
        for n in range(cases)
    )
    places = tuple(
        Place(case.id, z, c, 10.0 + 7 * n + 3 * z + c, 0.1, (1, 2, z))
        for n, case in enumerate(facts)
        for z in range(slices)
        for c in range(len(CLASSES))
    )
    return Pool(CLASSES, facts, places if predicted else (), (0, 1, 0))


@pytest.fixture(params=list(queries))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_query_is_a_slice_of_the_pool_and_none_comes_twice(name: str) -> None:
    found = build_strategy(name).rank(pool(), 100, seed=3)
    keys = [(q.case, q.plane, q.slice) for q in found]
    assert len(keys) == len(set(keys)) <= 12
    assert set(keys) <= {(case.id, case.plane, z) for case, z in pool().slices()}
    for query in found:
        assert query.place[2] == query.slice, "the place lies in the slice"
        assert query.reason.startswith(CLASSES[query.class_index])


def test_all_slices_come_in_the_end_but_drawn_ones(name: str) -> None:
    keys = {(q.case, q.slice) for q in build_strategy(name).rank(pool(), 100)}
    undrawn = {(case.id, z) for case, z in pool().slices() if z not in case.drawn}
    assert undrawn <= keys


def test_same_pool_and_seed_same_ranking_and_a_shorter_one_is_its_beginning(name: str) -> None:
    strategy = build_strategy(name)
    long = strategy.rank(pool(), 8, seed=5)
    assert long == strategy.rank(pool(), 8, seed=5)
    assert long[:3] == strategy.rank(pool(), 3, seed=5)
    assert strategy.rank(pool(), 0, seed=5) == []


def test_an_empty_pool_gives_nothing(name: str) -> None:
    assert build_strategy(name).rank(Pool(CLASSES, ()), 5) == []


def test_without_predictions_only_those_that_need_none_answer(name: str) -> None:
    strategy = build_strategy(name)
    assert bool(strategy.rank(pool(predicted=False), 5)) != strategy.needs_prediction


def test_single_slices_are_cases_too(name: str) -> None:
    found = build_strategy(name).rank(pool(slices=1), 10)
    assert {q.slice for q in found} == {0}


def test_it_says_what_it_does(name: str) -> None:
    strategy = build_strategy(name)
    assert strategy.description.endswith(".")
    assert queries.get(name).__doc__


def test_an_unknown_strategy_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="coverage, entropy-rarity, random"):
        build_strategy("entropy")
