"""Where in an image it is hard: on and near what is called a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND_VOXELS = 5
"""Voxels around structures, in the slice, that count as near: far background is easy and would hide all else."""


def plane_distance(mask: np.ndarray) -> NDArray[np.float32]:
    """Return how far each voxel is from the nearest structure of its slice, in voxels; 0 inside, inf without any.

    Args:
        mask: Class indices (..., Y, X); 0 is background.
    """
    from scipy import ndimage

    result = np.full(mask.shape, np.inf, dtype=np.float32)
    for place in np.ndindex(mask.shape[:-2]):
        outside = mask[place] <= 0
        if not outside.all():
            result[place] = ndimage.distance_transform_edt(outside)
    return result


def band_of(mask: np.ndarray) -> NDArray[np.bool_]:
    """Return the structures of a mask and what lies within `BAND_VOXELS` of them in the slice, bool (..., Y, X)."""
    return np.asarray(plane_distance(mask) <= BAND_VOXELS)
