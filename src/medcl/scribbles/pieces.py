"""Pieces of structures in one slice, and what drawing needs to know of them: depth, middle, ring or blob."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_RING_SHARE = 0.08
"""A hole this large, as a share of piece and hole, makes a ring; smaller ones are vessels or noise."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One connected part of a structure in one slice.

    Units: lengths are in pixels of the slice's finer axis, so that a slice with other spacing along y than along x
    is drawn in true proportions.

    Attributes:
        mask: Boolean (H, W) window around the piece with one empty pixel on every side.
        origin: Pixel (y, x) of the window's first pixel in the slice; -1 where the piece touches the image's edge.
        scale: Size of a pixel (y, x) in units; the finer axis has 1.
    """

    mask: np.ndarray
    origin: tuple[int, int]
    scale: tuple[float, float]

    @cached_property
    def depth(self) -> np.ndarray:
        """Distance (H, W) of every pixel to the nearest pixel outside, in units; 0 outside."""
        return distance_inside(self.mask, self.scale)

    @cached_property
    def half_width(self) -> float:
        """Largest depth in units."""
        return float(self.depth.max())

    @cached_property
    def pixels(self) -> np.ndarray:
        """(N, 2) positions (y, x) of the piece in units of the window."""
        found: np.ndarray = np.argwhere(self.mask) * np.asarray(self.scale)
        return found

    @cached_property
    def area(self) -> float:
        """Area in square units."""
        return float(self.mask.sum()) * self.scale[0] * self.scale[1]

    @cached_property
    def holes(self) -> np.ndarray:
        """Boolean (H, W): what the piece encloses."""
        from scipy.ndimage import label

        numbered, count = label(~self.mask)  # the window's empty rim makes the outside one component
        if count < 2:
            return np.zeros_like(self.mask)
        holes: np.ndarray = (numbered > 0) & (numbered != numbered[0, 0])
        return holes

    @cached_property
    def is_ring(self) -> bool:
        """Whether the piece goes around something."""
        hole = int(self.holes.sum())
        return hole > 0 and hole >= _RING_SHARE * (hole + int(self.mask.sum()))

    @cached_property
    def is_thin(self) -> bool:
        """Whether the piece is long for its width (vessels, folds): it has a skeleton rather than a middle."""
        return self.area > 9 * np.pi * max(self.half_width, 1.0) ** 2

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Tell for points (N, 2) in units of the window whether the nearest pixel belongs to the piece."""
        return inside(self.mask, points, self.scale)

    def contour(self, level: float) -> np.ndarray:
        """Return the longest line at a depth, (N, 2) in units, closed; the deepest pixel where there is no such line.

        Args:
            level: Depth in units.
        """
        line = longest_contour(self.depth, level)
        if line is None:
            return np.array([np.unravel_index(int(np.argmax(self.depth)), self.mask.shape)]) * np.asarray(self.scale)
        found: np.ndarray = line * np.asarray(self.scale)
        return found

    def ring_line(self, share: float) -> np.ndarray:
        """Return the closed line in the wall of a ring, (N, 2) in units.

        Args:
            share: 0 at the hole, 1 at the outer border.
        """
        outer = distance_inside(self.mask | self.holes, self.scale)
        to_hole = distance_inside(~self.holes, self.scale)
        line = longest_contour((1 - share) * to_hole - share * outer, 0.0)
        if line is None:
            return self.contour(0.5 * self.half_width)
        found: np.ndarray = line * np.asarray(self.scale)
        return found


def distance_inside(mask: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Return the Euclidean distance of every pixel of a mask (H, W) to the nearest pixel outside, in units."""
    from scipy.ndimage import distance_transform_edt

    found: np.ndarray = distance_transform_edt(mask, sampling=scale if scale != (1.0, 1.0) else None)
    return found


def longest_contour(values: np.ndarray, level: float) -> np.ndarray | None:
    """Return the longest line at which values (H, W) cross a level, in pixels; None where they do not."""
    from skimage.measure import find_contours

    found = find_contours(values, level)
    return max(found, key=len) if found else None


def inside(mask: np.ndarray, points: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Tell for points (N, 2) in units whether their nearest pixel lies in a mask (H, W)."""
    at = np.rint(points / np.asarray(scale)).astype(np.intp)
    fits: np.ndarray = ((at >= 0) & (at < mask.shape)).all(axis=1)
    fits[fits] = mask[at[fits, 0], at[fits, 1]]
    return fits


def pieces_of(mask: np.ndarray, scale: tuple[float, float], minimum_area: float = 1, most: int = 8) -> Iterator[Piece]:
    """Yield the connected pieces (8 neighbours) of a mask (H, W), the largest first.

    Args:
        mask: Boolean slice or window.
        scale: Size of a pixel (y, x) in units.
        minimum_area: Smallest piece in pixels.
        most: How many at most.
    """
    from scipy.ndimage import find_objects, label

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    numbered, count = label(mask[top:bottom, left:right], np.ones((3, 3), bool))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    boxes = find_objects(numbered)
    for number in np.argsort(-sizes, kind="stable")[:most]:
        if sizes[number] < minimum_area:
            return
        box = boxes[number]
        cut = np.zeros(tuple(s.stop - s.start + 2 for s in box), bool)
        cut[1:-1, 1:-1] = numbered[box] == number + 1
        yield Piece(cut, (top + box[0].start - 1, left + box[1].start - 1), scale)
