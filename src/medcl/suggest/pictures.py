"""Pictures of the places to draw at: the slice with what the model sees, and how unsure it is, the way people look."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.evaluation.pictures import colour_of
from medcl.queries import Query
from medcl.queries.features import finite
from medcl.suggest.folder import picture_name, writing
from medcl.suggest.material import Open
from medcl.suggest.measuring import Measured

_MIRRORED = {0: (True, True), 1: (True, True), 2: (True, False)}
"""Rows and columns turned round, by axis of (K, J, I): head or front on top, the patient's right on the left."""


def draw_case(
    folder: Path,
    dataset: Dataset,
    opened: Open,
    measured: Measured,
    classes: Sequence[str],
    places: Sequence[tuple[int, Query]],
    pointing: Collection[int],
) -> list[tuple[int, str]]:
    """Write one PNG per place of a case.

    Args:
        folder: Where to.
        dataset: Where the image and strokes are from.
        opened: The case.
        measured: What the model says of it.
        classes: Names by index.
        places: Rank and query.
        pointing: Ranks whose place is where the model is least sure; no other gets a circle, as the middle of a slice
            may well lie in another structure.

    Returns:
        Rank and file name.
    """
    image = opened.view.to_view(dataset.read_image(opened.case).array)
    strokes = None
    if opened.case.scribble is not None:
        strokes = opened.view.to_view(dataset.read_scribble(opened.case))
    written = []
    for rank, query in places:
        name = picture_name(rank, query)
        content = _picture(image, strokes, opened, measured, classes, rank, query, rank in pointing)
        with writing(folder / name) as temporary:
            temporary.write_bytes(content)
        written.append((rank, name))
    return written


def _picture(
    image: np.ndarray,
    strokes: np.ndarray | None,
    opened: Open,
    measured: Measured,
    classes: Sequence[str],
    rank: int,
    query: Query,
    pointing: bool,
) -> bytes:
    from matplotlib.figure import Figure

    axis = opened.axis
    rows, columns = (a for a in range(3) if a != axis)
    spacing = opened.view.spacing_mm[::-1]
    flips = _MIRRORED[axis]

    def shown(volume: np.ndarray) -> np.ndarray:
        plane = volume.take(query.slice, axis=axis)
        return plane[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

    def at(index: float, across: int, flipped: bool) -> float:
        return opened.view.shape[across] - 1 - index if flipped else index

    planes = [finite(shown(channel)) for channel in image[: 3 if len(image) == 3 else 1]]
    channels = np.stack(planes, axis=-1).astype(float)
    low, high = np.percentile(channels, (0.5, 99.5))
    grey = np.clip((channels - low) / max(float(high - low), 1e-9), 0, 1)
    grey = np.repeat(grey, 3, axis=-1) if grey.shape[-1] == 1 else grey
    height, width = grey.shape[0] * spacing[rows], grey.shape[1] * spacing[columns]
    panels = 2 if measured.mask is not None else 1
    tall = min(max(4.0 * height / width, 2.0), 8.0)
    figure = Figure(figsize=(4.0 * panels, tall + 0.7), dpi=90, layout="constrained")
    colour = colour_of(query.class_index)
    place = query.place[::-1]  # (k, j, i)
    y, x = at(place[rows], rows, flips[0]), at(place[columns], columns, flips[1])
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        axes.imshow(grey, aspect=spacing[rows] / spacing[columns], interpolation="bilinear")
        axes.set_axis_off()
        if panel == 0:
            names = _outlines(axes, shown(measured.mask), classes) if measured.mask is not None else []
            if strokes is not None:
                _strokes(axes, shown(strokes))
            words = f"prediction: {', '.join(names)}" if names else "image"
        elif measured.uncertainty is not None:
            heat = shown(measured.uncertainty) / 255
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(heat * 1.5, 0, 0.8),
                        aspect=spacing[rows] / spacing[columns])  # fmt: skip
            words = "uncertainty"
        axes.set_title(words, fontsize=8)
        if pointing:
            axes.plot(x, y, "o", ms=16, mfc="none", mec="black", mew=3.4)
            axes.plot(x, y, "o", ms=16, mfc="none", mec=colour, mew=1.8)
        if query.box is not None:
            _frame(axes, query, rows, columns, at, flips, colour)
    cost = "" if query.cost_s is None else f", about {query.cost_s:.0f} s"
    what = f"{rank}. {query.case}, {query.plane} slice {query.slice + 1}: draw {classes[query.class_index]}{cost}"
    figure.suptitle(what, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": "medcl"})
    return stream.getvalue()


def _outlines(axes: object, mask: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Draw the border of every structure and return the names of those that are there."""
    found = [int(c) for c in np.unique(mask) if c > 0]
    for c in found:
        inside = (mask == c).astype(float)
        if inside.min() < inside.max():
            axes.contour(inside, levels=[0.5], colors=[colour_of(c)], linewidths=1.2)  # type: ignore[attr-defined]
    return [classes[c] for c in found]


def _strokes(axes: object, drawn: np.ndarray) -> None:
    rgba = np.zeros((*drawn.shape, 4))
    for c in np.unique(drawn[drawn != UNLABELLED]):
        text = colour_of(int(c))
        rgba[drawn == c] = [*(int(text[n : n + 2], 16) / 255 for n in (1, 3, 5)), 0.8]
    axes.imshow(rgba, aspect=axes.get_aspect(), interpolation="nearest")  # type: ignore[attr-defined]


def _frame(
    axes: object, query: Query, rows: int, columns: int, at: object, flips: tuple[bool, bool], colour: str
) -> None:
    from matplotlib.patches import Rectangle

    assert query.box is not None
    assert callable(at)
    box = query.box[::-1]
    corners = [
        sorted((at(box[a][0], a, f), at(box[a][1] - 1, a, f))) for a, f in ((rows, flips[0]), (columns, flips[1]))
    ]
    (top, bottom), (left, right) = corners
    patch = Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, ec=colour, lw=1.5)
    axes.add_patch(patch)  # type: ignore[attr-defined]
