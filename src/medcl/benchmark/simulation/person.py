"""The made-up person: goes to the slice that a strategy names, draws there what a person would draw, and takes time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.scribbles import ScribbleSettings
from medcl.scribbles.simulator import draw


@dataclass(frozen=True, eq=False)
class Visit:
    """What was drawn in one slice.

    Attributes:
        strokes: int16 of the slice's shape: class indices, `UNLABELLED` where nothing was drawn.
        counts: Strokes per class drawn.
        seconds: What the visit cost, the way to the slice included.
    """

    strokes: np.ndarray
    counts: dict[int, int]
    seconds: float


def visit(
    label: np.ndarray,
    spacing_mm: tuple[float, float],
    settings: ScribbleSettings,
    seed: int,
    *,
    asked: int,
    what: Literal["slice", "class"],
) -> Visit:
    """Draw in a slice.

    `what` slice: every class that is in the slice gets its strokes, background too. `class`: only the class that was
    asked for; where the slice does not show it, background, which is how a person says that it is not here.
    Looking at the slice costs time even where nothing can be drawn.

    Args:
        label: int16 (rows, columns) class indices, with `UNLABELLED`: what the person knows.
        spacing_mm: Spacing (rows, columns) in mm.
        settings: How to draw, and the cost model.
        seed: The same seed gives the same strokes, whoever asked for them.
        asked: The class that the strategy asked for.
        what: See above.
    """
    drawing = draw(label.astype(np.int16), spacing_mm, settings, seed)
    wanted = {int(value) for value in np.unique(label) if value != UNLABELLED}
    if what == "class":
        wanted = {asked if asked in wanted else 0}
    strokes = [stroke for stroke in drawing.strokes if stroke.value in wanted]
    cost = settings.cost
    seconds = cost.per_slice_s + sum(cost.per_stroke_s + cost.per_mm_s * stroke.length_mm for stroke in strokes)
    drawn = np.where(np.isin(drawing.scribble, sorted(wanted)), drawing.scribble, UNLABELLED).astype(np.int16)
    counts: dict[int, int] = {}
    for stroke in strokes:
        counts[stroke.value] = counts.get(stroke.value, 0) + 1
    return Visit(drawn, counts, float(seconds))


def visit_seed(seed: int, case: str, index: int, visits: int) -> int:
    """Return the seed of a visit: of the person, the case, the slice and how often the slice was visited before."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{case}/{index}/{visits}".encode()).digest()[:6], "big")
