"""Pictures of contradictions between raters: what one says, what the other says, where they differ."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.data.layout import SPLITS
from medcl.data.raters import RaterSet
from medcl.errors import DataError
from medcl.evaluation.pictures import Slice, picture
from medcl.files import atomic_write

if TYPE_CHECKING:
    from medcl.scribbles.contradictions import Contradiction

MOST = 6
"""Rows of a picture: the pairs with most contradicting voxels, one row a case."""


def draw_contradictions(folder: Path, contradictions: Sequence[Contradiction], out: Path) -> int:
    """Write a picture of the worst contradictions: a row each, with the slice that shows most of it.

    Args:
        folder: Dataset folder.
        contradictions: What `medcl.scribbles.contradictions` found.
        out: PNG to write.

    Returns:
        Number of rows.

    Raises:
        DataError: There is nothing to show.
    """
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    worst: dict[str, Contradiction] = {}
    for one in sorted(contradictions, key=lambda c: c.voxels, reverse=True):
        worst.setdefault(one.case, one)
    rows = list(worst.values())[:MOST]
    if not rows:
        raise DataError(f"{folder}: expected raters who contradict each other, found none to draw.")
    figure = Figure(figsize=(9.0, 3.2 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for row, one in zip(panels, rows, strict=True):
        titles = (one.first, one.second, f"differ: {one.voxels} voxels")
        for panel, title, png in zip(row, titles, _panels(folder, one), strict=True):
            panel.imshow(imread(io.BytesIO(png)))
            panel.set_title(title, fontsize=9)
            panel.set_xticks([])
            panel.set_yticks([])
        row[0].set_ylabel(f"{one.case[:28]}\nslice {one.slice}", fontsize=8)
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    return len(rows)


def _panels(folder: Path, one: Contradiction) -> list[bytes]:
    rated = RaterSet.open(folder, kind=one.kind, raters=(one.first, one.second))
    case = next(case for split in SPLITS for case in rated.cases(split) if case.id == one.case)
    first, second = (plane[one.slice] for plane in rated.read(case))
    dataset = rated.datasets[one.first]
    image = dataset.read_image(case.first)
    channels = image.array[:, one.slice]
    shown = channels if len(channels) == 3 else channels[0]
    _, y, x = image.geometry.spacing_mm
    differs = ((first != UNLABELLED) & (second != UNLABELLED) & (first != second)).astype(np.int16)
    either = np.where((first > 0) | (second > 0), 1, 0).astype(np.int16)  # the same window for all three
    crop = _window(either if one.kind == "labels" else np.ones_like(either))
    if one.kind == "labels":
        views = [Slice(np.maximum(mask, 0), image=shown, spacing_mm=(y, x)) for mask in (first, second)]
        drawn = [picture(view, show="label", crop=crop) for view in views]
    else:
        nothing = np.zeros_like(first)
        views = [Slice(nothing, image=shown, scribble=mask, spacing_mm=(y, x)) for mask in (first, second)]
        drawn = [picture(view, show="strokes", crop=crop) for view in views]
    return [*drawn, picture(Slice(differs, image=shown, spacing_mm=(y, x)), show="label", crop=crop)]


def _window(marked: np.ndarray, margin: int = 8) -> tuple[slice, slice]:
    """Rows and columns of what is marked, with a margin."""
    sides = []
    for axis in (1, 0):
        held = np.flatnonzero(marked.any(axis=axis))
        length = marked.shape[1 - axis]
        low, high = (int(held[0]), int(held[-1])) if len(held) else (0, length - 1)
        sides.append(slice(max(0, low - margin), min(length, high + margin + 1)))
    return sides[0], sides[1]
