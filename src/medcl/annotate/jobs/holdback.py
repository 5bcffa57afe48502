"""Which drawn slices are kept from training, so that there is something to score on: every eighth, in the order drawn.

Whether a slice is held back follows from the history of strokes alone and never changes by strokes that come later. So
no model ever learned from what it is scored on, though each starts from the one before. Source: derived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.evaluation.metrics import dice
from medcl.queries.pool import SliceKey

EVERY = 8
"""One of so many drawn slices is held back,"""

FIRST = 5
"""from this one on (counted from 0): with fewer slices every stroke is needed to learn."""

AXES = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Plane -> axis of an array (K, J, I) of the view grid."""


@dataclass(frozen=True)
class Drawn:
    """One stroke of the history, oldest first; undone ones too, or undoing would change the order.

    Attributes:
        case: Name.
        plane: Plane that it was drawn on.
        slice: Slice that it was drawn on.
        class_index: What was drawn.
    """

    case: str
    plane: str
    slice: int
    class_index: int


def held_back(history: Iterable[Drawn], *, never: Iterable[str] = ()) -> set[SliceKey]:
    """Choose slices.

    The slices are counted in the order of their first stroke. Numbers FIRST, FIRST + EVERY, ... are held back, as long
    as every class drawn in them was drawn before in a slice that is learned from.

    Args:
        history: All strokes of structures and background, oldest first.
        never: Cases that are learned from as a whole, such as accepted ones.
    """
    left_out = set(never)
    held: dict[SliceKey, bool] = {}
    taught: set[int] = set()
    for stroke in history:
        key = (stroke.case, stroke.plane, stroke.slice)
        known = stroke.class_index in taught
        if key not in held:
            turn = len(held) >= FIRST and (len(held) - FIRST) % EVERY == 0
            held[key] = turn and known and stroke.case not in left_out
        elif held[key] and not known:
            held[key] = False  # a class that is drawn nowhere else must be learned
        if not held[key]:
            taught.add(stroke.class_index)
    return {key for key, back in held.items() if back}


def split(strokes: np.ndarray, held: Iterable[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Part a map of strokes into what is learned from and what is scored on.

    Args:
        strokes: int16 (K, J, I) in the view grid, class indices and `UNLABELLED`.
        held: Plane and number of the slices that are held back.

    Returns:
        Two maps of the same kind; each stroked voxel is in one of them.
    """
    apart = np.zeros(strokes.shape, bool)
    for plane, index in held:
        if index < strokes.shape[AXES[plane]]:
            np.moveaxis(apart, AXES[plane], 0)[index] = True
    return np.where(apart, UNLABELLED, strokes), np.where(apart, strokes, UNLABELLED)


def scores(pairs: Sequence[tuple[np.ndarray, np.ndarray]], classes: Sequence[str]) -> dict[str, float]:
    """Score masks on strokes that were held back.

    Dice per class over the stroked voxels of all cases together; voxels without a stroke do not count, so it is no Dice
    of the organ: it says whether strokes get their class and other strokes do not.

    Args:
        pairs: Mask and held-back strokes, (K, J, I) each.
        classes: Names by index.

    Returns:
        'dice', the mean over the structures drawn there, and 'dice/NAME'; empty where no structure was drawn.
    """
    drawn = [truth != UNLABELLED for _, truth in pairs]
    if not any(d.any() for d in drawn):
        return {}
    mask = np.concatenate([m[d] for (m, _), d in zip(pairs, drawn, strict=True)])
    truth = np.concatenate([t[d] for (_, t), d in zip(pairs, drawn, strict=True)])
    found = {
        f"dice/{classes[c]}": float(dice(mask == c, truth == c)) for c in range(1, len(classes)) if (truth == c).any()
    }
    return {"dice": float(np.mean(list(found.values()))), **found} if found else {}
