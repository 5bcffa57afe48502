"""Numbers that describe slices, for strategies that look for variety. Pure functions; no network needed."""

from __future__ import annotations

import numpy as np

BLOCKS = 8
"""A slice is described by so many blocks along each side."""


def image_features(image: np.ndarray, axis: int) -> np.ndarray:
    """Describe each slice of an image by its coarse look: what is bright where, and where edges are.

    Per slice: mean intensity and mean gradient magnitude in BLOCKS x BLOCKS blocks, after scaling the case by its 1st
    and 99th percentile, and the position along the axis, weighted like one row of blocks. Source: derived (a tiny-image
    descriptor, Torralba et al., IEEE TPAMI 2008, with gradients).

    Args:
        image: (C, K, J, I) in the view grid; channels are averaged after scaling. NaN and infinity, as some tools write
            outside the field of view, count as the darkest of the other values.
        axis: Axis of the slices, 0..2 of (K, J, I).

    Returns:
        (slices, 2 * BLOCKS ** 2 + 1) float32.
    """
    grey = np.zeros(image.shape[1:], np.float32)
    for channel in map(finite, image):
        low, high = np.percentile(channel[::1, ::2, ::2], (1, 99))
        grey += np.clip((channel - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32) / len(image)
    slices = np.moveaxis(grey, axis, 0)
    found = []
    for index, plane in enumerate(slices):
        rows, columns = (np.gradient(plane, axis=a) if plane.shape[a] > 1 else np.zeros_like(plane) for a in (0, 1))
        edges = np.hypot(rows, columns)
        position = index / max(1, len(slices) - 1) * np.sqrt(BLOCKS) / 2
        found.append(np.concatenate([_blocks(plane), 2 * _blocks(edges), [position]]))
    return np.asarray(found, np.float32)


def finite(values: np.ndarray) -> np.ndarray:
    """Return values with NaN and infinity as the smallest of the others; zeros where there are no others."""
    known = np.isfinite(values)
    if known.all():
        return values
    return np.where(known, values, values[known].min() if known.any() else 0).astype(values.dtype)


def _blocks(plane: np.ndarray) -> np.ndarray:
    """Return the means of BLOCKS x BLOCKS equal parts of a slice, flat."""
    for axis in (0, 1):
        edges = np.linspace(0, plane.shape[axis], BLOCKS + 1)
        starts = np.minimum(edges[:-1].astype(int), plane.shape[axis] - 1)
        stops = np.maximum(edges[1:].astype(int), starts + 1)
        sums = np.concatenate([np.zeros_like(plane.take([0], axis)), plane.cumsum(axis)], axis)
        shape = [-1 if a == axis else 1 for a in (0, 1)]
        plane = (sums.take(stops, axis) - sums.take(starts, axis)) / (stops - starts).reshape(shape)
    return plane.ravel()


def as_rows(case: str, features: np.ndarray) -> dict[tuple[str, int], tuple[float, ...]]:
    """Return the features of a case's slices as `Pool.features` holds them."""
    return {(case, index): tuple(float(value) for value in row) for index, row in enumerate(features)}


def matrix_of(features: dict[tuple[str, int], tuple[float, ...]], keys: list[tuple[str, int]]) -> np.ndarray:
    """Return features (len(keys), F), every column with mean 0, all columns with a common total variance of 1."""
    matrix = np.array([features[key] for key in keys], float)
    matrix -= matrix.mean(axis=0)
    spread = np.sqrt((matrix**2).sum(axis=1).mean())
    return matrix / spread if spread > 0 else matrix
