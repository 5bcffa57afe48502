"""Read one file for a check: the voxels, or a finding that says why there are none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from medcl.data.check.findings import Finding
from medcl.data.check.hidden import restore_not_finite
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, read_map
from medcl.errors import DataError

_LOSSY = (".jpg", ".jpeg")


def read_checked(case: str, file: str, path: Path) -> Image | Finding:
    """Read an image file.

    Args:
        case: Case id.
        file: File name relative to the data set folder.
        path: Where it lies; a folder or zip is read as DICOM.

    Returns:
        The image, or one error: `four-dimensional` or `unreadable-file` (missing, cut short, damaged, of another kind).
    """
    try:
        image = read_image(path)
    except DataError as error:
        return _why_unreadable(case, file, path, str(error))
    return replace(image, array=restore_not_finite(path, image.array))


def read_map_checked(case: str, file: str, path: Path) -> tuple[np.ndarray | None, Geometry | None, Finding | None]:
    """Read a label or scribble file whatever numbers it holds.

    Args:
        case: Case id.
        file: File name relative to the data set folder.
        path: Where it lies.

    Returns:
        Values as the file has them, (Z, Y, X), integers or (where some are not) floating point, or None; the grid, or
        None where the file cannot be read; and what is wrong with the file as a whole: `unreadable-file`,
        `four-dimensional`, `lossy-map` or `map-has-channels`.
    """
    try:
        array, geometry = read_map(path)
    except DataError as error:
        refused = str(error)
    else:
        return restore_not_finite(path, array), geometry, None
    image = read_checked(case, file, path)  # what the reader of maps refuses may still be a picture of something
    if isinstance(image, Finding):
        return None, None, image
    grid = image.geometry
    if path.name.lower().endswith(_LOSSY):
        text, todo = "JPEG blurs the integers of a map", "Draw again and save as PNG or NIfTI"
        return None, grid, Finding("error", "lossy-map", case, file, text, todo)
    if len(image.array) > 1:
        text = f"expected one integer per pixel, found {len(image.array)} channels"
        todo = "Save the map as grey values, not as colours"
        return None, grid, Finding("error", "map-has-channels", case, file, text, todo, {"channels": len(image.array)})
    if np.issubdtype(image.array.dtype, np.floating):
        return image.array[0], grid, None
    return None, grid, _why_unreadable(case, file, path, refused)


def _why_unreadable(case: str, file: str, path: Path, message: str) -> Finding:
    message = message.removeprefix(f"{path}: ")
    axes = re.search(r"got (\d+) axes", message)
    if axes is not None and int(axes[1]) > 3:
        todo = "Save one volume per file; the frames of a time series are cases of their own"
        return Finding("error", "four-dimensional", case, file, message, todo, {"axes": int(axes[1])})
    return Finding("error", "unreadable-file", case, file, message, "Export or copy the file again")
