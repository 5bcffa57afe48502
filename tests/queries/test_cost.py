"""What a place costs, in numbers that a human can check."""

from __future__ import annotations

import pytest

from medcl.queries import CaseFacts, Place, Pool, Query, build_strategy
from medcl.queries.cost import priced, slice_mm2, stroke_seconds, within
from medcl.scribbles.settings import StrokeCost

COST = StrokeCost(per_stroke_s=2, per_mm_s=0.1, per_slice_s=3)
CASE = CaseFacts("a", "axial", 9, 8.0, (50, 40, 4), spacing_mm=(1.0, 2.0, 8.0))


def query(index: int, c: int = 1) -> Query:
    return Query("a", "axial", index, c, (0, 0, index), 1.0, "RV")


def place(index: int, c: int, share: float) -> Place:
    return Place("a", index, c, 9.0, share, (0, 0, index), mask_mm2=1.0, area_mm2=10_000.0)


def test_a_slice_a_stroke_and_its_length() -> None:
    assert stroke_seconds(100.0, COST) == pytest.approx(3 + 2 + 0.1 * 2 * 10)
    assert stroke_seconds(100.0, COST, background=True) == pytest.approx(3 + 2 + 0.1 * 6 * 10)
    assert stroke_seconds(0.0, COST) == 5


def test_the_area_is_what_the_prediction_expects_there_else_elsewhere_else_assumed() -> None:
    pool = Pool(("background", "RV", "Myo"), (CASE,), (place(0, 1, 0.01), place(0, 2, 0.03), place(1, 2, 0.09)))
    # 1 % of 10,000 mm2; nothing said of RV in slice 5: its median elsewhere; background: both structures, 400 mm2
    costs = [q.cost_s for q in priced([query(0), query(5), query(0, 0)], pool, COST)]
    assert costs == pytest.approx([5 + 0.1 * 2 * 10, 5 + 0.1 * 2 * 10, 5 + 0.1 * 6 * 20])
    cold = Pool(("background", "RV"), (CASE,))
    assert slice_mm2(cold, query(5)) == 100 * 80 * 2
    assert priced([query(5)], cold, COST)[0].cost_s == pytest.approx(5 + 0.1 * 2 * (0.02 * 16_000) ** 0.5)


def test_a_budget_pays_for_the_first_places() -> None:
    pool = Pool(("background", "RV"), (CASE,), tuple(place(z, 1, 0.01) for z in range(4)))
    found = priced([query(z) for z in range(4)], pool, COST)  # 7 seconds each
    assert [q.slice for q in within(found, 14.0)] == [0, 1]
    assert within(found, 6.9) == []
    assert len(within([query(0)], 0.0)) == 1, "without a cost nothing is cut"


def test_a_price_that_is_ranked_by_is_the_price() -> None:
    pool = Pool(("background", "RV", "Myo"), (CASE,), (place(0, 1, 0.01), place(0, 2, 0.03)))
    (found,) = priced(build_strategy("doubt-per-second", {"cost": COST.model_dump()}).rank(pool, 1), pool)
    seconds = 3 + (2 + 0.1 * 2 * 10) + (2 + 0.1 * 2 * 300**0.5) + (2 + 0.1 * 6 * 20)
    assert found.cost_s == pytest.approx(seconds)
    assert f"about {seconds:.0f} s for all" in found.reason
