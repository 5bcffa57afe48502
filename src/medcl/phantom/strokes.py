"""Strokes as people draw them: wobbly, partial, a little off centre, and a loop of background around everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from medcl.data.labels import UNLABELLED
from medcl.phantom.canvas import Rng
from medcl.settings import Settings

Window = tuple[slice, slice]


class StrokeSettings(Settings):
    """How the made-up annotator draws."""

    style: Literal["centreline", "contour", "mixed"] = Field(
        "centreline", description="Along the middle of a structure, inside its border, or either at random."
    )
    thickness: float = Field(2.5, ge=1, le=25, description="Width of a stroke in pixels.")
    coverage: float = Field(0.75, gt=0, le=1, description="Mean share of a structure's length that a stroke follows.")
    slices: float = Field(1.0, gt=0, le=1, description="Share of the slices of a volume that get strokes.")
    mistakes: float = Field(0.0, ge=0, le=1, description="Share of strokes that may leave their structure.")
    minimum_area: int = Field(12, ge=1, description="Smallest piece of a structure, in pixels, that gets a stroke.")


def draw_strokes(rng: Rng, label: np.ndarray, settings: StrokeSettings | None = None) -> np.ndarray:
    """Draw strokes for every slice of a dense label.

    Every piece of every class gets one stroke, background a loop around all structures and strokes farther away.
    Strokes stay inside their structure unless `mistakes` says otherwise.

    Args:
        rng: Source of randomness.
        label: (Z, Y, X) integers, 0 background.
        settings: How to draw.

    Returns:
        (Z, Y, X) int16: class indices where a stroke lies, UNLABELLED elsewhere.
    """
    settings = settings or StrokeSettings()
    strokes = np.full(label.shape, UNLABELLED, np.int16)
    chosen = np.sort(rng.permutation(len(label))[: max(1, round(settings.slices * len(label)))])
    for z in chosen:
        _draw_slice(rng, label[z], strokes[z], settings)
    return strokes


def _draw_slice(rng: Rng, label: np.ndarray, strokes: np.ndarray, settings: StrokeSettings) -> None:
    foreground = label > 0
    for line in _background_lines(rng, foreground, settings):
        _draw(rng, strokes, line, 0, ~foreground, settings)
    for cls in np.unique(label[foreground]):
        for window, piece in _pieces(label == cls, settings.minimum_area):
            origin = np.array([window[0].start, window[1].start])
            for line in _structure_lines(rng, piece, settings):
                _draw(rng, strokes, line + origin, int(cls), label == cls, settings)


def _pieces(mask: np.ndarray, minimum_area: int) -> Iterator[tuple[Window, np.ndarray]]:
    """Yield each connected piece with its window; the window has a border of one empty pixel (cut at the image)."""
    from scipy.ndimage import find_objects, label

    numbered, _ = label(mask, np.ones((3, 3)))
    for number, found in enumerate(find_objects(numbered), start=1):
        if found is None:
            continue
        window = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in found)
        piece = numbered[window] == number
        if piece.sum() >= minimum_area:
            yield (window[0], window[1]), piece


def _structure_lines(rng: Rng, piece: np.ndarray, settings: StrokeSettings) -> list[np.ndarray]:
    """Lines (N, 2) of (y, x) for one piece, in its window: its middle or just inside its border, cut and shaken."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(piece, 1))[1:-1, 1:-1]
    contour = settings.style == "contour" or (settings.style == "mixed" and rng.random() < 0.4)
    deepest = float(depth.max())
    if contour and deepest > settings.thickness:
        level = min(0.75 * settings.thickness + float(rng.uniform(0, 1)), 0.6 * deepest)
        line = _longest_contour(depth, level)
    else:
        ring = _ring_middle(piece)
        line = _middle_line(rng, depth) if ring is None else ring
    shake = 0.25 * min(deepest, 8.0)
    return _cut(rng, _shake(rng, line, shake), settings.coverage)


