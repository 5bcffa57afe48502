"""One picture of many strokes: the slice with most of them for each of some cases, side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medcl.data.geometry import Image
from medcl.data.labels import UNLABELLED
from medcl.evaluation.pictures import SIDE, Slice, picture
from medcl.files import atomic_write

_COLUMNS = 4


def stroke_view(scribble: np.ndarray, geometry_mm: tuple[float, float, float], image: Image | None = None) -> Slice:
    """Return the slice of a case that shows most strokes of structures.

    Args:
        scribble: Class indices (Z, Y, X) with `UNLABELLED`.
        geometry_mm: Spacing (z, y, x) in mm.
        image: The image, if there is one.
    """
    z = int((2 * (scribble > 0) + (scribble == 0)).sum(axis=(1, 2)).argmax())
    shown = None
    if image is not None and image.array.shape[1:] == scribble.shape:
        shown = image.array[:, z] if image.array.shape[0] == 3 else image.array[0, z]
    nothing = np.full(scribble.shape[1:], UNLABELLED)
    return Slice(label=nothing, image=shown, scribble=scribble[z], spacing_mm=(geometry_mm[1], geometry_mm[2]))


def write_stroke_sheet(path: Path, views: Sequence[Slice]) -> Path:
    """Write the strokes of some slices as one PNG, four in a row.

    Args:
        path: PNG to write.
        views: The slices, at least one.

    Returns:
        The file.
    """
    from PIL import Image as Picture

    tiles = [Picture.open(io.BytesIO(picture(view, show="strokes", crop=False))) for view in views]
    columns = min(_COLUMNS, len(tiles))
    sheet = Picture.new("RGB", (columns * SIDE, -(-len(tiles) // columns) * SIDE))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * SIDE, number // columns * SIDE))
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path
