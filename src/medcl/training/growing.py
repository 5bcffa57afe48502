"""Strokes that grow: pixels that a random walker along the image surely gives to one stroke."""

from __future__ import annotations

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.scribbles.random_walker import Walk, random_walk

LARGEST_WALK = 500_000
"""Voxels of a walk in 3D; larger volumes walk on a coarser grid, as time and memory grow faster than the volume."""


def grow(
    image: np.ndarray, strokes: np.ndarray, possible: np.ndarray, walk: Walk, *, across_slices: bool
) -> np.ndarray:
    """Extend the strokes of a case to where a random walker is sure.

    Source: Grady, IEEE PAMI 28(11), 2006, see `random_walk`; the rule of `possible` is derived: the walker gives every
    pixel to one of the strokes, so that it may walk only where each class that may be there has one.

    Args:
        image: (channels, Z, Y, X) float, normalised.
        strokes: (Z, Y, X) class indices and `UNLABELLED`.
        possible: (Z, C) bool, classes that may be in the slice.
        walk: Certainty and grid.
        across_slices: Walk through the volume; otherwise in each slice on its own.

    Returns:
        (Z, Y, X) of the type of `strokes`: the class of grown pixels; `UNLABELLED` at strokes and where nobody knows.
    """
    grown = np.full_like(strokes, UNLABELLED)
    if across_slices:
        grown[:] = _grow_one(image, strokes, np.array(possible.any(axis=0)), walk)
    else:
        for z in range(strokes.shape[0]):
            grown[z] = _grow_one(image[:, z], strokes[z], possible[z], walk)
    return grown


def _grow_one(image: np.ndarray, strokes: np.ndarray, possible: np.ndarray, walk: Walk) -> np.ndarray:
    """Grow in one slice (Y, X) or volume (Z, Y, X)."""
    from skimage.measure import block_reduce
    from skimage.transform import resize

    shrink = walk.shrink
    while strokes.ndim == 3 and strokes.size / shrink**2 > LARGEST_WALK:
        shrink += 1
    block = (1,) * (strokes.ndim - 2) + (shrink, shrink)
    # Repeat the last pixels up to whole cells; what `block_reduce` adds by itself would be zeros.
    missing = [(0, -n % b) for n, b in zip(strokes.shape, block, strict=True)]
    whole = np.pad(strokes, missing, mode="edge")
    shares = np.stack([block_reduce(whole == c, block, np.mean) for c in range(len(possible))])
    seeds = _seeds(shares)
    if not all((seeds == c).any() for c in np.flatnonzero(possible)):
        return np.full_like(strokes, UNLABELLED)
    coarse = block_reduce(np.pad(np.asarray(image, np.float32), [(0, 0), *missing], mode="edge"), (1, *block), np.mean)
    likely = random_walk(coarse, seeds, classes=len(possible), beta=walk.beta)
    likely = np.stack([resize(chance, whole.shape, order=1, mode="edge", anti_aliasing=False) for chance in likely])
    likely = likely[(slice(None), *(slice(n) for n in strokes.shape))]
    sure = (likely.max(axis=0) >= walk.certainty) & (strokes == UNLABELLED)
    return np.where(sure, likely.argmax(axis=0), UNLABELLED).astype(strokes.dtype)


def _seeds(shares: np.ndarray) -> np.ndarray:
    """Return (*s) class indices of cells that mostly belong to one class's strokes, `UNLABELLED` elsewhere."""
    second, best = np.sort(shares, axis=0)[-2:]
    return np.where(best > second, shares.argmax(axis=0), UNLABELLED)
