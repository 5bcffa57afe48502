"""Intervals over cases and seeds, paired tests and Holm's correction: by hand, and by second implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.evaluation.comparison import case_mean, compare_methods, holm, seed_interval, signed_rank_p, smallest_p
from medcl.evaluation.statistics import bootstrap_interval


def all_signs(differences: np.ndarray) -> float:
    """Signed-rank p-value by its definition: the share of all sign patterns with a statistic at least as extreme."""
    known = differences[differences != 0]
    sizes = np.abs(known)
    ranks = np.array([(sizes < s).sum() + ((sizes == s).sum() + 1) / 2 for s in sizes])
    middle = ranks.sum() / 2
    seen = abs(ranks[known > 0].sum() - middle)
    patterns = itertools.product((0, 1), repeat=len(known))
    return float(np.mean([abs(np.dot(p, ranks) - middle) >= seen - 1e-9 for p in patterns]))


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; none below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls where every intersection that holds it falls by Bonferroni (Marcus et al. 1976)."""
    everyone = range(len(p_values))
    for index, corrected in enumerate(holm(p_values)):
        sets = (s for size in range(1, len(p_values) + 1) for s in itertools.combinations(everyone, size) if index in s)
        closed = max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets)
        assert corrected == pytest.approx(closed)


def test_signed_rank_by_hand() -> None:
    assert signed_rank_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)  # one of 32 patterns, two sides
    assert signed_rank_p(np.array([0.1, -0.1])) == 1.0
    assert signed_rank_p(np.zeros(4)) == signed_rank_p(np.array([np.nan])) == 1.0
    assert smallest_p(5) == pytest.approx(0.0625)
    assert smallest_p(0) == 1.0


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_signed_rank_is_the_share_of_sign_patterns_with_ties_too(values: list[int]) -> None:
    differences = np.array(values, dtype=float)
    expected = all_signs(differences) if differences.any() else 1.0
    assert signed_rank_p(differences) == pytest.approx(expected)


def test_many_tied_cases_take_the_normal_approximation() -> None:
    differences = np.array([1.0] * 20 + [-1.0] * 4)
    assert signed_rank_p(differences) == pytest.approx(0.00108, abs=2e-4)  # z = 16 / sqrt(24) = 3.27


def test_case_mean_leaves_gaps_out() -> None:
    table = np.array([[0.2, np.nan, np.nan], [0.4, 0.6, np.nan]])
    assert case_mean(table)[:2] == pytest.approx([0.3, 0.6])
    assert np.isnan(case_mean(table)[2])


def test_one_seed_is_the_bootstrap_over_cases() -> None:
    values = [0.5, 0.7, 0.8, 0.9]
    assert seed_interval(np.array([values])) == bootstrap_interval(values)
    assert np.isnan(seed_interval(np.array([[0.5], [0.7]]))).all()


def test_seeds_widen_the_interval_as_much_as_they_differ() -> None:
    """With equal cases only seeds vary: means of three draws of -1, 0, 1; P(mean = -1) = 1/27 > 2.5 %."""
    table = np.repeat([[-1.0], [0.0], [1.0]], 6, axis=1)
    assert seed_interval(table) == pytest.approx((-1.0, 1.0))


def test_the_interval_agrees_with_plain_loops() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(0.8, 0.1, (3, 8))
    table[1, 2] = np.nan
    draws = []
    for _ in range(4000):
        rows, columns = rng.integers(0, 3, 3), rng.integers(0, 8, 8)
        draws.append(np.nanmean(table[rows][:, columns]))
    expected = np.quantile(draws, [0.025, 0.975])
    assert seed_interval(table, resamples=4000) == pytest.approx(expected, abs=0.006)


def test_every_pair_the_better_one_first() -> None:
    good, bad = np.array([[0.9, 0.8, 0.7, 0.9, 0.8]]), np.array([[0.5, 0.5, 0.6, 0.4, 0.3]])
    (one,) = compare_methods({"bad": bad, "good": good})
    assert (one.first, one.second, one.wins, one.losses, one.cases) == ("good", "bad", 5, 0, 5)
    assert one.difference == pytest.approx(0.36)
    assert one.low <= one.difference <= one.high
    assert one.p == one.p_corrected == one.smallest_p == pytest.approx(0.0625)


def test_against_a_reference_there_are_fewer_tests_to_correct_for() -> None:
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(mean, 0.05, (2, 12)) for name, mean in (("a", 0.8), ("b", 0.7), ("c", 0.6), ("d", 0.5))}
    assert len(compare_methods(scores)) == 6
    against = compare_methods(scores, reference="b")
    assert [(test.first, test.second) for test in against] == [("b", "a"), ("b", "c"), ("b", "d")]
    assert [test.p_corrected for test in against] == pytest.approx(holm([test.p for test in against]))


def test_distances_are_better_when_small() -> None:
    near, far = np.array([[1.0, 2.0, 3.0]]), np.array([[5.0, 7.0, 9.0]])
    (one,) = compare_methods({"far": far, "near": near}, higher_is_better=False)
    assert (one.first, one.wins) == ("near", 3)
    assert one.difference == pytest.approx(-5.0)
