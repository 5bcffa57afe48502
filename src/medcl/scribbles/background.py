"""Background strokes: close outlines, wide loops, and free lines far from everything."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.hand import resample, slow_noise, smooth
from medcl.scribbles.pieces import Piece
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import Mark
from medcl.scribbles.styles.contours import outline

_COARSE = 8
_TRIES = 3


def around(rng: np.random.Generator, group: Piece, settings: ScribbleSettings) -> list[tuple[Mark, str]]:
    """Return the background lines around one group of structures that touch each other.

    Args:
        rng: Source of randomness.
        group: The group.
        settings: How many lines, at which distance.

    Returns:
        Lines in units of the group's window, each with its kind: 'outline' or 'loop'.
    """
    wishes = settings.background
    lines: list[tuple[Mark, str]] = []
    for _ in range(_number(rng, wishes.outlines)):
        away = wishes.outline_distance * float(rng.lognormal(0, 0.25)) + settings.thickness / 2
        lines += [(mark, "outline") for mark in outline(group, away)]
    for _ in range(_number(rng, wishes.loops)):
        radius = max(float(np.sqrt(group.area / np.pi)), 4.0)
        pen = wishes.loop_thickness or settings.thickness
        distance = wishes.loop_distance * radius * float(rng.lognormal(0, 0.3)) + max(settings.thickness, pen / 2)
        turns = float(np.clip(rng.normal(wishes.loop_turns, 0.12), 0.3, 6.0))
        lines.append((Mark(loop(rng, hull(group), distance, turns), outside=True, steady=True), "loop"))
    return lines


def hull(group: Piece) -> np.ndarray:
    """Return the convex hull (N, 2) of a group's pixels, corners included, in units of its window."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(group.mask.any(axis=1))
    left = group.mask[rows].argmax(axis=1)
    right = group.mask.shape[1] - 1 - group.mask[rows, ::-1].argmax(axis=1)
    corners = [
        np.stack([rows + dy, columns + dx], axis=1)
        for columns, dx in ((left, -0.5), (right, 0.5))
        for dy in (-0.5, 0.5)
    ]
    points = np.concatenate(corners) * np.asarray(group.scale)
    found: np.ndarray = points[ConvexHull(points).vertices]
    return found


def loop(rng: np.random.Generator, corners: np.ndarray, distance: float, turns: float) -> np.ndarray:
    """Go around a convex shape at a distance that a hand does not keep exactly.

    Args:
        rng: Source of randomness.
        corners: (N, 2) corners of the shape in units.
        distance: Mean distance in units.
        turns: How often around; the ends do not meet but pass each other.

    Returns:
        Points (M, 2) in units.
    """
    path = resample(np.concatenate([corners, corners[:1]]), 1.0)[:-1]
    path = smooth(path, 0.03 * len(path), closed=True)
    along = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    if ((path - path.mean(axis=0)) * normal).sum() < 0:
        normal = -normal
    count = max(8, int(turns * len(path)))
    order = (int(rng.integers(len(path))) + np.arange(count)) % len(path)
    if rng.random() < 0.5:
        order = order[::-1]
    swing = 1 + 0.3 * slow_noise(rng, count)[:, 0] + float(rng.normal(0, 0.35)) * np.linspace(-0.5, 0.5, count)
    away = distance * np.maximum(swing, 0.3)
    return smooth(path[order] + away[:, None] * normal[order], min(0.02 * len(path), 6.0))


def blind_loop(
    rng: np.random.Generator, centre: np.ndarray, size: tuple[float, float], settings: ScribbleSettings
) -> Mark:
    """Go around a place where nothing is, as people do in slices above and below the structures.

    Args:
        rng: Source of randomness.
        centre: Place (y, x) in units.
        size: Size of the slice (y, x) in units.
        settings: Number of turns.
    """
    radius = float(rng.uniform(0.05, 0.14)) * min(size)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = centre + radius * np.stack([np.sin(angle) * float(rng.uniform(0.7, 1.2)), np.cos(angle)], axis=1)
    turns = float(np.clip(rng.normal(settings.background.loop_turns, 0.12), 0.3, 6.0))
    return Mark(loop(rng, corners, 0.3 * radius + settings.thickness, turns), outside=True, steady=True)


def far_lines(
    rng: np.random.Generator, taken: np.ndarray, scale: tuple[float, float], settings: ScribbleSettings
) -> list[Mark]:
    """Draw free curves where no structure is near.

    Args:
        rng: Source of randomness.
        taken: Boolean slice (H, W): structures and everything else that is not background.
        scale: Size of a pixel (y, x) in units.
        settings: How many, how long.

    Returns:
        Lines in units of the slice; none where there is no room.
    """
    number = int(rng.poisson(settings.background.far))
    if number == 0:
        return []
    free = ~_coarsely_near(taken)
    places = np.argwhere(free)
    marks = []
    for _ in range(number if len(places) else 0):
        lines = [_free_line(rng, places, free, taken.shape, scale, settings) for _ in range(_TRIES)]
        best = max(lines, key=len)
        if len(best) > 1:
            marks.append(Mark(best, outside=True, steady=True))
    return marks


def _free_line(
    rng: np.random.Generator,
    places: np.ndarray,
    free: np.ndarray,
    shape: tuple[int, ...],
    scale: tuple[float, float],
    settings: ScribbleSettings,
) -> np.ndarray:
    """Walk from a free place in a slowly turning direction until the length is reached or there is no room."""
    extent = float(np.mean(np.asarray(shape) * scale))
    count = max(2, int(settings.background.far_length * float(rng.lognormal(-0.1, 0.45)) * extent / 2))
    heading = rng.uniform(0, 2 * np.pi) + float(rng.normal(0, 0.8)) * np.linspace(0, 1, count)
    heading = heading + 0.5 * slow_noise(rng, count)[:, 0]
    start = (places[int(rng.integers(len(places)))] + rng.random(2)) * _COARSE * np.asarray(scale)
    line = start + 2 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
    at = np.floor(line / np.asarray(scale) / _COARSE).astype(np.intp)
    fits: np.ndarray = ((at >= 0) & (at < free.shape)).all(axis=1)
    fits[fits] = free[at[fits, 0], at[fits, 1]]
    # stop at the first place without room: the hand does not jump
    return line[: count if fits.all() else int(np.argmin(fits))]


def _coarsely_near(taken: np.ndarray) -> np.ndarray:
    """Tell for blocks of pixels whether something taken is in the block or in a neighbour."""
    from scipy.ndimage import binary_dilation

    blocks = taken
    for axis in (0, 1):
        blocks = np.logical_or.reduceat(blocks, np.arange(0, taken.shape[axis], _COARSE), axis=axis)
    near: np.ndarray = binary_dilation(blocks, np.ones((3, 3), bool)) if blocks.any() else blocks
    return near


def _number(rng: np.random.Generator, mean: float) -> int:
    """Draw a whole number whose mean is given and which is never farther from it than 1."""
    return int(mean) + int(rng.random() < mean - int(mean))
