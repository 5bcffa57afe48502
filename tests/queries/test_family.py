"""What every registered strategy must do; a new one gets these tests by being registered."""

from __future__ import annotations

from dataclasses import replace

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
        Place(case.id, z, c, 10.0 + 7 * n + 3 * z + c, 0.1, (1, 2, z), 0.1, 0.01 * (1 + z), 1.0 + c, 5.0, 100.0)
        for n, case in enumerate(facts)
        for z in range(slices)
        for c in range(len(CLASSES))
    )
    features = {(case.id, z): (float(n), z**0.5, n * z / 3) for n, case in enumerate(facts) for z in range(slices)}
    return Pool(CLASSES, facts, places if predicted else (), (0, 1, 0), features)


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
    with pytest.raises(SettingsError, match="clasp-pe, cold-start, core-set, coverage, doubt-per-second, entropy"):
        build_strategy("entropi")


def test_a_place_is_where_the_prediction_doubts_the_class_or_else_the_middle(name: str) -> None:
    told = pool()
    for query in build_strategy(name).rank(told, 100, seed=2):
        assert told.points(query), "a voxel of the prediction, which says something of every class and slice here"
    unsaid = Pool(told.classes, told.cases, tuple(p for p in told.places if p.class_index != 0), (), told.features)
    for query in build_strategy(name).rank(unsaid, 100, seed=2):
        assert told.points(query) == unsaid.points(query) == (query.class_index != 0)


def test_cases_that_are_done_are_never_asked_for_and_count_in_the_stage(name: str) -> None:
    told = pool()
    done = tuple(
        replace(case, id=f"done{n}", drawn={z: frozenset({0, 1}) for z in range(4)})
        for n, case in enumerate(told.cases)
    )
    more = {(case.id, z): (float(n), z**0.5, 0.0) for n, case in enumerate(done) for z in range(4)}
    late = replace(told, done=done, features={**told.features, **more})
    assert {q.case for q in build_strategy(name).rank(late, 100, seed=1)} <= {case.id for case in told.cases}
    assert build_strategy(name).rank(replace(told, cases=(), places=(), done=done), 100) == []
    assert (told.stage, late.stage) == (1 / 12, 13 / 24)
