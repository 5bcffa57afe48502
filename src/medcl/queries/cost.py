"""What drawing at a place is expected to cost a person, in seconds, and how many places a budget pays for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from medcl.queries.pool import Place, Pool, Query
from medcl.scribbles.settings import StrokeCost

LENGTH = 2.0
"""Length of a structure's strokes in a slice, as a multiple of the square root of its area (see docs/queries.md)."""

BACKGROUND_LENGTH = 6.0
"""The same for background around structures, as a multiple of the square root of the area of all structures."""

UNKNOWN_SHARE = 0.02
"""Share of a slice that a structure is taken to fill where no prediction says anything (an assumption)."""


def stroke_seconds(size_mm2: float, cost: StrokeCost, *, background: bool = False) -> float:
    """Return the expected seconds for one class in one slice, the way to the slice included.

    seconds = per_slice_s + per_stroke_s + per_mm_s * LENGTH * sqrt(area): the cost model of `StrokeCost` with the
    length that simulated people draw (derived; measured by `benchmarks/query_cost.py`).

    Args:
        size_mm2: Expected area of the class in the place; for background that of all structures.
        cost: The cost model.
        background: Whether background is drawn: loops around what is there.
    """
    length = (BACKGROUND_LENGTH if background else LENGTH) * max(size_mm2, 0.0) ** 0.5
    return cost.per_slice_s + cost.per_stroke_s + cost.per_mm_s * length


def priced(found: Sequence[Query], pool: Pool, cost: StrokeCost | None = None) -> list[Query]:
    """Return queries with their expected cost; those whose strategy named one keep it.

    The area of a class is what the prediction expects in the place; where it says nothing, the median of what it
    expects of that class elsewhere; before any prediction `UNKNOWN_SHARE` of the slice.

    Args:
        found: What a strategy asks for.
        pool: What is known of the places.
        cost: The cost model; default: its defaults.
    """
    model = cost or StrokeCost()
    by_spot: dict[tuple[str, int, object], dict[int, Place]] = defaultdict(dict)
    sizes: dict[int, list[float]] = defaultdict(list)
    for place in pool.places:
        by_spot[place.case, place.slice, place.box][place.class_index] = place
        if place.mask_mm2 > 0:
            sizes[place.class_index].append(place.size_mm2)

    def size(query: Query) -> float:
        here = by_spot.get((query.case, query.slice, query.box), {})
        if query.class_index == 0 and here:
            return sum(place.size_mm2 for c, place in here.items() if c > 0)
        if query.class_index in here:
            return here[query.class_index].size_mm2
        if sizes.get(query.class_index):
            return median(sizes[query.class_index])
        return UNKNOWN_SHARE * slice_mm2(pool, query)

    return [
        query
        if query.cost_s is not None
        else replace(query, cost_s=stroke_seconds(size(query), model, background=query.class_index == 0))
        for query in found
    ]


def slice_mm2(pool: Pool, query: Query) -> float:
    """Return the area of a query's slice, from the case's middle voxel and spacing."""
    case = pool.by_id[query.case]
    across = {"sagittal": 0, "coronal": 1, "axial": 2}[case.plane]
    sides = [
        max(2 * middle, 1) * mm
        for axis, (middle, mm) in enumerate(zip(case.centre, case.spacing_mm, strict=True))
        if axis != across
    ]
    return sides[0] * sides[1]


def within(found: Sequence[Query], seconds: float) -> list[Query]:
    """Return the first queries that a budget pays for; those without a cost cost nothing."""
    kept, spent = [], 0.0
    for query in found:
        spent += query.cost_s or 0.0
        if spent > seconds:
            break
        kept.append(query)
    return kept
