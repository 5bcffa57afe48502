"""The view grid: a scan's own grid with axes flipped and swapped, never resampled, so that people see it upright.

The first axis i runs to the patient's right (R+), j to the front (A+), k to the head (S+), as nearly as the scan's own
axes allow. Arrays of the view grid are (K, J, I) in numpy's order, so that `array.ravel()[n]` is the voxel of number
`n = i + ni * (j + nj * k)`: the order of voxels in a NIfTI file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medcl.data.geometry import Geometry
from medcl.data.grid import Grid, canonical_axes


@dataclass(frozen=True)
class View:
    """How the voxels of a file lie in the view grid.

    Attributes:
        grid: Axes of the file, in numpy's (z, y, x) order, that become (k, j, i), and which of these are mirrored.
    """

    grid: Grid

    @classmethod
    def of(cls, geometry: Geometry) -> View:
        """Make the view of a file's geometry.

        `canonical_axes` brings x to the patient's left and y to the back (LPS); the view mirrors both (RAS).
        """
        order, (k, j, i), _ = canonical_axes(geometry)
        return cls(Grid(geometry, order, (k, not j, not i), geometry.size))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (k, j, i): the shape of arrays of the view grid."""
        return self.grid.turned_size

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels (i, j, k)."""
        k, j, i = self.shape
        return i, j, k

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        i, j, k = self.size
        return i * j * k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing (i, j, k) in mm."""
        k, j, i = (self.grid.geometry.spacing_mm[axis] for axis in self.grid.order)
        return i, j, k

    @property
    def affine(self) -> np.ndarray:
        """Voxel (i, j, k) to RAS millimetres, (4, 4) float64, as NIfTI writes it; oblique axes stay oblique."""
        geometry = self.grid.geometry
        direction = np.reshape(geometry.direction, (3, 3)) * np.array(geometry.spacing_mm[::-1])  # columns x, y, z
        affine = np.eye(4)
        origin = np.array(geometry.origin_mm, dtype=float)
        for new, (axis, flipped) in enumerate(zip(self.grid.order, self.grid.flips, strict=True)):
            column = direction[:, 2 - axis]  # numpy axis 0 is z, the last column
            if flipped:
                origin = origin + column * (geometry.size[axis] - 1)
            affine[:3, 2 - new] = -column if flipped else column
        affine[:3, 3] = origin
        affine[:2] *= -1  # LPS to RAS
        return affine

    def to_view(self, array: np.ndarray) -> np.ndarray:
        """Turn an array (..., Z, Y, X) of the file's grid to (..., K, J, I); nothing is copied."""
        return self.grid.turn(array)

    def from_view(self, array: np.ndarray) -> np.ndarray:
        """Undo `to_view`."""
        return self.grid.turn_back(array)
