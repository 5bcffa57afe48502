"""What a prediction is worth by its own probabilities: expected Dice and volume with an interval, per structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from medcl.data.regions import BAND_VOXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 200
"""Steps of probability in which voxels are counted."""

INTERVAL = 0.95
_DRAWS = 200


@dataclass(frozen=True)
class Estimate:
    """What is to be expected of one structure of one image; as true as the probabilities are calibrated.

    Attributes:
        structure: Its name.
        expected_dice: Dice to be expected of the mask, nan where the mask holds none of it.
        volume_ml: Volume to be expected: the sum of the probabilities in and near the mask; 0 without a mask.
        low_ml: Lower end of the 95 % interval of the volume.
        high_ml: Upper end.
    """

    structure: str
    expected_dice: float
    volume_ml: float
    low_ml: float
    high_ml: float


@dataclass(frozen=True)
class Piece:
    """A connected piece of one structure in one slice.

    Attributes:
        index: Its class.
        place: (z, y, x) of one of its voxels, as the slices came.
        size: Its voxels.
        inside: Sum of the class's probability over them.
        counts: Voxels in and near the piece per step of the class's probability (BINS,).
        near: Sum of the class's probability over these.
    """

    index: int
    place: tuple[int, int, int]
    size: int
    inside: float
    near: float
    counts: NDArray[np.int64]


class Tally:
    """What one probability map says of each piece of its mask, slice by slice; what is far from any piece is left out.

    Far from a structure probabilities are small and many: a haze that tells of the background, not of the mask. On acdc
    it made the correlation of expected and true Dice worse (docs/trust.md).
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def add(self, z: int, plane: Tensor, mask: NDArray[np.integer]) -> None:
        """Add slice z: probabilities (classes, Y, X) and most likely classes (Y, X)."""
        from scipy import ndimage

        for number, box in enumerate(ndimage.find_objects(mask.astype(np.int32)), start=1):
            if box is None:
                continue
            wide = tuple(slice(max(0, s.start - BAND_VOXELS), s.stop + BAND_VOXELS) for s in box)
            own = mask[wide] == number
            shares = plane[number][wide].cpu().numpy()
            pieces, count = ndimage.label(own, structure=np.ones((3, 3), dtype=int))
            distance, (rows, columns) = ndimage.distance_transform_edt(~own, return_indices=True)
            nearest = np.where(distance <= BAND_VOXELS, pieces[rows, columns], 0)
            steps = np.clip((shares * BINS).astype(np.int64), 0, BINS - 1)
            tables = np.bincount((nearest * BINS + steps).ravel(), minlength=(count + 1) * BINS).reshape(-1, BINS)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)
            inside, near = (
                np.bincount(which.ravel(), shares.ravel(), minlength=count + 1) for which in (pieces, nearest)
            )
            # labels follow array order, so the first voxel of each is where it first occurs
            _, first = np.unique(pieces, return_index=True)
            firsts = first if len(first) == count + 1 else np.concatenate(([0], first))  # no background in the box
            for piece in range(1, count + 1):
                y, x = divmod(int(firsts[piece]), own.shape[1])
                place = (z, y + wide[0].start, x + wide[1].start)
                self.pieces.append(
                    Piece(number, place, int(sizes[piece]), float(inside[piece]), float(near[piece]), tables[piece])
                )

    def keep(self, mask: np.ndarray) -> None:
        """Forget the pieces that post-processing removed from the mask (Z, Y, X); it removes them whole or not."""
        self.pieces = [piece for piece in self.pieces if mask[piece.place] == piece.index]

    def counts(self, index: int) -> NDArray[np.int64]:
        """Return the voxels per step of probability in and near a class's pieces, (BINS,)."""
        tables = [piece.counts for piece in self.pieces if piece.index == index]
        return np.sum(tables, axis=0) if tables else np.zeros(BINS, dtype=np.int64)

    def volume(self, index: int) -> float:
        """Return the sum of a class's probability in and near its pieces, in voxels."""
        return sum(piece.near for piece in self.pieces if piece.index == index)


def estimates(
    tally: Tally, classes: Sequence[str], voxel_ml: float, members: Sequence[Tally] = ()
) -> tuple[Estimate, ...]:
    """Return what is to be expected of each structure.

    Expected Dice: 2 sum_{mask = c} p_c / (sum p_c + |mask = c|), the soft Dice confidence of Borges et al. (Selective
    prediction for semantic segmentation using Soft Dice Confidence, 2024), near the expectation of Dice where voxels
    err independently; here sum p_c runs over the mask of c and what lies within `BAND_VOXELS` of it in the slice.

    Args:
        tally: Of the map that the mask comes from; `keep` applied.
        classes: Class names by index.
        voxel_ml: Volume of a voxel.
        members: Of the maps whose mean it is; their volumes make the interval.
    """
    found = []
    for index, name in enumerate(classes[1:], start=1):
        own = [piece for piece in tally.pieces if piece.index == index]
        size, inside, near = (sum(getattr(piece, key) for piece in own) for key in ("size", "inside", "near"))
        dice = min(1.0, 2 * inside / (near + size)) if size else float("nan")
        draws = np.concatenate([volume_draws(one.counts(index)) for one in members or (tally,)]) * voxel_ml
        low, high = np.quantile(draws, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        volume = float(np.mean([one.volume(index) for one in members or (tally,)])) * voxel_ml
        found.append(Estimate(name, dice, volume, float(low), float(high)))
    return tuple(found)


def volume_draws(counts: np.ndarray, draws: int = _DRAWS) -> NDArray[np.float64]:
    """Return equally likely volumes in voxels: how many voxels have a probability above t, for t evenly in (0, 1).

    Voxels near a border are in or out together (an observer draws the whole outline wider or tighter), which one
    threshold for all expresses; errors that were independent would give intervals far too narrow. The mean of the
    volumes is the sum of the probabilities. Source: derived (the comonotone coupling of the voxels' Bernoulli draws).

    Args:
        counts: Voxels per step of probability (BINS,), as `Tally.counts` gives them.
        draws: Number of volumes.
    """
    above = np.concatenate((np.cumsum(counts[::-1])[::-1], [0])).astype(np.float64)
    thresholds = (np.arange(draws) + 0.5) / draws
    # a voxel lies in the middle of its step
    return np.interp(thresholds, (np.arange(len(counts) + 1) - 0.5) / len(counts), above)
