"""Skeletons as lines: the longest way through a thin shape, then its branches."""

from __future__ import annotations

import numpy as np


def branches(mask: np.ndarray, scale: tuple[float, float], shortest: float, most: int) -> list[np.ndarray]:
    """Take the skeleton of a mask apart into lines, the longest first.

    The first line is the longest shortest way between two skeleton pixels; each further one is the longest way from a
    skeleton pixel to the lines taken so far.

    Args:
        mask: Boolean (H, W).
        scale: Size of a pixel (y, x) in units.
        shortest: Shortest branch in units.
        most: How many lines at most.

    Returns:
        Lines (N, 2) of (y, x) in units. A mask of one pixel gives one line of one point; an empty mask gives none.
    """
    from scipy.sparse.csgraph import dijkstra
    from skimage.morphology import skeletonize

    places = np.argwhere(skeletonize(mask))
    if not len(places):
        return []
    graph = _graph(places, mask.shape, scale)
    start = int(np.argmax(_finite(dijkstra(graph, directed=False, indices=0))))
    taken = np.zeros(len(places), bool)
    lines: list[np.ndarray] = []
    ends = np.array([start])
    for _ in range(most):
        distance, before, _ = dijkstra(graph, directed=False, indices=ends, return_predecessors=True, min_only=True)
        end = int(np.argmax(_finite(distance)))
        if lines and distance[end] < shortest:
            break
        way = [end]
        while before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        lines.append(places[way] * np.asarray(scale, dtype=float))
        taken[way] = True
        ends = np.flatnonzero(taken)
        if len(ends) == len(places):
            break
    return lines


def skeleton_length(skeleton: np.ndarray, spacing: tuple[float, float]) -> float:
    """Measure the length of a skeleton (H, W) along its pixels.

    Neighbours along an axis count with the axis's spacing, diagonal ones with the diagonal's, unless a pixel beside
    both joins them already.

    Args:
        skeleton: Boolean, one pixel wide.
        spacing: Pixel size (y, x).

    Returns:
        The length in the spacing's unit; 0 for single pixels.
    """
    down = int((skeleton[:-1] & skeleton[1:]).sum())
    right = int((skeleton[:, :-1] & skeleton[:, 1:]).sum())
    a, b, c, d = skeleton[:-1, :-1], skeleton[:-1, 1:], skeleton[1:, :-1], skeleton[1:, 1:]
    diagonal = int((a & d & ~b & ~c).sum() + (b & c & ~a & ~d).sum())
    return down * spacing[0] + right * spacing[1] + diagonal * float(np.hypot(*spacing))


def _graph(places: np.ndarray, shape: tuple[int, ...], scale: tuple[float, float]):  # type: ignore[no-untyped-def]
    """Sparse matrix of distances between neighbouring pixels (8 neighbours)."""
    from scipy.sparse import coo_matrix

    number = np.full((shape[0] + 2, shape[1] + 2), -1, np.intp)
    number[places[:, 0] + 1, places[:, 1] + 1] = np.arange(len(places))
    rows, columns, lengths = [], [], []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        other = number[places[:, 0] + 1 + dy, places[:, 1] + 1 + dx]
        there = np.flatnonzero(other >= 0)
        rows.append(there)
        columns.append(other[there])
        lengths.append(np.full(len(there), float(np.hypot(dy * scale[0], dx * scale[1]))))
    parts = (np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns)))
    return coo_matrix(parts, shape=(len(places), len(places))).tocsr()


def _finite(distance: np.ndarray) -> np.ndarray:
    """Replace unreachable by -1."""
    return np.where(np.isfinite(distance), distance, -1.0)