def _ring_middle(piece: np.ndarray) -> np.ndarray | None:
    """The closed line halfway between the outer border and the hole; None where there is no hole worth the name."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    hole = binary_fill_holes(piece) & ~piece
    # A vessel or another organ inside does not make a ring: the hole must be a good part of the whole.
    if hole.sum() < max(9, 0.12 * piece.sum()):
        return None
    to_hole = distance_transform_edt(~hole)
    to_outside = distance_transform_edt(np.pad(piece | hole, 1))[1:-1, 1:-1]
    return _longest_contour(to_hole - to_outside, 0.0)


def _longest_contour(values: np.ndarray, level: float) -> np.ndarray:
    from skimage.measure import find_contours

    found = find_contours(np.pad(values.astype(np.float32), 1, mode="edge"), level)
    if not found:
        return np.argwhere(values == values.max())[:1].astype(np.float64)
    return max(found, key=len) - 1


def _middle_line(rng: Rng, depth: np.ndarray) -> np.ndarray:
    """The way between the two far ends of a piece that keeps to where it is deep."""
    from skimage.graph import route_through_array

    inside = np.argwhere(depth > min(1.0, 0.5 * depth.max()))
    if len(inside) < 3:
        return inside.astype(np.float64)
    spread = inside - inside.mean(0)
    axis = np.linalg.eigh(spread.T @ spread)[1][:, 1]
    # Round things have no axis of their own: people stroke them in any direction.
    turn = rng.normal(0, 0.35)
    axis = np.array([axis[0] * np.cos(turn) - axis[1] * np.sin(turn), axis[0] * np.sin(turn) + axis[1] * np.cos(turn)])
    along = spread @ axis
    start, end = inside[int(np.argmin(along))], inside[int(np.argmax(along))]
    cost = np.where(depth > 0, 1.0 / np.maximum(depth, 0.25) ** 2, 1e6)
    path, _ = route_through_array(cost, start, end, fully_connected=True)
    return np.array(path, np.float64)


def _shake(rng: Rng, line: np.ndarray, amplitude: float) -> np.ndarray:
    """Smooth a line and displace it by a slow random walk, as a hand does."""
    from scipy.ndimage import gaussian_filter1d

    if len(line) < 4:
        return line
    closed = len(line) > 8 and bool(np.allclose(line[0], line[-1]))
    mode = "wrap" if closed else "nearest"
    smooth = gaussian_filter1d(line, min(3.0, len(line) / 6), axis=0, mode=mode)
    wander = gaussian_filter1d(rng.standard_normal((len(line), 2)), max(3.0, len(line) / 10), axis=0, mode=mode)
    return smooth + amplitude * wander / max(float(wander.std()), 1e-6)


def _cut(rng: Rng, line: np.ndarray, coverage: float) -> list[np.ndarray]:
    """Keep a part of a line, sometimes in two pieces; a closed line is opened anywhere."""
    if len(line) < 6:
        return [line]
    if np.allclose(line[0], line[-1], atol=2.0):
        line = np.roll(line[:-1], int(rng.integers(len(line))), axis=0)
    share = float(np.clip(coverage + rng.normal(0, 0.12), 0.25, 1.0)) if coverage < 1 else 1.0
    length = max(3, round(share * len(line)))
    start = int(rng.integers(len(line) - length + 1))
    line = line[start : start + length]
    if coverage < 1 and len(line) > 24 and rng.random() < 0.25:
        gap = max(3, round(len(line) * float(rng.uniform(0.08, 0.2))))
        at = int(rng.integers(len(line) // 4, 3 * len(line) // 4))
        return [line[:at], line[min(at + gap, len(line) - 2) :]]
    return [line]


def _background_lines(rng: Rng, foreground: np.ndarray, settings: StrokeSettings) -> list[np.ndarray]:
    """Loops around the structures at some distance, and two or three free strokes farther out."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.measure import find_contours

    height, width = foreground.shape
    unit = max(settings.thickness, min(height, width) / 64)
    lines: list[np.ndarray] = []
    if foreground.any():
        away = distance_transform_edt(~foreground)
        lumps = gaussian_filter(rng.standard_normal(foreground.shape), 2.5 * unit)
        field = away + 0.6 * unit * lumps / max(float(lumps.std()), 1e-6)
        level = float(rng.uniform(2.2, 4.0)) * unit
        loops = [c for c in sorted(find_contours(field, level), key=len, reverse=True)[:3] if len(c) > 12 * unit]
        lines += [part for loop in loops for part in _cut(rng, _shake(rng, loop, 0.4 * unit), 0.8)]
        far = away > 3 * unit
    else:
        far = np.ones_like(foreground)
    for _ in range(int(rng.integers(2, 4))):
        lines.append(_free_line(rng, far, min(height, width)))
    return lines


def _free_line(rng: Rng, allowed: np.ndarray, extent: int) -> np.ndarray:
    """A curved stroke in a slowly turning direction; the longest of a few tries that stay where it is allowed."""
    places = np.argwhere(allowed)
    best = np.zeros((0, 2))
    for _ in range(4 if len(places) else 0):
        steps = int(extent * rng.uniform(0.2, 0.45))
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(rng.normal(0, 0.02), 0.06, steps))
        line = places[int(rng.integers(len(places)))] + np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1), 0)
        at = np.rint(line).astype(int)
        fits = (at >= 0).all(1) & (at < allowed.shape).all(1)
        fits[fits] = allowed[at[fits, 0], at[fits, 1]]
        # Stop at the first place that is not allowed: the hand does not jump.
        length = steps if fits.all() else int(np.argmin(fits))
        best = line[:length] if length > len(best) else best
    return best


def _draw(
    rng: Rng, strokes: np.ndarray, line: np.ndarray, cls: int, structure: np.ndarray, settings: StrokeSettings
) -> None:
    """Put a line onto the slice with a round pen; only inside the structure unless by mistake."""
    from scipy.spatial import cKDTree

    if len(line) == 0:
        return
    careless = settings.mistakes > 0 and rng.random() < settings.mistakes
    if careless:
        line = line + rng.normal(0, 2 * settings.thickness, 2)
    radius = max(0.5 * settings.thickness * float(rng.uniform(0.85, 1.15)), 0.5)
    # Points closer to each other than half a pixel, so that the pen leaves no gaps.
    steps = max(1, int(np.ceil(2 * np.abs(np.diff(line, axis=0)).max(initial=0))))
    at = np.linspace(0, len(line) - 1, steps * (len(line) - 1) + 1)
    points = np.stack([np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1)
    low = np.clip(np.floor(points.min(0) - radius).astype(int), 0, strokes.shape)
    high = np.clip(np.ceil(points.max(0) + radius).astype(int) + 1, 0, strokes.shape)
    if (low >= high).any():
        return
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    pixels = np.argwhere(np.ones(high - low, bool)) + low
    near = cKDTree(points).query(pixels, distance_upper_bound=radius + 1e-9)[0] <= radius
    pen = near.reshape(tuple(high - low))
    if not careless:
        pen &= structure[window]
    strokes[window][pen] = cls
