"""Change the number of voxels along the axes of an array without moving the field of view.

Old and new grid share their outer edges: `n` voxels of width w become `m` voxels of width `n * w / m`. Every new voxel
is the mean of the old ones under a box around it, one old voxel wide when refining (this is linear interpolation) and
one new voxel wide when coarsening (this averages, so that nothing aliases). Derived; the box filter is the one that
keeps the integral of an image when coarsening by whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@lru_cache(maxsize=64)
def resize_weights(size_in: int, size_out: int, shift: float = 0.0) -> csr_matrix:
    """Return the matrix that turns `size_in` values along an axis into `size_out`.

    Args:
        size_in: Old number of voxels.
        size_out: New number of voxels.
        shift: Move the new grid by this many old voxels; 0 keeps the edges of both grids together.

    Returns:
        (size_out, size_in) float32, rows sum to 1; beyond the edge the last voxel is repeated.
    """
    from scipy.sparse import csr_matrix

    step = size_in / size_out
    half = max(1.0, step) / 2
    centre = (np.arange(size_out) + 0.5) * step - 0.5 + shift  # in old voxels, whole numbers are old centres
    first = np.floor(centre - half + 0.5).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(2 * half)) + 1)
    low = np.maximum(index - 0.5, (centre - half)[:, None])
    high = np.minimum(index + 0.5, (centre + half)[:, None])
    weight = np.clip(high - low, 0.0, None)
    weight[weight < 1e-9] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    row = np.broadcast_to(np.arange(size_out)[:, None], index.shape)
    column = np.clip(index, 0, size_in - 1)
    shape = (size_out, size_in)
    matrix = csr_matrix((weight.ravel().astype(np.float32), (row.ravel(), column.ravel())), shape=shape)
    matrix.eliminate_zeros()
    return matrix


def resize(array: np.ndarray, size: Sequence[int], shift: float = 0.0) -> np.ndarray:
    """Resample every axis of an array to `size`.

    Args:
        array: Any number of axes; read as float32.
        size: New length of every axis.
        shift: Offset of the new grid in old voxels, see `resize_weights`.

    Returns:
        float32, shape `size`. Axes whose length stays are not touched.
    """
    result = np.asarray(array, dtype=np.float32)
    shrinking = [axis for axis in range(result.ndim) if size[axis] < result.shape[axis]]
    growing = [axis for axis in range(result.ndim) if size[axis] > result.shape[axis]]
    # less work for those that follow; and the first axis, which needs no transposed copy, while the array is largest
    for axis in (*shrinking, *reversed(growing)):
        front = np.moveaxis(result, axis, 0)
        flat = np.ascontiguousarray(front.reshape(front.shape[0], -1))
        changed = resize_weights(front.shape[0], size[axis], shift) @ flat
        result = np.moveaxis(changed.reshape(size[axis], *front.shape[1:]), 0, axis)
    return np.ascontiguousarray(result)


def resize_map(values: np.ndarray, size: Sequence[int], unlabelled: int) -> np.ndarray:
    """Resample a map of classes, sparse strokes or dense labels, without inventing or losing annotation.

    Each class is resampled as an indicator. A new voxel is annotated where strokes cover at least half of it (the
    choice that keeps the width of broad strokes) and takes the class that covers most. Strokes thinner than a new
    voxel would vanish by that rule; each of their points that ended more than one voxel from any voxel of its class
    claims the voxel that contains it, if nothing else is there. So every piece of a stroke stays, one voxel wide at
    least, unless a stroke of another class fills its place.

    Args:
        values: Integers, any number of axes.
        size: New length of every axis.
        unlabelled: The value that means *not annotated*; it stays unlabelled.

    Returns:
        int16, shape `size`.
    """
    size = tuple(size)
    values = np.asarray(values)
    if values.shape == size:
        return values.astype(np.int16)
    best = np.full(size, unlabelled, dtype=np.int16)
    best_weight = np.zeros(size, dtype=np.float32)
    total = np.zeros(size, dtype=np.float32)
    for value in np.unique(values):
        if value == unlabelled:
            continue
        # the tiny shift breaks ties by place, never by the class's number: permuting classes permutes the result
        weight = resize(values == value, size, shift=_TIE_BREAKING_SHIFT)
        total += weight
        better = weight > best_weight
        best[better] = value
        best_weight[better] = weight[better]
    best[total < _HALF] = unlabelled
    _claim_lost_strokes(values, best, unlabelled)
    return best


_TIE_BREAKING_SHIFT = 1e-3
_HALF = 0.5 - 5 * _TIE_BREAKING_SHIFT  # exactly half counts, shifted or not


def _claim_lost_strokes(values: np.ndarray, result: np.ndarray, unlabelled: int) -> None:
    """Write into `result`, in place, the strokes of `values` that have no voxel of their class beside them."""
    from scipy.ndimage import maximum_filter

    if not np.any(values == unlabelled):
        return  # dense: every voxel has its class already
    points = np.argwhere(values != unlabelled)
    if len(points) == 0:
        return
    classes = values[tuple(points.T)]
    scale = np.array(result.shape) / np.array(values.shape)
    home = np.floor((points + 0.5) * scale).astype(np.int64)
    home = np.minimum(home, np.array(result.shape) - 1)
    lost = result[tuple(home.T)] == unlabelled
    for value in np.unique(classes[lost]):
        near = maximum_filter(result == value, size=3, mode="constant")
        of_value = lost & (classes == value)
        lost[of_value] = ~near[tuple(home[of_value].T)]
    if not lost.any():
        return
    # most points win a voxel; equal counts: the class met first in reading order
    voxel = np.ravel_multi_index(tuple(home[lost].T), result.shape)
    claims, first, count = np.unique(
        np.stack([voxel, classes[lost].astype(np.int64)]), axis=1, return_index=True, return_counts=True
    )
    order = np.lexsort((first, -count, claims[0]))
    place, winner = np.unique(claims[0][order], return_index=True)
    result.reshape(-1)[place] = claims[1][order][winner]
