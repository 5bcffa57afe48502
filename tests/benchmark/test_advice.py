"""The rule of docs/backbones.md, on figures that a human can follow."""

from __future__ import annotations

import pytest

from medcl.benchmark.advice import ENOUGH_IMAGES, PASSES, advise, efficiency, u_scores
from medcl.benchmark.cost import Cost
from medcl.errors import SettingsError


def cost(name: str, size: float = 1.0, *, speed: float = 100.0, memory: float = 500, problem: str = "") -> Cost:
    """A backbone that is `size` times as dear as the smallest in everything."""
    return Cost(
        backbone=name,
        parameters=int(1e6 * size),
        gmacs=size,
        predict_ms=10 * size,
        images_per_second=speed,
        memory_mb=memory,
        problem=problem,
    )


def test_ten_times_as_dear_counts_half_and_a_hundred_times_a_third() -> None:
    costs = [cost("unet"), cost("ten", 10), cost("hundred", 100)]
    assert [efficiency(c, costs) for c in costs] == pytest.approx([1, 1 / 2, 1 / 3])


def test_u_score_by_hand() -> None:
    costs = [cost("unet"), cost("ten", 10), cost("unknown", 2), cost("broken", problem="no library")]
    scores = u_scores(costs, {"unet": 0.8, "ten": 0.9, "broken": 1.0})
    assert scores == pytest.approx({"unet": 2 * 0.8 / 1.8, "ten": 2 * 0.9 * 0.5 / 1.4})


def test_an_expensive_newcomer_does_not_change_the_order() -> None:
    dice = {"unet": 0.8, "two": 0.85, "ten": 0.9, "huge": 0.95}
    few = [cost("unet"), cost("two", 2), cost("ten", 10)]
    before, after = u_scores(few, dice), u_scores([*few, cost("huge", 5000)], dice)
    assert {name: after[name] for name in before} == pytest.approx(before)


def test_a_dice_of_zero_is_a_score_of_zero() -> None:
    assert u_scores([cost("unet")], {"unet": 0.0}) == {"unet": 0.0}


def test_the_highest_u_score_of_those_that_fit() -> None:
    costs = [cost("unet"), cost("better", 1.2), cost("best", 1.1, memory=9000), cost("slow", 1.1, speed=0.1)]
    dice = {"unet": 0.80, "better": 0.95, "best": 0.99, "slow": 0.99}
    advice = advise(costs, dice, minutes=20, memory_mb=4000)
    assert advice.name == "better"
    assert advice.reasons[0] == "best is out: needs 9000 MB of memory, there are 4000"
    assert advice.reasons[1] == f"slow is out: would see 40 images in 20 minutes, fewer than {ENOUGH_IMAGES}"
    assert "better has the highest U-Score" in advice.reasons[2]


def test_the_budget_decides_what_is_quick_enough() -> None:
    enough = ENOUGH_IMAGES * PASSES / 60  # images per second for one minute
    costs = [cost("unet", 1, speed=enough), cost("large", 1.01, speed=enough / 2)]
    dice = {"unet": 0.8, "large": 0.9}
    assert advise(costs, dice, minutes=1).name == "unet"
    assert advise(costs, dice, minutes=2).name == "large"


def test_without_dice_the_plain_unet_or_the_fastest() -> None:
    assert advise([cost("unet"), cost("fast", 0.1, speed=900)], {}, minutes=60).name == "unet"
    advice = advise([cost("a", speed=300), cost("b", speed=400)], {}, minutes=60)
    assert advice.name == "b"
    assert "no Dice of a benchmark" in advice.reasons[-1]


def test_where_nothing_is_quick_enough_the_one_that_sees_most() -> None:
    advice = advise([cost("unet", speed=1), cost("b", speed=2)], {"unet": 0.9, "b": 0.1}, minutes=1)
    assert advice.name == "b"
    assert "a longer budget" in advice.reasons[-1]


def test_nothing_that_runs_is_an_error_with_every_reason() -> None:
    with pytest.raises(SettingsError, match=r"smp is out: no library; unet is out: needs 500 MB"):
        advise([cost("smp", problem="no library"), cost("unet")], {}, minutes=20, memory_mb=100)
