"""Who comes first, and would he with other patients? Ranks, and how they move when the cases are drawn again.

After the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 13, 2022) and challengeR
(Wiesenfarth et al., Scientific Reports 11, 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

How = Literal["mean", "rank"]
RESAMPLES = 1000


@dataclass(frozen=True)
class RankStability:
    """Ranks of methods and their stability.

    Attributes:
        methods: Names, best first.
        ranks: Rank of each, 1 is best; equal means share the better rank.
        shares: (methods, methods) share of the resamples in which a method (row) has rank 1, 2, ... (column).
        low: Lower end of the 95 % interval of each rank.
        high: Upper end.
        taus: Kendall's tau between the ranking and that of each resample: 1 the same order, -1 the reverse.
        cases: Number of cases.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    shares: np.ndarray
    low: tuple[float, ...]
    high: tuple[float, ...]
    taus: np.ndarray
    cases: int

    @property
    def tau(self) -> float:
        """Mean of Kendall's tau over the resamples; nan with one method."""
        known = self.taus[~np.isnan(self.taus)]
        return float(known.mean()) if known.size else float("nan")


def rank(scores: np.ndarray, *, how: How = "mean", higher_is_better: bool = True) -> np.ndarray:
    """Rank methods, 1 is best; equal ones share the better rank.

    Args:
        scores: (methods, cases) without nan.
        how: `mean`: rank the means over cases (aggregate, then rank); `rank`: rank within each case, then rank the mean
            ranks (rank, then aggregate).
        higher_is_better: Whether a larger score wins.

    Returns:
        (methods,) ranks.
    """
    from scipy.stats import rankdata

    sign = -1.0 if higher_is_better else 1.0
    if how == "rank":
        within = rankdata(sign * scores, method="min", axis=0)
        return np.asarray(rankdata(_rounded(within.mean(axis=1)), method="min"), dtype=float)
    return np.asarray(rankdata(_rounded(sign * scores.mean(axis=1)), method="min"), dtype=float)


def rank_stability(
    scores: Mapping[str, np.ndarray],
    *,
    how: How = "mean",
    higher_is_better: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RankStability:
    """Rank methods, and rank them again on cases drawn with replacement.

    Args:
        scores: Method -> (cases,) scores, the same cases in the same order; cases that a method lacks are left out.
        how: See `rank`.
        higher_is_better: Whether a larger score wins.
        resamples: Number of draws.
        seed: Seed of the draws.
    """
    from scipy.stats import kendalltau

    names = list(scores)
    table = np.stack([np.asarray(scores[name], dtype=float) for name in names])
    table = table[:, ~np.isnan(table).any(axis=0)]
    if not table.shape[1]:
        nothing = tuple([float("nan")] * len(names))
        square = np.full((len(names), len(names)), np.nan)
        return RankStability(tuple(names), nothing, square, nothing, nothing, np.array([]), 0)
    ranks = rank(table, how=how, higher_is_better=higher_is_better)
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, table.shape[1], (resamples, table.shape[1]))
    again = np.stack([rank(table[:, draw], how=how, higher_is_better=higher_is_better) for draw in draws])
    taus = np.full(resamples, np.nan)
    if len(names) > 1:
        patterns, inverse = np.unique(again, axis=0, return_inverse=True)
        by_pattern = np.array([_tau(kendalltau, ranks, pattern) for pattern in patterns])
        taus = by_pattern[inverse.reshape(-1)]
    shares = np.stack([(again == place).mean(axis=0) for place in range(1, len(names) + 1)], axis=1)
    low, high = np.quantile(again, [0.025, 0.975], axis=0, method="closest_observation")
    order = sorted(range(len(names)), key=lambda index: (ranks[index], names[index]))
    return RankStability(
        methods=tuple(names[index] for index in order),
        ranks=tuple(float(ranks[index]) for index in order),
        shares=shares[order],
        low=tuple(float(low[index]) for index in order),
        high=tuple(float(high[index]) for index in order),
        taus=taus,
        cases=table.shape[1],
    )


def _tau(kendalltau: object, one: np.ndarray, other: np.ndarray) -> float:
    if np.array_equal(one, other):
        return 1.0  # tau-b has no value where all ranks are equal; the same order is the same order
    value = kendalltau(one, other).statistic  # type: ignore[operator]
    return 0.0 if np.isnan(value) else float(value)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Sums in another order differ in the last bit; such means are equal."""
    return np.round(values, 12)
