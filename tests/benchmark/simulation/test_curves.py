"""Areas, efficiency and tests, with numbers that can be checked by hand and other libraries as judges."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel, wilcoxon

from medcl.benchmark.simulation.curves import area, compare_areas, foreground_efficiency, t_p
from medcl.benchmark.simulation.results import Curve, DataResults


def test_the_area_of_a_ramp_is_its_middle() -> None:
    assert area([0, 10], [0.0, 1.0], 0, 10) == pytest.approx(0.5)
    assert area([0, 10], [0.0, 1.0], 0, 5) == pytest.approx(0.25)
    assert area([0, 10, 20], [0.2, 0.6, 0.6], 0, 20) == pytest.approx(0.5)


def test_a_curve_that_ends_early_stays_as_it_is() -> None:
    assert area([0, 10], [0.4, 0.8], 0, 20) == pytest.approx(0.7)


def test_seconds_beyond_the_budget_do_not_count() -> None:
    within = area([0, 100, 200], [0.2, 0.4, 0.6], 0, 150)
    assert within == pytest.approx(np.trapezoid([0.2, 0.4, 0.5], [0, 100, 150]) / 150)


def test_an_undefined_score_makes_the_area_undefined() -> None:
    assert math.isnan(area([0, 10], [0.4, math.nan], 0, 10))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(1, 50))
def test_an_area_lies_between_the_lowest_and_the_highest_score(dice: list[float], step: float) -> None:
    seconds = [step * number for number in range(len(dice))]
    found = area(seconds, dice, 0, seconds[-1])
    assert min(dice) - 1e-9 <= found <= max(dice) + 1e-9


def test_efficiency_is_the_rate_that_the_points_were_made_with() -> None:
    shares = np.array([0.001, 0.002, 0.003, 0.005])
    dice = 0.9 - 0.5 * np.exp(-400 * (shares - 0.001))
    assert foreground_efficiency(shares, dice, (0.001, 0.4), 0.9) == pytest.approx(400, rel=1e-3)


def test_no_efficiency_without_a_gap_or_without_strokes() -> None:
    assert math.isnan(foreground_efficiency([0.1, 0.2], [0.9, 0.9], (0.1, 0.9), 0.9))
    assert math.isnan(foreground_efficiency([0.1, 0.1], [0.5, 0.6], (0.1, 0.5), 0.9))


def test_comparison_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, (5, 12))
    other = base + rng.normal(0.02, 0.02, (5, 12))
    (found,) = compare_areas({"reference": base, "other": other}, "reference")
    assert found.difference == pytest.approx((other - base).mean())
    assert found.p_seeds == pytest.approx(ttest_rel(other.mean(axis=1), base.mean(axis=1)).pvalue)
    assert found.p_cases == pytest.approx(wilcoxon((other - base).mean(axis=0)).pvalue)
    assert found.p_seeds_corrected == pytest.approx(found.p_seeds)  # one strategy: nothing to correct
    assert found.wins == int(((other - base).mean(axis=0) > 0).sum())


def test_three_strategies_are_corrected_by_holm() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.4, 0.6, (5, 8))
    tables = {"reference": base} | {name: base + rng.normal(0.01, 0.02, (5, 8)) for name in "abc"}
    found = compare_areas(tables, "reference")
    smallest = min(found, key=lambda test: test.p_seeds)
    assert smallest.p_seeds_corrected == pytest.approx(min(1.0, 3 * smallest.p_seeds))


def test_one_seed_has_no_p_value_and_equal_areas_no_difference() -> None:
    base = np.full((1, 4), 0.5)
    (found,) = compare_areas({"reference": base, "same": base}, "reference")
    assert math.isnan(found.p_seeds)
    assert found.difference == 0
    assert t_p(np.zeros(5)) == 1.0


def test_cases_without_a_score_are_left_out() -> None:
    base = np.array([[0.5, np.nan, 0.4], [0.5, np.nan, 0.6]])
    (found,) = compare_areas({"reference": base, "other": base + 0.1}, "reference")
    assert found.cases == 2
    assert found.difference == pytest.approx(0.1)


def test_equal_strokes_are_another_question_than_equal_seconds() -> None:
    """Two curves of the same Dice: one pays 10 s a stroke, the other 5 s, and so draws twice as many in its seconds."""

    def curve(strokes: list[int], seconds: list[float], dice: list[float]) -> Curve:
        points = [
            {"seconds": s, "strokes": n, "dice": {"one": {"organ": d}}}
            for s, n, d in zip(seconds, strokes, dice, strict=True)
        ]
        job = SimpleNamespace(spending=SimpleNamespace(total=20.0))
        return Curve(job, Path(), {"points": points, "foreground_voxels": 1})  # type: ignore[arg-type]

    quick = curve([0, 2, 4], [0, 10, 20], [0.0, 0.2, 0.4])
    slow = curve([0, 1, 2], [0, 10, 20], [0.0, 0.1, 0.2])
    data = DataResults("made up", {"slow": {0: slow, 1: slow}, "quick": {0: quick, 1: quick}}, None, "slow")
    (by_seconds,), (by_strokes,) = data.tests, data.tests_over_strokes
    assert by_seconds.difference == pytest.approx(0.1)
    assert by_strokes.difference == pytest.approx(0, abs=1e-12)  # up to two strokes both climb alike
