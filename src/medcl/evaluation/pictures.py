"""Pictures of one slice: image, strokes and masks, as PNG. Arrays in, bytes out."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.evaluation.metrics import surface

COLOURS: tuple[str, ...] = (
    "#56b4e9", "#f0a020", "#35c08a", "#e26ab0", "#f0e442", "#ff6f4d", "#9d8cff", "#8ad14f", "#00c8c8", "#d0a080",
)  # fmt: skip
"""Colour of structure 1, 2, ...: bright on grey images and told apart with colour-blind eyes; repeated after ten."""

BACKGROUND_COLOUR = "#c8c8c8"
SIDE = 320
"""Length of the longer side of a picture in pixels."""


@dataclass(frozen=True)
class Slice:
    """One slice to show.

    Attributes:
        label: Class indices (Y, X) with `UNLABELLED`.
        prediction: Class indices (Y, X), or None.
        image: Intensities (Y, X) or (3, Y, X), or None.
        scribble: Class indices (Y, X) with `UNLABELLED`, or None.
        spacing_mm: In-plane spacing (y, x) in mm.
    """

    label: np.ndarray
    prediction: np.ndarray | None = None
    image: np.ndarray | None = None
    scribble: np.ndarray | None = None
    spacing_mm: tuple[float, float] = (1.0, 1.0)


def colour_of(index: int) -> str:
    """Return the colour of a class index as '#rrggbb'; index 0 is grey."""
    return COLOURS[(index - 1) % len(COLOURS)] if index > 0 else BACKGROUND_COLOUR


def picture(view: Slice, *, show: str, crop: bool | tuple[slice, slice] = True) -> bytes:
    """Draw one panel.

    Args:
        view: What there is.
        show: "strokes": image and strokes; "label": filled label; "prediction": filled prediction with the label's
            outline in white.
        crop: Whether to show the part with structures only, with a margin; or which rows and columns to show.

    Returns:
        PNG, longer side `SIDE` pixels, voxels in their true proportions.
    """
    everything = (slice(0, view.label.shape[0]), slice(0, view.label.shape[1]))
    rows, columns = crop if isinstance(crop, tuple) else window(view) if crop else everything
    canvas, sample = _canvas(view, rows, columns)
    label = sample(view.label)
    if show == "strokes" and view.scribble is not None:
        strokes = sample(view.scribble)
        for index in np.unique(strokes[strokes != UNLABELLED]):
            _blend(canvas, strokes == index, colour_of(int(index)), 0.85)
    elif show == "label":
        _hatch(canvas, label == UNLABELLED)
        _fill(canvas, label)
    elif show == "prediction" and view.prediction is not None:
        _fill(canvas, sample(view.prediction))
        for index in np.unique(label[label > 0]):
            _blend(canvas, surface((label == index)[None], (label == UNLABELLED)[None])[0], "#ffffff", 0.9)
    return _png(canvas)


def best_slices(label: np.ndarray, prediction: np.ndarray) -> list[int]:
    """Return the slice with most structure, and the one with most disagreement where that is another.

    Args:
        label: Class indices (Z, Y, X) with `UNLABELLED`.
        prediction: Class indices (Z, Y, X).
    """
    axes = (1, 2)
    structure = (label > 0).sum(axes) + (prediction > 0).sum(axes)
    wrong = ((label != prediction) & (label != UNLABELLED)).sum(axes)
    worst = wrong if wrong.any() else structure
    return list(dict.fromkeys([int(structure.argmax()), int(worst.argmax())]))


def window(view: Slice) -> tuple[slice, slice]:
    """Return the rows and columns around all structures and strokes of structures, with a quarter as margin."""
    masks = [view.label > 0]
    masks += [extra > 0 for extra in (view.prediction, view.scribble) if extra is not None]
    where = np.logical_or.reduce(masks)
    if not where.any():
        return slice(0, where.shape[0]), slice(0, where.shape[1])
    spacing = np.array(view.spacing_mm)
    corners = [np.flatnonzero(where.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    side_mm = max((high - low + 1) * step for (low, high), step in zip(corners, spacing, strict=True))
    half = np.maximum(side_mm * 0.75 / spacing, 12)  # a square in mm, so that all pictures have one shape
    parts = []
    for (low, high), reach, size in zip(corners, half, where.shape, strict=True):
        centre = (low + high) / 2
        parts.append(slice(max(0, int(centre - reach)), min(size, int(centre + reach) + 1)))
    return parts[0], parts[1]


def _canvas(view: Slice, rows: slice, columns: slice) -> tuple[np.ndarray, _Sampler]:
    height = (rows.stop - rows.start) * view.spacing_mm[0]
    width = (columns.stop - columns.start) * view.spacing_mm[1]
    scale = SIDE / max(height, width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    sample = _Sampler(rows, columns, shape)
    if view.image is None:
        return np.full((*shape, 3), 40.0), sample
    image = np.nan_to_num(np.asarray(view.image, dtype=float))
    channels = image if image.ndim == 3 else image[None]
    if channels.shape[0] != 3:
        channels = channels[:1]
    low, high = np.percentile(channels[:, rows, columns], (0.5, 99.5))
    scaled = np.clip((channels - low) / max(high - low, 1e-12), 0, 1) * 255
    drawn = np.stack([sample.smooth(channel) for channel in scaled], axis=-1)
    return np.repeat(drawn, 3, axis=-1) if drawn.shape[-1] == 1 else drawn, sample


class _Sampler:
    """Takes a part of a slice to the size of the picture."""

    def __init__(self, rows: slice, columns: slice, shape: tuple[int, int]) -> None:
        self._places = [
            part.start + (np.arange(size) + 0.5) * (part.stop - part.start) / size - 0.5
            for part, size in zip((rows, columns), shape, strict=True)
        ]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        nearest = [
            np.clip(np.rint(place).astype(int), 0, size - 1)
            for place, size in zip(self._places, values.shape, strict=True)
        ]
        return values[np.ix_(*nearest)]

    def smooth(self, values: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        grid = np.meshgrid(*self._places, indexing="ij")
        drawn: np.ndarray = map_coordinates(values, grid, order=1, mode="nearest")
        return drawn


def _fill(canvas: np.ndarray, values: np.ndarray) -> None:
    for index in np.unique(values[values > 0]):
        mask = values == index
        _blend(canvas, mask, colour_of(int(index)), 0.35)
        edge = surface(mask[None])[0]
        _blend(canvas, edge | surface((mask & ~edge)[None])[0], colour_of(int(index)), 0.9)


def _hatch(canvas: np.ndarray, mask: np.ndarray) -> None:
    """Mark unlabelled voxels by diagonal lines: unknown is no colour."""
    y, x = np.indices(mask.shape)
    _blend(canvas, mask & ((x + y) % 10 < 2), BACKGROUND_COLOUR, 0.5)


def _blend(canvas: np.ndarray, mask: np.ndarray, colour: str, share: float) -> None:
    rgb = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=float)
    canvas[mask] = (1 - share) * canvas[mask] + share * rgb


def _png(canvas: np.ndarray) -> bytes:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, np.clip(np.rint(canvas), 0, 255).astype(np.uint8), format="png", metadata={"Software": "medcl"})
    return stream.getvalue()
