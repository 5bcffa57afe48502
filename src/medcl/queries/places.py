"""From class probabilities to places: how unsure a network is about each class in each slice. Pure functions."""

from __future__ import annotations

import numpy as np

from medcl.queries.pool import Place, Plane

PLANES: tuple[Plane, Plane, Plane] = ("axial", "coronal", "sagittal")
"""Planes across the axes (k, j, i) of the view grid, in numpy's order."""

_LEAST = 0.005
"""Places with less doubt than this share of the largest of their class in the case are not worth a row."""


def drawing_axis(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> int:
    """Return the axis across which people draw: that of the thickest slices, as scanners store them.

    Args:
        size: Voxels (k, j, i).
        spacing_mm: Spacing (k, j, i).

    Returns:
        0 axial, 1 coronal, 2 sagittal: an axis of a single voxel; else the coarsest by more than a tenth; else 0.
    """
    for axis in range(3):
        if size[axis] == 1:
            return axis
    coarsest = int(np.argmax(spacing_mm))
    return coarsest if spacing_mm[coarsest] > 1.1 * sorted(spacing_mm)[1] else 0


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the normalised entropy along the first axis, u = -sum_c p_c log(p_c) / log(C) (Shannon 1948), 0..1."""
    classes = probabilities.shape[0]
    if classes == 1:
        return np.zeros(probabilities.shape[1:], np.float32)
    safe = np.maximum(probabilities, 1e-12)
    result: np.ndarray = np.clip(-(safe * np.log(safe)).sum(axis=0) / np.log(classes), 0.0, 1.0)
    return result


def places_of(
    case: str, probabilities: np.ndarray, spacing_mm: tuple[float, float, float], axis: int | None = None
) -> list[Place]:
    """Measure doubt per slice and class.

    Args:
        case: Name of the case.
        probabilities: (C, K, J, I) in the view grid; may be a view of a file, it is read slice by slice.
        spacing_mm: Spacing (k, j, i).
        axis: Axis of the slices; default: `drawing_axis`.

    Returns:
        Places in order of slice and class; without those with next to no doubt.
    """
    size = (probabilities.shape[1], probabilities.shape[2], probabilities.shape[3])
    across = drawing_axis(size, spacing_mm) if axis is None else axis
    area = float(np.prod([mm for a, mm in enumerate(spacing_mm) if a != across]))
    found = []
    for index in range(size[across]):
        shares = np.asarray(probabilities.take(index, axis=1 + across), np.float32)
        doubt = shares * entropy(shares)
        for c, plane in enumerate(doubt):
            peak = np.unravel_index(int(plane.argmax()), plane.shape)
            k, j, i = (int(n) for n in np.insert(np.array(peak), across, index))
            found.append(Place(case, index, c, float(plane.sum()) * area, float(shares[c].mean()), (i, j, k)))
    largest = np.zeros(probabilities.shape[0])
    for place in found:
        largest[place.class_index] = max(largest[place.class_index], place.doubt_mm2)
    return [p for p in found if p.doubt_mm2 > _LEAST * largest[p.class_index]]


def to_rows(places: list[Place]) -> list[list[float | int]]:
    """Write places as the database keeps them: [slice, class, doubt in mm2, share, i, j, k]."""
    return [[p.slice, p.class_index, round(p.doubt_mm2, 4), round(p.share, 6), *p.peak] for p in places]


def from_rows(case: str, rows: list[list[float | int]]) -> list[Place]:
    """Undo `to_rows`."""
    return [Place(case, int(s), int(c), float(d), float(w), (int(i), int(j), int(k))) for s, c, d, w, i, j, k in rows]
