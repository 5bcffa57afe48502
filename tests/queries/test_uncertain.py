"""BALD, ClaSP PE and the foreground-aware baseline, on pools that a human can check."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medcl.errors import SettingsError
from medcl.queries import CaseFacts, Place, Pool, build_strategy
from medcl.queries.clasp_pe import ClaspPe

CLASSES = ("background", "RV", "Myo")


def facts(name: str = "a", slices: int = 30, **more: object) -> CaseFacts:
    return CaseFacts(name, "axial", slices, 8.0, (4, 4, slices // 2), **more)  # type: ignore[arg-type]


def test_bald_ranks_by_disagreement_not_by_doubt() -> None:
    shared = Place("a", 0, 1, 90.0, 0.2, (0, 0, 0), 0.9, 0.01, 1.0, 5.0, 100.0)
    disputed = Place("a", 1, 1, 20.0, 0.2, (0, 0, 1), 0.2, 0.2, 3.0, 5.0, 100.0)
    other = replace(disputed, class_index=2, information_mm2=17.0, doubt_mm2=1.0)
    pool = Pool(CLASSES, (facts(),), (shared, disputed, other))
    found = build_strategy("bald").rank(pool, 2)
    assert [(q.slice, q.class_index, q.score) for q in found] == [(1, 2, pytest.approx(20.0)), (0, 1, pytest.approx(1))]
    assert found[0].reason == "Myo, most disputed (20 mm2 disputed), nothing drawn in this case yet"


@pytest.mark.parametrize("name", ["bald", "power-bald"])
def test_bald_refuses_single_predictions(name: str) -> None:
    pool = Pool(CLASSES, (facts(),), (Place("a", 0, 1, 90.0, 0.2, (0, 0, 0)),))
    with pytest.raises(SettingsError, match=r"expected several predictions .* take 'entropy'"):
        build_strategy(name).rank(pool, 2)


def two_classes(slices: int = 30, stage: float | None = None) -> Pool:
    """Return a case in which RV has much doubt in the first half, Myo a tenth of it in the second."""
    places = [Place("a", z, 1, 1000.0 / 2**z, 0.1, (0, 0, z)) for z in range(slices // 2)]
    places += [Place("a", z, 2, 100.0 / 2**z, 0.1, (0, 0, z)) for z in range(slices // 2, slices)]
    return Pool(CLASSES, (facts(slices=slices),), tuple(places), progress=stage)


def test_clasp_splits_two_thirds_over_the_classes() -> None:
    found = build_strategy("clasp-pe").rank(two_classes(stage=1.0), 12)
    by_turn = ["its turn" in q.reason for q in found]
    assert by_turn == [True, True, False] * 4
    assert Counter(q.class_index for q in found if "its turn" in q.reason) == {1: 4, 2: 4}
    # entropy alone never gets to the smaller doubt of Myo
    assert {q.class_index for q in found if "its turn" not in q.reason} == {1}


def test_clasp_noise_fades_on_a_log_scale() -> None:
    strategy = ClaspPe()
    assert [strategy.beta(stage) for stage in (0, 0.5, 1)] == pytest.approx([1, 10, 100])
    late = [q.slice for q in strategy.rank(two_classes(stage=1.0), 30, seed=1) if q.class_index == 1]
    early = [q.slice for q in strategy.rank(two_classes(stage=0.0), 30, seed=1) if q.class_index == 1]
    assert late == sorted(late) != early, "doubt halves from slice to slice"
    assert sorted(late) == sorted(early)
    # an exact order: without noise the largest doubt of each class comes first
    exact = ClaspPe(first_beta=1e9, last_beta=1e9).rank(two_classes(), 3)
    assert sorted(q.slice for q in exact) == [0, 1, 15]


def test_the_stage_is_the_share_of_drawn_slices_unless_it_is_given() -> None:
    drawn = {z: frozenset({1}) for z in range(15)}
    pool = Pool(CLASSES, (facts(drawn=drawn),))
    assert pool.stage == 0.5
    assert replace(pool, progress=0.25).stage == 0.25
    assert Pool(CLASSES, ()).stage == 0.0


def test_two_of_three_random_places_show_a_structure() -> None:
    # structures in 4 of 40 slices: chance alone would find one of ten
    places = tuple(Place("a", z, 1, 9.0, 0.1, (0, 0, z), 0.1, mask_mm2=8.0, area_mm2=90.0) for z in (3, 9, 20, 31))
    pool = Pool(CLASSES, (facts(slices=40),), places)
    strategy = build_strategy("foreground-random")
    first = [strategy.rank(pool, 1, seed)[0] for seed in range(300)]
    share = np.mean([q.slice in (3, 9, 20, 31) for q in first])
    assert share == pytest.approx(0.66 + 0.34 * 0.1, abs=0.08)
    assert {q.class_index for q in first if "shown here" in q.reason} == {1}
    assert all(q.slice in (3, 9, 20, 31) for q in build_strategy("foreground-random", {"share": 1}).rank(pool, 4))


def test_who_knows_what_slices_show_needs_no_prediction() -> None:
    knowing = facts(slices=20, shows={7: frozenset({2})})
    first = build_strategy("foreground-random", {"share": 1.0}).rank(Pool(CLASSES, (knowing,)), 3)
    assert (first[0].slice, first[0].class_index) == (7, 2)
    assert len(first) == 3, "then any slice, by lot"
