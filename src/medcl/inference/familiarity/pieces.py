"""Pieces of the image near the structures, put together from those of training: what cannot be was not seen there.

The pieces of training span a space (principal components); of a new piece the part outside it is left over, as Turk and
Pentland (Eigenfaces for Recognition, J. Cognitive Neuroscience 3(1), 1991) tell faces from other things. What differs
from person to person leaves something everywhere; what is not anatomy leaves much more at one place than a slice
further on. So the change of what is left from slice to slice counts. Derived; no network looks at the pieces, it only
says where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float64]

PIXELS = 20
"""Pixels along the side of a piece, at most."""

WIDTH = 0.35
"""Side of a piece, over the side of the structures: the root of the area of the box around them, median of training."""

REACH = 0.6
"""The middles of pieces lie up to so far from the middle of the structures, along y and x, over the same."""

KEPT = 0.3
"""Components of the space, over the pixels of a piece."""

TOP = 0.99
"""Quantile over the pieces of a slice that speaks for it: what is strange is small."""

_STEP = 3
_RANGE = (1.0, 99.0)
_ABOVE = 1.2
_SAMPLED = 6000  # pieces of a scan that the space is fitted to
_FEWEST = 16  # predicted voxels that make a place to look at
_LEAST_SIDE = 8.0


@dataclass(frozen=True)
class Shown:
    """An image, and where its structures are.

    Attributes:
        array: (C, Z, Y, X), prepared; float16 will do.
        middle: (y, x) of the middle of what is predicted in the whole scan.
        side: Root of the area of the box around it, in pixels.
    """

    array: NDArray[np.floating]
    middle: tuple[float, float]
    side: float

    @classmethod
    def of(cls, array: NDArray[np.floating], predicted: NDArray[np.bool_]) -> Shown | None:
        """Return None where nothing is predicted (Z, Y, X) that one could look near."""
        _, y, x = np.nonzero(predicted)
        if len(y) < _FEWEST:
            return None
        (top, bottom), (left, right) = (np.quantile(values, (0.01, 0.99)) for values in (y, x))
        side = float(np.sqrt((bottom - top + 1) * (right - left + 1)))
        return cls(array.astype(np.float16), (float(top + bottom) / 2, float(left + right) / 2), side)


@dataclass(frozen=True)
class Pieces:
    """The space that pieces of training span, per channel.

    Attributes:
        mean: (C, d), d pixels of a piece.
        basis: (C, k, d), orthonormal rows.
        side: Of the structures, median of training, in pixels of the plan's grid.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    side: float

    @classmethod
    def fit(cls, sums: Sequence[PieceSums], side: float) -> Pieces:
        """Fit to the sums of scans that were made with the same side."""
        count = sum(one.count for one in sums)
        total, product = np.sum([one.total for one in sums], axis=0), np.sum([one.product for one in sums], axis=0)
        mean = total / count
        kept = max(1, round(KEPT * mean.shape[1]))
        basis = []
        for centre, square in zip(mean, product, strict=True):
            _, vectors = np.linalg.eigh(square / count - np.outer(centre, centre))  # rising
            basis.append(vectors[:, ::-1][:, :kept].T)
        return cls(mean.astype(np.float32), np.stack(basis).astype(np.float32), side)

    def left_over(self, shown: Shown) -> NDArray[np.float32]:
        """Return what is left of the pieces of each slice, (Z, pieces): root mean square over pixels, mean of channels.

        The image is scaled by its 1st and 99th percentile, so 1 is its whole range of brightness.
        """
        rows = []
        for pieces in pieces_of(shown, self.side):
            centred = pieces - self.mean[:, None]
            inside = np.einsum("cnd,ckd->cnk", centred, self.basis, optimize=True)
            squared = np.square(centred).sum(2) - np.square(inside).sum(2)
            rows.append(np.sqrt(np.maximum(squared, 0) / centred.shape[2]).mean(0))
        return np.stack(rows)

    def parts(self, shown: Shown) -> dict[str, float]:
        """Return what is left at the strangest places of a scan.

        Returns:
            "pieces slice": in the strangest slice; "pieces change": the largest change at a place from a slice to the
            next, missing where there is one slice.
        """
        left = self.left_over(shown)
        found = {"pieces slice": float(np.quantile(left, TOP, axis=1).max())}
        if len(left) > 1:
            found["pieces change"] = float(np.quantile(np.abs(np.diff(left, axis=0)), TOP, axis=1).max())
        return found


@dataclass(frozen=True)
class PieceSums:
    """Count, sums (C, d) and products (C, d, d) of the pieces of a scan."""

    count: int
    total: Array
    product: Array

    @classmethod
    def of(cls, shown: Shown, side: float) -> PieceSums:
        """Sum the pieces of a scan, or evenly drawn ones where there are very many."""
        every = max(1, _pieces_in(shown, side) // _SAMPLED)
        chosen = [pieces[:, z % every :: every] for z, pieces in enumerate(pieces_of(shown, side))]
        found = np.concatenate(chosen, axis=1).astype(np.float64)
        return cls(found.shape[1], found.sum(1), np.einsum("cnd,cne->cde", found, found, optimize=True))


def pieces_of(shown: Shown, side: float) -> Iterator[NDArray[np.float32]]:
    """Yield the pieces of each slice, (C, n, d) float32, each less its mean; the same n in all slices.

    Args:
        shown: The scan.
        side: Of the structures; says how large pieces are and how far away they lie.
    """
    share, pixels = _scale(side)
    low, high = np.percentile(np.asarray(shown.array[:, :, ::2, ::2], np.float32), _RANGE, axis=(1, 2, 3))
    low, spread = low[:, None, None], np.maximum(high - low, 1e-6)[:, None, None]
    for z in range(shown.array.shape[1]):
        plane = np.clip((np.asarray(shown.array[:, z], np.float32) - low) / spread, 0, _ABOVE)
        image = torch.from_numpy(plane)[:, None]
        if share < 1:
            image = functional.interpolate(image, scale_factor=share, mode="bilinear", align_corners=False)
        rows, columns = _window(shown, side, share, pixels, tuple(image.shape[2:]))
        image = image[:, :, rows, columns]
        missing = [max(0, pixels - size) for size in image.shape[2:]]
        image = functional.pad(image, (0, missing[1], 0, missing[0]))
        pieces = functional.unfold(image, pixels, stride=_STEP).transpose(1, 2)
        yield (pieces - pieces.mean(2, keepdim=True)).numpy()


def _scale(side: float) -> tuple[float, int]:
    """Return by how much images are made smaller, and the pixels along the side of a piece then."""
    wanted = WIDTH * max(side, _LEAST_SIDE)
    return min(1.0, PIXELS / wanted), min(PIXELS, max(4, round(wanted)))


def _window(shown: Shown, side: float, share: float, pixels: int, size: tuple[int, ...]) -> list[slice]:
    reach = REACH * max(side, _LEAST_SIDE) * share + pixels / 2
    return [
        slice(int(max(0, middle * share - reach)), int(max(pixels, min(length, middle * share + reach))))
        for middle, length in zip(shown.middle, size, strict=True)
    ]


def _pieces_in(shown: Shown, side: float) -> int:
    share, pixels = _scale(side)
    size = [int(length * share) for length in shown.array.shape[2:]]
    steps = [
        (part.stop - part.start - pixels) // _STEP + 1 for part in _window(shown, side, share, pixels, tuple(size))
    ]
    return shown.array.shape[1] * max(1, steps[0]) * max(1, steps[1])
