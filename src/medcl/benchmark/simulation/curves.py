"""What a curve of Dice over seconds is worth: its area, its foreground efficiency, and whether it beats another one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medcl.evaluation.comparison import case_mean, holm, signed_rank_p, smallest_p
from medcl.evaluation.statistics import bootstrap_interval


def area(seconds: Sequence[float], dice: Sequence[float] | np.ndarray, start: float, end: float) -> float:
    """Return the mean height of a curve between two budgets: the area under the budget curve, divided by its width.

    Between its points a curve is straight (trapezoid rule); beyond its last point it stays as it is. The normalised
    area under the budget curve: Zhan et al., A Comparative Survey: Benchmarking for Pool-based Active Learning, IJCAI
    2021; here over seconds in place of labels.

    Args:
        seconds: Spent at each point, rising.
        dice: Score at each point; nan makes the area nan.
        start: Seconds where the area begins.
        end: Seconds where it ends.
    """
    x, y = np.asarray(seconds, float), np.asarray(dice, float)
    if end <= start:
        return float(np.interp(start, x, y))
    inner = (x > start) & (x < end)
    grid = np.concatenate([[start], x[inner], [end]])
    return float(np.trapezoid(np.interp(grid, x, y), grid) / (end - start))


def foreground_efficiency(
    shares: Sequence[float], dice: Sequence[float], first: tuple[float, float], full: float
) -> float:
    """Return how fast the gap to a fully labelled model closes per share of the foreground that is annotated.

    Fits gamma in y = full - (full - y_0) exp(-gamma (x - x_0)) by least squares, x the annotated share of the
    foreground voxels, (x_0, y_0) the common start (FG-Eff: Luth et al., nnActive, arXiv 2511.19183). Strokes cover
    a percent of what dense patches do, so numbers are far larger than in that paper: compare within one table only.

    Args:
        shares: Annotated share of the foreground voxels at each point, of all seeds.
        dice: Score at each point.
        first: Share and score at the start, means over the seeds.
        full: Score of the model that has all dense labels.

    Returns:
        gamma; nan where the start is not below `full`, or nothing was annotated after it.
    """
    from scipy.optimize import curve_fit

    x, y = np.asarray(shares, float) - first[0], np.asarray(dice, float)
    gap = full - first[1]
    width = float(np.abs(x).max(initial=0.0))
    if gap <= 0 or width <= 0 or not np.isfinite(y).all():
        return math.nan

    def curve(at: np.ndarray, gamma: float) -> np.ndarray:
        return np.asarray(full - gap * np.exp(-np.clip(gamma * at, -50, 50)))

    try:
        # the width of the data as the unit: a fit from 1 then begins near its goal
        found, _ = curve_fit(curve, x / width, y, p0=[1.0])
    except RuntimeError:  # no minimum was found
        return math.nan
    return float(found[0]) / width


@dataclass(frozen=True)
class AreaTest:
    """One strategy against the reference, area under the curve at equal seconds.

    Attributes:
        strategy: Name.
        difference: Mean over seeds of its area minus the reference's.
        by_seed: The same of each seed.
        p_seeds: Two-sided p-value of the paired t-test over seeds (as nnActive and Ash et al., ICLR 2020, do per
            budget); nan below two seeds.
        p_seeds_corrected: The same after Holm's correction over the strategies.
        low, high: 95 % bootstrap interval of the difference over cases.
        cases: Scored cases.
        wins: Cases that are better with it, in the mean over seeds.
        p_cases: Two-sided p-value of the Wilcoxon signed-rank test over cases, each the mean over seeds.
        p_cases_corrected: The same after Holm's correction.
        smallest_p_cases: Smallest p-value that so many cases could give.
    """

    strategy: str
    difference: float
    by_seed: tuple[float, ...]
    p_seeds: float
    p_seeds_corrected: float
    low: float
    high: float
    cases: int
    wins: int
    p_cases: float
    p_cases_corrected: float
    smallest_p_cases: float


def compare_areas(areas: Mapping[str, np.ndarray], reference: str) -> list[AreaTest]:
    """Test all strategies against one, on the seeds and cases that both have.

    Two questions, two tests: would it be so with other first strokes and lots (over seeds), and with other patients
    (over cases)?

    Args:
        areas: Strategy -> (seeds, cases) areas; the same seeds and cases in the same order, nan where there is none.
        reference: The one that all others are compared with.
    """
    found = []
    base = areas[reference]
    for name, table in areas.items():
        if name == reference:
            continue
        difference = table - base
        seeds = np.array([float(np.nanmean(row)) for row in difference if not np.isnan(row).all()])
        cases = case_mean(difference)
        known = cases[~np.isnan(cases)]
        low, high = bootstrap_interval(known)
        moved = int((known != 0).sum())
        found.append(
            (name, seeds, t_p(seeds), low, high, known.size, int((known > 0).sum()), signed_rank_p(known), moved)
        )
    by_seeds = _holm([row[2] for row in found])
    by_cases = _holm([row[7] for row in found])
    return [
        AreaTest(
            name,
            float(seeds.mean()) if seeds.size else math.nan,
            tuple(float(value) for value in seeds),
            p,
            by_seeds[number],
            low,
            high,
            cases,
            wins,
            p_cases,
            by_cases[number],
            smallest_p(moved),
        )
        for number, (name, seeds, p, low, high, cases, wins, p_cases, moved) in enumerate(found)
    ]


def t_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the paired t-test; nan below two, 1 where nothing differs, 0 without spread."""
    from scipy.stats import ttest_1samp

    if differences.size < 2:
        return math.nan
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():  # no spread: SciPy would warn of its rounding
        return 0.0 if differences.any() else 1.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def _holm(values: list[float]) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    corrected = iter(holm(known))
    return [value if math.isnan(value) else next(corrected) for value in values]
