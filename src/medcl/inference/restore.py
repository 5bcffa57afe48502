"""Bring probabilities from the plan's grid back to the case's own grid, a few slices at a time.

Gives the same numbers as `medcl.data.prepare.restore_probabilities` (which holds the whole volume), several times
faster: torch interpolates in parallel, and a slice stays in the processor's cache from interpolation to argmax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medcl.data.grid import Grid
from medcl.data.resample import resize_weights


def restore_slabs(slabs: Iterable[Tensor], grid: Grid) -> Iterator[Tensor]:
    """Resample successive slabs to the case's voxels; axes stay in the plan's order (see `Grid.turn_back`).

    Args:
        slabs: (classes, n, Y, X) on the plan's grid, in order of z.
        grid: How the case maps to the plan's grid.

    Yields:
        (classes, 1, Y, X) on the turned grid of the case, in order of z; `grid.turned_size[0]` of them.
    """
    depth, *plane = grid.turned_size
    slices: Iterator[Tensor] = (slab[:, index] for slab in slabs for index in range(slab.shape[1]))
    if grid.size[0] != depth:
        slices = _resample_depth(slices, grid.size[0], depth)
    for image in slices:
        yield _resample_plane(image, (plane[0], plane[1]))[:, None]


def _resample_depth(slices: Iterator[Tensor], size_in: int, size_out: int) -> Iterator[Tensor]:
    """Mix neighbouring slices by the rows of `resize_weights`; keeps only the slices that a row still needs."""
    weights = resize_weights(size_in, size_out)
    kept: dict[int, Tensor] = {}
    arrived = 0
    for row in range(size_out):
        places = slice(weights.indptr[row], weights.indptr[row + 1])
        columns, shares = weights.indices[places], weights.data[places]
        while arrived <= max(columns):
            kept[arrived] = next(slices)
            arrived += 1
        kept = {index: image for index, image in kept.items() if index >= min(columns)}
        mixed = kept[int(columns[0])] * float(shares[0])
        for column, share in zip(columns[1:], shares[1:], strict=True):
            mixed = mixed.add(kept[int(column)], alpha=float(share))
        yield mixed


def _resample_plane(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample (classes, Y, X) as data.resample does: linear where an axis is refined, box mean where coarsened."""
    for axis in (1, 2):
        if size[axis - 1] < image.shape[axis]:
            image = _coarsen(image, axis, size[axis - 1])
    if tuple(image.shape[1:]) == size:
        return image
    return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def _coarsen(image: Tensor, axis: int, size: int) -> Tensor:
    matrix = resize_weights(image.shape[axis], size)
    front = image.movedim(axis, 0)
    flat = np.ascontiguousarray(front.reshape(front.shape[0], -1).cpu().numpy())
    changed = torch.from_numpy(matrix @ flat).reshape(size, *front.shape[1:])
    return changed.movedim(0, axis).to(image.device)
