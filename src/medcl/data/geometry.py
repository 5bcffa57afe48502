"""Where an array lies in the patient: size, spacing, origin and direction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """The position of a (Z, Y, X) grid in physical space.

    Attributes:
        size: Voxels per axis, (z, y, x); a 2D image has z = 1.
        spacing_mm: Distance between voxel centres in mm, (z, y, x).
        origin_mm: Position of the first voxel in mm, in ITK's order (x, y, z) and LPS frame.
        direction: Nine direction cosines, row-major 3 x 3 as ITK writes them: column k is the direction of array
            axis x, y, z for k = 0, 1, 2, in the LPS frame.
        file_ndim: 2 where the file held a 2D image (it is written back as one), else 3.
        nifti_header: The 348 header bytes of a NIfTI source as hexadecimal digits, so that what is written on the same
            grid carries its geometry to the last bit; empty for other sources. Not part of equality.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    file_ndim: int = 3
    nifti_header: str = field(default="", repr=False, compare=False)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def differences(self, other: Geometry, tolerance_mm: float = 1e-3) -> list[str]:
        """Say in words what differs between two geometries and by how much.

        Args:
            other: The geometry to compare with.
            tolerance_mm: Largest difference that counts as equal. Directions are compared by how far the grid's far
                corner moves, so that the tolerance is in mm there too.

        Returns:
            One entry per property that differs (size, spacing, origin, direction); empty when equal.
        """
        found: list[str] = []
        if self.size != other.size:
            return [f"size (z, y, x) {self.size} against {other.size}"]
        spacing = float(np.max(np.abs(np.subtract(self.spacing_mm, other.spacing_mm))))
        if spacing > tolerance_mm:
            found.append(f"spacing (z, y, x) {self.spacing_mm} against {other.spacing_mm} mm ({spacing:.4g} mm apart)")
        origin = float(np.linalg.norm(np.subtract(self.origin_mm, other.origin_mm)))
        if origin > tolerance_mm:
            found.append(f"origin {self.origin_mm} against {other.origin_mm} ({origin:.4g} mm apart)")
        extent = (np.array(self.size[::-1]) - 1) * np.array(self.spacing_mm[::-1])
        turn = np.abs(np.reshape(self.direction, (3, 3)) - np.reshape(other.direction, (3, 3))) @ extent
        if float(turn.max()) > tolerance_mm:
            found.append(f"direction (far corner moves {float(turn.max()):.4g} mm)")
        return found


@dataclass
class Image:
    """Voxels with their geometry.

    Attributes:
        array: (C, Z, Y, X), header slope and intercept already applied.
        geometry: Where the voxels lie.
        metadata: Free facts of the source (format, DICOM series, whether the file was colour).
    """

    array: np.ndarray
    geometry: Geometry
    metadata: dict[str, Any] = field(default_factory=dict)
