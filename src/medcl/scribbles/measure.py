"""What strokes look like in numbers: length, width, coverage, distance to the border, pieces, mistakes.

One row per slice and kind of stroke. Lengths are measured along the skeleton, so that strokes of real people, of which
only pixels are known, and simulated ones are measured alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.scribbles.skeleton import skeleton_length

QUANTITIES: dict[str, str] = {
    "length_mm": "length of all strokes of the class in the slice, along their middle, in mm",
    "thickness_px": "width of the strokes, area by length, in pixels of the finer axis",
    "thickness_mm": "width of the strokes in mm",
    "pieces": "connected pieces (8 neighbours)",
    "coverage": "share of the structure's pixels that its strokes cover (background: share of the background)",
    "border_mm": "median distance of the strokes' pixels to the border of their structure in mm",
    "relative_depth": "the same as a share of the structure's largest depth (structures only)",
    "mistakes": "share of the strokes' pixels that lie outside their structure",
}
"""What is measured, by name."""


@dataclass(frozen=True)
class StrokeRow:
    """The strokes of one class in one slice.

    Attributes:
        case: Case id.
        slice: Number of the slice.
        index: Class index; 0 is background.
        length_mm, thickness_px, thickness_mm, pieces, coverage, border_mm, relative_depth, mistakes: `QUANTITIES`;
            nan where a quantity needs a dense label and there is none.
    """

    case: str
    slice: int
    index: int
    length_mm: float
    thickness_px: float
    thickness_mm: float
    pieces: float
    coverage: float = math.nan
    border_mm: float = math.nan
    relative_depth: float = math.nan
    mistakes: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)


def measure_strokes(
    scribble: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    label: np.ndarray | None = None,
    *,
    case: str = "",
    slices: Iterable[int] | None = None,
    ignore: int = UNLABELLED,
) -> list[StrokeRow]:
    """Measure the strokes of a case, slice by slice across z.

    Args:
        scribble: Class indices (Z, Y, X), 0 background, `ignore` where nothing is drawn.
        spacing_mm: Distance between pixel centres (z, y, x) in mm.
        label: Dense label (Z, Y, X) of the same case with the same values; without one only lengths, widths and
            pieces are measured. Pixels that are `ignore` in it belong to no structure and count as no mistake.
        case: Case id, handed through.
        slices: Which slices; default all.
        ignore: Value of *not annotated*.

    Returns:
        One row per slice and class with a stroke.
    """
    if scribble.ndim != 3 or (label is not None and label.shape != scribble.shape):
        other = "" if label is None else f" and a label of the same shape, got {label.shape}"
        raise ValueError(f"expected a scribble (Z, Y, X){other}, got {scribble.shape}")
    spacing = (float(spacing_mm[-2]), float(spacing_mm[-1]))
    rows = []
    for z in range(len(scribble)) if slices is None else slices:
        dense = None if label is None else label[z]
        for value in np.unique(scribble[z][scribble[z] != ignore]):
            drawn = scribble[z] == value
            rows.append(
                StrokeRow(
                    case, int(z), int(value), **_shape(drawn, spacing), **_place(drawn, dense, value, spacing, ignore)
                )
            )
    return rows


def _shape(drawn: np.ndarray, spacing: tuple[float, float]) -> dict[str, float]:
    from scipy.ndimage import label
    from skimage.morphology import skeletonize

    cut = drawn[window(drawn)]
    pieces = int(label(cut, np.ones((3, 3), bool))[1])
    area = float(cut.sum()) * spacing[0] * spacing[1]
    along = skeleton_length(skeletonize(cut), spacing)
    # A skeleton stops half a width before each of a line's two ends: length = along + pieces x width, and
    # area = length x width. The solution for the width; a dot (along = 0) is as long as it is wide.
    width = (math.sqrt(along**2 + 4 * pieces * area) - along) / (2 * pieces)
    return {
        "length_mm": along + pieces * width,
        "thickness_px": width / min(spacing),
        "thickness_mm": width,
        "pieces": float(pieces),
    }


def _place(
    drawn: np.ndarray, dense: np.ndarray | None, value: int, spacing: tuple[float, float], ignore: int
) -> dict[str, float]:
    from scipy.ndimage import distance_transform_edt

    if dense is None:
        return {}
    known = drawn & (dense != ignore)
    own = dense == value
    hit = drawn & own
    found = {
        "mistakes": 1 - float(hit.sum()) / float(known.sum()) if known.any() else math.nan,
        "coverage": float(hit.sum()) / float(own.sum()) if own.any() else math.nan,
    }
    others = (dense != 0) & (dense != ignore) if value == 0 else own
    if hit.any() and others.any():
        part = window(drawn | others)
        if value == 0:
            away = distance_transform_edt(~others[part], sampling=spacing)
            found["border_mm"] = float(np.median(away[hit[part]]))
        else:
            depth = distance_transform_edt(np.pad(own[part], 1), sampling=spacing)[1:-1, 1:-1]
            found["border_mm"] = float(np.median(depth[hit[part]]))
            found["relative_depth"] = found["border_mm"] / float(depth.max())
    return found


def window(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the smallest rectangle of a mask (H, W) that holds all of it; the mask must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
