"""How far two sets of strokes are apart, quantity by quantity; and the summary of one set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcl.scribbles.measure import QUANTITIES, StrokeRow

KINDS = ("structures", "background")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class StrokeDistance:
    """How one quantity differs between two sets of strokes.

    Attributes:
        kind: 'structures' or 'background'.
        quantity: A key of `QUANTITIES`.
        real: Median and quartiles (25 %, 50 %, 75 %) of the first set.
        simulated: The same of the second set.
        wasserstein: Wasserstein distance of order 1 between the two distributions, in the quantity's unit.
        relative: `wasserstein` by the mean of the first set's absolute values; nan where that is 0.
        count: Rows (slices and classes) of the two sets.
    """

    kind: str
    quantity: str
    real: tuple[float, float, float]
    simulated: tuple[float, float, float]
    wasserstein: float
    relative: float
    count: tuple[int, int]


def values_of(rows: Sequence[StrokeRow], kind: str, quantity: str) -> np.ndarray:
    """Return the finite values of a quantity for structures or for background, in the order of the rows."""
    chosen = [getattr(row, quantity) for row in rows if (row.index == 0) == (kind == "background")]
    values = np.asarray(chosen, dtype=float)
    return values[np.isfinite(values)]


def compare_strokes(real: Sequence[StrokeRow], simulated: Sequence[StrokeRow]) -> list[StrokeDistance]:
    """Compare two sets of measured strokes.

    Args:
        real: Rows of `measure_strokes`, of real people or of any first set.
        simulated: Rows of the second set.

    Returns:
        One entry per kind of stroke and quantity that both sets have values of.
    """
    from scipy.stats import wasserstein_distance

    found = []
    for kind in KINDS:
        for quantity in QUANTITIES:
            first, second = values_of(real, kind, quantity), values_of(simulated, kind, quantity)
            if not len(first) or not len(second):
                continue
            apart = float(wasserstein_distance(first, second))
            size = float(np.abs(first).mean())
            found.append(
                StrokeDistance(
                    kind,
                    quantity,
                    _quartiles(first),
                    _quartiles(second),
                    apart,
                    apart / size if size > 0 else math.nan,
                    (len(first), len(second)),
                )
            )
    return found


def summarise(rows: Sequence[StrokeRow]) -> dict[str, dict[str, list[float]]]:
    """Return the quantiles `QUANTILES` of every quantity by kind: what the table of known sets holds."""
    table: dict[str, dict[str, list[float]]] = {}
    for kind in KINDS:
        for quantity in QUANTITIES:
            values = values_of(rows, kind, quantity)
            if len(values):
                quantiles = np.quantile(values, QUANTILES)
                table.setdefault(kind, {})[quantity] = [round(float(value), 4) for value in quantiles]
    return table


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return low, middle, high
