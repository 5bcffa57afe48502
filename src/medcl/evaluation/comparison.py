"""Is one method better than another, or was it luck? Intervals over cases and seeds, paired tests, corrected p-values.

Everything works on plain arrays of scores, one number per seed and case; nan where there is none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medcl.evaluation.statistics import RESAMPLES, bootstrap_interval

_EXACT, _EXACT_TIED = 50, 13  # numbers of cases: beyond these, SciPy would draw signs or need long


@dataclass(frozen=True)
class Comparison:
    """One method against another on the same cases.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        cases: Cases that both have a score of.
        difference: Mean over cases of first minus second (each the mean over its seeds).
        low: Lower end of the 95 % bootstrap interval of the difference over cases, nan below two cases.
        high: Upper end.
        wins: Cases where the first is better.
        losses: Cases where the second is better.
        p: Two-sided p-value of the Wilcoxon signed-rank test (Wilcoxon 1945).
        p_corrected: The same after Holm's correction for all tests made together.
        smallest_p: The smallest p-value that so many cases could give at all.
    """

    first: str
    second: str
    cases: int
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    p: float
    p_corrected: float
    smallest_p: float


def seed_interval(
    scores: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap interval of a mean over cases and seeds, both drawn with replacement.

    Cases are patients to come, seeds are trainings to come: both make a score uncertain. Each resample draws rows and
    columns independently, as all seeds score the same cases (Owen, The pigeonhole bootstrap, Annals of Applied
    Statistics 1, 2007). With one seed this is the usual bootstrap over cases.

    Args:
        scores: (seeds, cases); nan is left out.
        resamples: Number of draws.
        seed: Seed of the draws.
        confidence: Share of the resampled means inside the interval.

    Returns:
        Lower and upper end; (nan, nan) with fewer than two cases.
    """
    table = np.atleast_2d(np.asarray(scores, dtype=float))
    table = table[~np.isnan(table).all(axis=1)][:, ~np.isnan(table).all(axis=0)]
    if table.shape[1] < 2:
        return float("nan"), float("nan")
    if len(table) == 1:
        return bootstrap_interval(table[0], resamples=resamples, seed=seed, confidence=confidence)
    generator = np.random.default_rng(seed)
    known, filled = ~np.isnan(table), np.nan_to_num(table)
    rows = _weights(generator, resamples, len(table))
    columns = _weights(generator, resamples, table.shape[1])
    sums = np.einsum("bs,sc,bc->b", rows, filled, columns)
    counts = np.einsum("bs,sc,bc->b", rows, known.astype(float), columns)
    tail = (1 - confidence) / 2
    low, high = np.quantile(sums[counts > 0] / counts[counts > 0], [tail, 1 - tail])
    return float(low), float(high)


def compare_methods(
    scores: Mapping[str, np.ndarray], *, reference: str | None = None, higher_is_better: bool = True, seed: int = 0
) -> list[Comparison]:
    """Test methods against each other, or against one, on the same cases.

    Args:
        scores: Method -> (seeds, cases), the same cases in the same order.
        reference: Test every other method against this one; None tests every pair.
        higher_is_better: Whether a larger score wins.
        seed: Seed of the bootstrap.

    Returns:
        One comparison per test, `first` the better of the two (the reference, where one is given).
    """
    means = {name: case_mean(table) for name, table in scores.items()}
    sign = 1.0 if higher_is_better else -1.0
    if reference is not None:
        pairs = [(reference, name) for name in means if name != reference]
    else:
        order = sorted(means, key=lambda name: -sign * _mean(means[name]))
        pairs = list(itertools.combinations(order, 2))
    tested = [(first, second, means[first] - means[second]) for first, second in pairs]
    p_values = [signed_rank_p(difference) for _, _, difference in tested]
    found = []
    for (first, second, difference), p, corrected in zip(tested, p_values, holm(p_values), strict=True):
        known = difference[~np.isnan(difference)]
        low, high = bootstrap_interval(known, seed=seed)
        wins, losses = int((sign * known > 0).sum()), int((sign * known < 0).sum())
        smallest = smallest_p(wins + losses)
        mean = _mean(known)
        found.append(Comparison(first, second, known.size, mean, low, high, wins, losses, p, corrected, smallest))
    return found


def case_mean(table: np.ndarray) -> np.ndarray:
    """Return the mean over seeds (cases,) of (seeds, cases); nan where no seed has a score."""
    table = np.atleast_2d(np.asarray(table, dtype=float))
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(table.shape[1], np.nan), where=counts > 0)


def signed_rank_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test; 1 where nothing differs.

    Equal scores are dropped, as Wilcoxon does. Exact up to 50 cases (13 where differences are tied in size), beyond
    that by the normal approximation.

    Args:
        differences: One per case; nan is left out.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    known = differences[~np.isnan(differences)]
    known = known[known != 0]
    if known.size == 0:
        return 1.0
    tied = np.unique(np.abs(known)).size < known.size
    method = "exact" if known.size <= _EXACT else "asymptotic"
    if tied:  # all signs in turn; SciPy's exact table knows no ties
        method = PermutationMethod() if known.size <= _EXACT_TIED else "asymptotic"
    return float(wilcoxon(known, method=method).pvalue)


def smallest_p(cases: int) -> float:
    """Return the smallest two-sided p-value of the signed-rank test with so many differing cases: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - cases))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many (Holm, Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of n is multiplied by n - i + 1; none becomes smaller than one before it, none larger than 1.

    Args:
        p_values: In any order.

    Returns:
        Corrected values in the same order: below a level, the difference counts at that level for all tests together.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[int(index)] = largest
    return corrected


def _weights(generator: np.random.Generator, resamples: int, size: int) -> np.ndarray:
    """How often each of `size` things is drawn in each resample: (resamples, size)."""
    counts: np.ndarray = generator.multinomial(size, np.full(size, 1 / size), size=resamples)
    return counts.astype(float)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
