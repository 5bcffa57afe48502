"""Plain arrays as images: the axes and the spacing that a file would have told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.errors import DataError


def array_to_image(array: np.ndarray, spacing_mm: Sequence[float] | None, *, channels: int) -> Image:
    """Give a plain array its place: (C, Z, Y, X), or (Z, Y, X) or (Y, X) where one channel is expected.

    Args:
        array: The voxels.
        spacing_mm: (z, y, x), or (y, x) for (Y, X).
        channels: Channels that the model reads.

    Raises:
        DataError: The axes are ambiguous, or the spacing is missing or not positive.
    """
    if array.ndim not in (2, 3, 4):
        raise DataError(f"expected an array (C, Z, Y, X), (Z, Y, X) or (Y, X), got {array.ndim} axes.")
    if array.ndim < 4 and channels != 1:
        raise DataError(
            f"expected an array (C, Z, Y, X) with C = {channels}, got shape {array.shape}: which axis holds the "
            "channels is not clear; for a 2D image use (C, 1, Y, X)."
        )
    axes = "(y, x)" if array.ndim == 2 else "(z, y, x)"
    if spacing_mm is None:
        raise DataError(f"expected spacing_mm {axes} with an array; without it the size of a voxel would be guessed.")
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != min(array.ndim, 3) or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise DataError(f"expected spacing_mm {axes} of positive numbers for an array {array.shape}, got {spacing}.")
    flat = array.ndim == 2
    volume = array[None, None] if flat else array[None] if array.ndim == 3 else array
    z, y, x = (1.0, *spacing) if flat else spacing
    _, depth, rows, columns = volume.shape
    geometry = Geometry(size=(depth, rows, columns), spacing_mm=(z, y, x), file_ndim=2 if flat else 3)
    return Image(volume, geometry)
