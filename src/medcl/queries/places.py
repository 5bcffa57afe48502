"""From class probabilities to places: how unsure a network is about each class in each slice. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medcl.queries.pool import Box, Place, Plane

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


def mutual_information(samples: np.ndarray) -> np.ndarray:
    """Return the mutual information between prediction and network, divided by log(C) (BALD).

    I = H[mean_s p_s] - mean_s H[p_s] (Houlsby et al., arXiv 1112.5745, eq. 2; by sampled networks: Gal et al., ICML
    2017, section 4): what the samples disagree about; doubt that they share does not count.

    Args:
        samples: (S, C, ...) probabilities of S networks, dropout masks or checkpoints.

    Returns:
        (...) in 0..1; all zero for one sample.
    """
    shared = np.mean([entropy(sample) for sample in samples], axis=0)
    result: np.ndarray = np.clip(entropy(np.mean(samples, axis=0)) - shared, 0.0, 1.0)
    return result


def places_of(
    case: str,
    probabilities: np.ndarray | None,
    spacing_mm: tuple[float, float, float],
    axis: int | None = None,
    *,
    samples: Sequence[np.ndarray] | np.ndarray | None = None,
    box_mm: float | None = None,
) -> list[Place]:
    """Measure doubt per slice and class, or per box of each slice and class.

    Args:
        case: Name of the case.
        probabilities: (C, K, J, I) in the view grid; may be a view of a file, it is read slice by slice. None: the
            mean of the samples.
        spacing_mm: Spacing (k, j, i).
        axis: Axis of the slices; default: `drawing_axis`.
        samples: S times (C, K, J, I): probabilities of several networks, for mutual information; read slice by slice.
        box_mm: Side of square boxes that tile each slice without overlap; None: whole slices.

    Returns:
        Places in order of slice, box and class; without those of structures that are nowhere the most likely class and
        have next to no doubt, and without background of next to no doubt. Boxes keep their background, so that every
        box has a place.

    Raises:
        ValueError: Neither probabilities nor samples.
    """
    several = [] if samples is None else list(samples)
    first_map = probabilities if probabilities is not None else several[0] if several else None
    if first_map is None:
        raise ValueError("expected probabilities or samples of them, got neither")
    size = (first_map.shape[1], first_map.shape[2], first_map.shape[3])
    across = drawing_axis(size, spacing_mm) if axis is None else axis
    rows, columns = (a for a in range(3) if a != across)
    area = spacing_mm[rows] * spacing_mm[columns]
    tiles = [
        (slice(*r), slice(*c))
        for r in _parts(size[rows], spacing_mm[rows], box_mm)
        for c in _parts(size[columns], spacing_mm[columns], box_mm)
    ]
    found = []
    for index in range(size[across]):
        drawn = np.array([sample.take(index, axis=1 + across) for sample in several], np.float32)
        shares = (
            drawn.mean(axis=0)
            if probabilities is None
            else np.asarray(probabilities.take(index, axis=1 + across), np.float32)
        )
        unsure = entropy(shares)
        informed = mutual_information(drawn) if several else np.zeros_like(unsure)
        likely = shares.argmax(axis=0)
        for tile in tiles:
            corner = (tile[0].start, tile[1].start)
            inner, doubtful, told, first = shares[:, *tile], unsure[tile], informed[tile], likely[tile]
            pixels = doubtful.size
            for c in range(len(shares)):
                doubt = inner[c] * doubtful
                at = np.unravel_index(int(doubt.argmax()), doubt.shape)
                k, j, i = (int(n) for n in np.insert(np.add(at, corner), across, index))
                found.append(
                    Place(
                        case,
                        index,
                        c,
                        float(doubt.sum()) * area,
                        float(inner[c].mean()),
                        (i, j, k),
                        entropy=float(doubtful.mean()),
                        information=float(told.mean()),
                        information_mm2=float((inner[c] * told).sum()) * area,
                        mask_mm2=float((first == c).sum()) * area,
                        area_mm2=pixels * area,
                        box=None if box_mm is None else _box(across, index, *tile),
                    )
                )
    largest = np.zeros(first_map.shape[0])
    for place in found:
        largest[place.class_index] = max(largest[place.class_index], place.doubt_mm2)
    return [
        p
        for p in found
        if p.doubt_mm2 > _LEAST * largest[p.class_index] or (p.mask_mm2 > 0 and (p.class_index > 0 or p.box))
    ]


def _parts(voxels: int, mm: float, box_mm: float | None) -> list[tuple[int, int]]:
    """Cut an axis into equal parts of about `box_mm`."""
    count = 1 if box_mm is None else max(1, round(voxels * mm / box_mm))
    edges = np.linspace(0, voxels, min(count, voxels) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _box(across: int, index: int, rows: slice, columns: slice) -> Box:
    ranges = [(rows.start, rows.stop), (columns.start, columns.stop)]
    ranges.insert(across, (index, index + 1))
    k, j, i = ranges
    return i, j, k


def to_rows(places: list[Place]) -> list[list[float | int]]:
    """Write places of whole slices as the database keeps them.

    [slice, class, doubt in mm2, share, i, j, k, entropy, information, information in mm2, mask in mm2, area in mm2].
    """
    return [
        [
            *(p.slice, p.class_index, round(p.doubt_mm2, 4), round(p.share, 6), *p.peak),
            *(round(p.entropy, 6), round(p.information, 6), round(p.information_mm2, 4)),
            *(round(p.mask_mm2, 3), round(p.area_mm2, 3)),
        ]
        for p in places
    ]


def from_rows(case: str, rows: list[list[float | int]]) -> list[Place]:
    """Undo `to_rows`; rows of earlier versions end after k."""
    found = []
    for s, c, doubt, share, i, j, k, *more in rows:
        told, informed, informed_mm2, mask, area = (*more, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
        peak = (int(i), int(j), int(k))
        place = Place(case, int(s), int(c), doubt, share, peak, told, informed, informed_mm2, mask, area)
        found.append(place)
    return found
