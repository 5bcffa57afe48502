"""Generalised energy distance: does a set of sampled masks look like the set that people drew?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError


@dataclass(frozen=True)
class Ged:
    """Squared generalised energy distance of one case and its parts.

    Attributes:
        ged: 2 * between - sampled - raters; 0 where both sets are the same distribution, lower is better.
        between: Mean distance of a sampled from a rater's mask.
        sampled: Mean distance of two sampled masks, each with itself too: their diversity.
        raters: The same for the raters' masks.
    """

    ged: float
    between: float
    sampled: float
    raters: float


def iou_distance(first: np.ndarray, second: np.ndarray, classes: int) -> float:
    """One minus the mean intersection over union of the structures.

    Source: Kohl et al., NeurIPS 2018, sec. 4: a structure that neither mask holds counts as equal (distance 0).

    Args:
        first: Class indices (Z, Y, X) with `UNLABELLED`; voxels that either map leaves unlabelled are left out.
        second: The same.
        classes: Number of classes C; background takes no part.

    Returns:
        0..1.
    """
    seen = (first != UNLABELLED) & (second != UNLABELLED)
    table = np.bincount(first[seen].astype(np.int64) * classes + second[seen], minlength=classes**2)
    return _from_table(table.reshape(classes, classes))


def generalised_energy_distance(sampled: Sequence[np.ndarray], raters: Sequence[np.ndarray], classes: int) -> Ged:
    """Compare sampled masks with those of all raters of a case.

    Source: Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013; as a score of segmentation Kohl et al., NeurIPS 2018,
    eq. 5: 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')] with d = 1 - IoU. All pairs count, those of a mask with itself too,
    as in the paper.

    Args:
        sampled: Masks of the network, (Z, Y, X) class indices.
        raters: Masks of people, with `UNLABELLED` where they said nothing: such voxels are left out of every comparison
            with this rater, they are not background. A rater who labelled nothing at all takes no part.
        classes: Number of classes C.

    Raises:
        DataError: No sampled mask, no rater who labelled anything, or masks of different shapes.
    """
    drawn = [one for one in raters if (one != UNLABELLED).any()]
    if not len(sampled) or not drawn:
        raise DataError(f"ged: expected masks of both sides, got {len(sampled)} sampled and {len(drawn)} of raters.")
    shapes = {one.shape for one in (*sampled, *drawn)}
    if len(shapes) > 1:
        raise DataError(f"ged: expected masks of one shape, got {', '.join(map(str, sorted(shapes)))}.")
    between = np.mean([iou_distance(a, b, classes) for a in sampled for b in drawn])
    parts = [_within(masks, classes) for masks in (sampled, drawn)]
    return Ged(float(2 * between - sum(parts)), float(between), *parts)


def _within(masks: Sequence[np.ndarray], classes: int) -> float:
    """Mean over all ordered pairs; a mask is at distance 0 from itself."""
    count = len(masks)
    pairs = [iou_distance(masks[i], masks[j], classes) for i in range(count) for j in range(i)]
    return float(2 * sum(pairs) / count**2)


def _from_table(table: np.ndarray) -> float:
    shared = np.diag(table)[1:].astype(float)
    either = table.sum(axis=0)[1:] + table.sum(axis=1)[1:] - shared
    return float(np.mean(np.where(either > 0, 1 - shared / np.maximum(either, 1), 0.0)))
