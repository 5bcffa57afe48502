from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcl.evaluation.metrics import Score
from medcl.evaluation.statistics import ALL, bootstrap_interval, case_means, summarise


def score(case: str, index: int, dice: float, state: str = "both", hd95_mm: float = 1.0) -> Score:
    return Score(case, index, f"s{index}", dice, hd95_mm, 1.0, 1.0, 0.0, 1.0, 1.0, state)


def test_interval_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(0.8, 0.1, 25)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    low, high = bootstrap_interval(values, resamples=20_000)
    assert low == pytest.approx(expected.low, abs=2e-3)
    assert high == pytest.approx(expected.high, abs=2e-3)


def test_interval_of_two_cases_reaches_from_one_to_the_other() -> None:
    assert bootstrap_interval([0.2, 0.6]) == (0.2, 0.6)  # a quarter of the resamples is twice the same case


def test_interval_is_repeatable_and_depends_on_the_seed() -> None:
    values = np.linspace(0, 1, 9)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_cases_have_no_interval(values: list[float]) -> None:
    assert all(math.isnan(end) for end in bootstrap_interval(values))


def test_many_cases_in_bounded_memory() -> None:
    low, high = bootstrap_interval(np.arange(100_001) % 2, resamples=50)
    assert 0.49 < low < high < 0.51


def test_summary_counts_what_it_leaves_out() -> None:
    rows = [score("a", 1, 0.5), score("b", 1, 0.7), score("c", 1, 1.0, "both empty", math.nan)]
    found = {row.metric: row for row in summarise(rows)}
    assert found["dice"].mean == pytest.approx(2.2 / 3)
    assert found["dice"].both_empty == 1
    assert found["dice"].mean_without_both_empty == pytest.approx(0.6)
    assert (found["hd95_mm"].cases, found["hd95_mm"].undefined, found["hd95_mm"].mean) == (2, 1, 1.0)
    assert found["dice"].median == 0.7
    assert found["dice"].std == pytest.approx(np.std([0.5, 0.7, 1.0], ddof=1))


def test_all_structures_is_the_mean_of_case_means() -> None:
    rows = [score("a", 1, 0.2), score("a", 2, 0.4), score("b", 1, 0.9), score("b", 2, math.nan, "not annotated")]
    assert case_means(rows) == {"a": pytest.approx(0.3), "b": 0.9}
    overall = next(row for row in summarise(rows) if row.structure == ALL and row.metric == "dice")
    assert overall.mean == pytest.approx(0.6)
    assert overall.cases == 2


def test_one_structure_needs_no_summary_over_structures() -> None:
    assert {row.structure for row in summarise([score("a", 1, 0.2)])} == {"s1"}


def test_structures_are_in_class_order() -> None:
    rows = [score("a", 2, 0.2), score("a", 1, 0.2)]
    assert list(dict.fromkeys(row.structure for row in summarise(rows))) == ["s1", "s2", ALL]


def test_nothing_known_is_nan_not_zero() -> None:
    row = summarise([replace(score("a", 1, 0.5), dice=math.nan)])[0]
    assert math.isnan(row.mean)
    assert (row.cases, row.undefined) == (0, 1)
