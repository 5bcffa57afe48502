"""Ranks and their stability: small tables whose answer one can see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medcl.evaluation.ranking import rank, rank_stability


def test_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.9], [0.8, 0.8, 0.8], [0.7, 0.7, 0.7]])
    assert rank(scores).tolist() == [3, 1, 2]  # means 0.633, 0.8, 0.7
    assert rank(scores, how="rank").tolist() == [1, 1, 3]  # ranks 1 3 1, 2 1 2, 3 2 3: means 5/3, 5/3, 8/3
    assert rank(scores, higher_is_better=False).tolist() == [1, 3, 2]


def test_equal_methods_share_the_better_rank() -> None:
    assert rank(np.array([[0.1, 0.2], [0.2, 0.1], [0.0, 0.0]])).tolist() == [1, 1, 3]


def test_a_method_that_always_wins_is_always_first() -> None:
    found = rank_stability({"worse": np.array([0.1, 0.2, 0.3]), "better": np.array([0.2, 0.3, 0.4])})
    assert found.methods == ("better", "worse")
    assert found.ranks == found.low == found.high == (1.0, 2.0)
    assert found.shares.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found.tau == 1.0


def test_a_coin_toss_has_no_stable_order() -> None:
    """One case each way: of the four draws, one is all first, one all second, two are ties (both rank 1)."""
    found = rank_stability({"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}, resamples=4000)
    assert found.shares[:, 0] == pytest.approx([0.75, 0.75], abs=0.03)
    assert found.shares[:, 1] == pytest.approx([0.25, 0.25], abs=0.03)
    assert (found.low, found.high) == ((1.0, 1.0), (2.0, 2.0))


def test_cases_that_a_method_lacks_are_left_out() -> None:
    found = rank_stability({"a": np.array([0.5, np.nan, 0.4]), "b": np.array([0.1, 0.9, 0.1])})
    assert found.cases == 2
    assert found.methods[0] == "a"
    assert np.isnan(rank_stability({"a": np.array([np.nan]), "b": np.array([1.0])}).tau)


@given(arrays(float, (4, 6), elements=st.floats(0, 1)), st.integers(0, 5))
def test_stability_is_repeatable_and_a_distribution(scores: np.ndarray, seed: int) -> None:
    table = {f"m{index}": row for index, row in enumerate(scores)}
    found = rank_stability(table, seed=seed, resamples=50)
    again = rank_stability(table, seed=seed, resamples=50)
    assert np.array_equal(found.shares, again.shares)
    assert found.shares.sum(axis=1) == pytest.approx(np.ones(4))
    assert all(-1 <= tau <= 1 for tau in found.taus)
    assert list(found.ranks) == sorted(found.ranks)


def test_tau_agrees_with_counting_pairs() -> None:
    rng = np.random.default_rng(1)
    table = {name: rng.normal(mean, 0.2, 9) for name, mean in zip("abcd", (0.5, 0.55, 0.6, 0.65), strict=True)}
    found = rank_stability(table, resamples=30, seed=2)
    values = np.stack([table[name] for name in table])
    means = values.mean(axis=1)
    draws = np.random.default_rng(2).integers(0, 9, (30, 9))
    for draw, tau in zip(draws, found.taus, strict=True):
        other = values[:, draw].mean(axis=1)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        signs = [np.sign(means[i] - means[j]) * np.sign(other[i] - other[j]) for i, j in pairs]
        assert tau == pytest.approx(np.mean(signs))
