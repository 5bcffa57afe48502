"""A set of strokes against all sets of real strokes that were measured: is anything outside what people drew there?

Says nothing where all is within the known range, and nothing that was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medcl.data.check.findings import Finding
from medcl.scribbles.compare import KINDS, QUANTILES, values_of
from medcl.scribbles.measure import StrokeRow
from medcl.scribbles.presets import known_sets

_FEWEST = 40
"""Fewer rows (slices and classes) than this say nothing about a set."""


@dataclass(frozen=True)
class _Rule:
    """What to say where the median of a quantity lies outside all known sets."""

    quantity: str
    unit: str
    below: str = ""
    below_todo: str = ""
    above: str = ""
    above_todo: str = ""


_RULES = (
    _Rule(
        "thickness_mm",
        " mm",
        "thinner than any we know",
        "Expect to need more steps or more cases, as fewer pixels teach; a wider pen costs no more time",
        "thicker than any we know",
        "Look whether they cross borders: expect rounder masks of small structures",
    ),
    _Rule(
        "coverage",
        "",
        "covering less of their structure than any we know",
        "Expect scores below those of published stroke sets; a second stroke in each structure helps most",
        "covering more of their structure than any we know",
        "Nothing to mend; compare scores with those of dense labels rather than of stroke sets",
    ),
    _Rule(
        "pieces",
        " pieces",
        above="in more pieces per class and slice than any we know",
        above_todo="Look for crumbs: stray clicks, or strokes broken by resampling to another grid",
    ),
    _Rule(
        "relative_depth",
        " of the largest depth",
        "nearer to the border than any we know",
        "Look whether they slip over it; expect masks that follow every wobble of the strokes",
        "nearer to the middle than any we know",
        "Expect borders to be guessed: add a stroke along the inside of the border",
    ),
)


def find_unusual(
    rows: Sequence[StrokeRow], known: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]] | None = None
) -> list[Finding]:
    """Compare measured strokes with the known sets.

    A median counts as unusual where it lies below the 5 % quantile, or above the 95 % quantile, of every known set.

    Args:
        rows: Rows of `measure_strokes`, of all cases of a data set.
        known: Set -> kind -> quantity -> quantiles; default: the sets that were measured.

    Returns:
        A note `strokes-unusual` for each quantity outside the known range; nothing for fewer than 40 rows.
    """
    import numpy as np

    sets = known_sets() if known is None else known
    findings = []
    for kind in KINDS:
        for rule in _RULES:
            if kind == "background" and rule.quantity in ("coverage", "relative_depth"):
                continue
            values = values_of(rows, kind, rule.quantity)
            ranges = [table[kind][rule.quantity] for table in sets.values() if rule.quantity in table.get(kind, {})]
            if len(values) < _FEWEST or not ranges:
                continue
            median = float(np.median(values))
            low, high = min(quantiles[0] for quantiles in ranges), max(quantiles[-1] for quantiles in ranges)
            what, todo = (rule.below, rule.below_todo) if median < low else (rule.above, rule.above_todo)
            if low <= median <= high or not what:
                continue
            middles = [quantiles[QUANTILES.index(0.5)] for quantiles in ranges]
            findings.append(
                Finding(
                    "note",
                    "strokes-unusual",
                    None,
                    None,
                    f"strokes of {kind} are {what}: {rule.quantity} is {median:.2g}{rule.unit} in the median; "
                    f"{len(ranges)} measured sets have medians of {min(middles):.2g} to {max(middles):.2g}",
                    todo,
                    {"kind": kind, "quantity": rule.quantity, "median": median, "low": low, "high": high},
                )
            )
    return findings
