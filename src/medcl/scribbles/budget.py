"""Spending a budget: in which order slices are drawn, and how much of the next stroke can still be afforded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medcl.scribbles.ink import Stroke
from medcl.scribbles.settings import StrokeBudget, StrokeCost


def spread_order(rng: np.random.Generator, count: int) -> list[int]:
    """Order 0..count-1 so that every beginning of it is spread over the whole range (van der Corput sequence).

    Whoever runs out of time after any number of slices has then looked at all parts of the volume.
    """
    shift = float(rng.random())
    keys = [(_radical_inverse(number) + shift) % 1.0 for number in range(max(2 * count, 1))]
    return list(dict.fromkeys([int(key * count) for key in keys] + list(range(count))))[:count]


def _radical_inverse(number: int) -> float:
    result, base = 0.0, 0.5
    while number:
        result += base * (number & 1)
        number >>= 1
        base /= 2
    return result


class Ledger:
    """What has been spent on one case.

    Args:
        budget: The limits.
        cost: The cost model.
        voxels: Number of pixels of the case.
        step_mm: Length in mm of a unit of a stroke's points, by axis across which slices lie.
    """

    def __init__(self, budget: StrokeBudget, cost: StrokeCost, voxels: int, step_mm: dict[int, float]) -> None:
        self.budget, self.cost = budget, cost
        self.pixels_left = int(budget.pixels * voxels) if budget.pixels is not None else voxels
        self.slices = 0
        self.seconds = 0.0
        self._step_mm = step_mm
        self._at: tuple[int, int] | None = None
        self._strokes: dict[tuple[int, int, int], int] = {}

    @property
    def spent(self) -> bool:
        """Whether nothing more can be drawn in another slice."""
        if self.pixels_left <= 0 or (self.budget.slices is not None and self.slices >= self.budget.slices):
            return True
        if self.budget.seconds is None:
            return False
        return self.seconds + self.cost.per_slice_s + self.cost.per_stroke_s > self.budget.seconds

    def afford(self, stroke: Stroke) -> Stroke | None:
        """Return the part of a stroke for which there are strokes and seconds left, or None. Nothing is booked."""
        key = (stroke.axis, stroke.index, stroke.value)
        if self.budget.strokes is not None and self._strokes.get(key, 0) >= self.budget.strokes:
            return None
        if self.budget.seconds is None:
            return stroke
        fixed = self.cost.per_stroke_s + (0.0 if self._at == key[:2] else self.cost.per_slice_s)
        left = self.budget.seconds - self.seconds - fixed
        if left < 0:
            return None
        if self.cost.per_mm_s * stroke.length_mm <= left:
            return stroke
        unit_mm = self._step_mm[stroke.axis]
        steps = np.sqrt((np.diff(stroke.points, axis=0) ** 2).sum(axis=1))
        affordable = np.searchsorted(np.cumsum(steps) * unit_mm, left / self.cost.per_mm_s, side="right")
        return shorten(stroke, 1 + int(affordable), unit_mm)

    def book(self, stroke: Stroke, pixels: int) -> None:
        """Count a stroke that was drawn and the pixels it covered first."""
        if self._at != (stroke.axis, stroke.index):
            self._at = (stroke.axis, stroke.index)
            self.slices += 1
            self.seconds += self.cost.per_slice_s
        key = (stroke.axis, stroke.index, stroke.value)
        self._strokes[key] = self._strokes.get(key, 0) + 1
        self.seconds += self.cost.per_stroke_s + self.cost.per_mm_s * stroke.length_mm
        self.pixels_left -= pixels


def shorten(stroke: Stroke, points: int, unit_mm: float) -> Stroke:
    """Return the first points of a stroke as a stroke of its own."""
    kept = stroke.points[:points]
    length = float(np.sqrt((np.diff(kept, axis=0) ** 2).sum(axis=1)).sum()) * unit_mm if len(kept) > 1 else 0.0
    return replace(stroke, points=kept, length_mm=length)
