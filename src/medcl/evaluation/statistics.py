"""From scores per case to means with intervals: nothing is dropped without being counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medcl.evaluation.metrics import METRICS, NAN, Score

ALL = "all structures"
"""Name of the summary over structures: the mean within each case first, then over cases."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """One metric of one structure over all cases.

    Attributes:
        structure: Name of the structure, or `ALL`.
        metric: Key of the metric.
        cases: Cases with a value.
        undefined: Cases without one (nan): empty masks or not annotated.
        both_empty: Cases where neither prediction nor label holds the structure (they count as 1 in both Dice).
        mean: Mean over `cases`.
        low: Lower end of the 95 % bootstrap interval of the mean, nan below two cases.
        high: Upper end.
        std: Sample standard deviation, nan below two cases.
        median: Median.
        minimum: Smallest value.
        maximum: Largest value.
        mean_without_both_empty: Mean over the cases where at least one of the two masks holds the structure.
    """

    structure: str
    metric: str
    cases: int
    undefined: int
    both_empty: int
    mean: float
    low: float
    high: float
    std: float
    median: float
    minimum: float
    maximum: float
    mean_without_both_empty: float

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as a flat mapping, in the order of the CSV columns."""
        return asdict(self)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron and Tibshirani 1993, section 13.3).

    Args:
        values: One value per case, without nan.
        resamples: Number of draws of as many cases, with replacement.
        seed: Seed of the draws; same seed and values, same interval.
        confidence: Share of the resampled means inside the interval.

    Returns:
        Lower and upper end; (nan, nan) with fewer than two values, where an interval would claim what nobody knows.
    """
    data = np.asarray(values, dtype=float)
    if data.size < 2:
        return NAN, NAN
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 4_000_000 // data.size)  # bounds memory for thousands of cases
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        means[start : start + size] = data[generator.integers(0, data.size, (size, data.size))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def summarise(scores: Sequence[Score], *, seed: int = 0) -> list[Summary]:
    """Summarise scores per structure and over all structures.

    Args:
        scores: Rows of all cases.
        seed: Seed of the bootstrap.

    Returns:
        One `Summary` per structure and metric, in class order; with more than one structure, `ALL` at the end.
    """
    structures = list(dict.fromkeys((score.index, score.structure) for score in scores))
    summaries = []
    for index, name in sorted(structures):
        rows = [score for score in scores if score.index == index]
        empty = np.array([row.state == "both empty" for row in rows])
        for metric in METRICS:
            values = np.array([getattr(row, metric.key) for row in rows], dtype=float)
            summaries.append(_summary(name, metric.key, values, empty, seed))
    if len(structures) > 1:
        for metric in METRICS:
            values, empty = _case_means(scores, metric.key)
            summaries.append(_summary(ALL, metric.key, values, empty, seed))
    return summaries


def case_means(scores: Sequence[Score], metric: str = "dice") -> dict[str, float]:
    """Return the mean of a metric over the structures of each case; nan where no structure has a value.

    Args:
        scores: Rows of all cases.
        metric: Key of the metric.
    """
    cases: dict[str, list[float]] = {}
    for score in scores:
        cases.setdefault(score.case, []).append(getattr(score, metric))
    return {case: _mean(np.array(values, dtype=float)) for case, values in cases.items()}


def _case_means(scores: Sequence[Score], metric: str) -> tuple[np.ndarray, np.ndarray]:
    means = case_means(scores, metric)
    empty = dict.fromkeys(means, True)
    for score in scores:
        empty[score.case] &= score.state == "both empty"
    return np.array(list(means.values())), np.array(list(empty.values()))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else NAN


def _summary(structure: str, metric: str, values: np.ndarray, empty: np.ndarray, seed: int) -> Summary:
    known = values[~np.isnan(values)]
    low, high = bootstrap_interval(known, seed=seed)
    return Summary(
        structure=structure,
        metric=metric,
        cases=int(known.size),
        undefined=int(values.size - known.size),
        both_empty=int(empty.sum()),
        mean=_mean(values),
        low=low,
        high=high,
        std=float(known.std(ddof=1)) if known.size > 1 else NAN,
        median=float(np.median(known)) if known.size else NAN,
        minimum=float(known.min()) if known.size else NAN,
        maximum=float(known.max()) if known.size else NAN,
        mean_without_both_empty=_mean(values[~empty]),
    )
