"""Along the middle: of a wall, of a blob from end to end, or of every branch of a tree."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.pieces import Piece
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.skeleton import branches
from medcl.scribbles.styles import STYLES, Mark

_MOST_BRANCHES = 6
_TURN = 0.3
"""Standard deviation, in radians, of the direction in which people cross a structure against its longest axis."""


@STYLES.register("centreline")
def centreline(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Follow the middle of a piece: the wall of a ring, the skeleton's branches of a thin piece, else end to end."""
    if piece.is_ring:
        return [Mark(piece.ring_line(float(rng.uniform(0.4, 0.6))), closed=True)]
    if not piece.is_thin:
        line = _middle(rng, piece)
        if piece.contains(line).mean() > 0.8:
            return [Mark(line)]
    lines = branches(piece.mask, piece.scale, shortest=2 * piece.half_width + 4, most=_MOST_BRANCHES)
    return [Mark(line) for line in lines] or [Mark(_middle(rng, piece))]


def axis_of(rng: np.random.Generator, points: np.ndarray, turn: float = _TURN) -> np.ndarray:
    """Return a unit vector along the longest extent of points (N, 2), turned a little at random.

    Round pieces have no axis of their own, so any direction is as good.
    """
    if len(points) < 3:
        angle = rng.uniform(0, np.pi)
        return np.array([np.sin(angle), np.cos(angle)])
    y, x = (points - points.mean(axis=0)).T
    yy, xx, xy = float(y @ y), float(x @ x), float(x @ y)
    long = np.hypot(yy - xx, 2 * xy) / max(yy + xx, 1e-9)  # 0 round, 1 a line
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + rng.normal(0, turn * (1 + 2 * (1 - long)))
    return np.array([np.sin(angle), np.cos(angle)])


def _middle(rng: np.random.Generator, piece: Piece) -> np.ndarray:
    """Mean position across the axis, weighted by depth, at stations along it."""
    points = piece.pixels
    if len(points) < 4:
        return points[:1]
    axis = axis_of(rng, points)
    along, across = points @ axis, points @ np.array([-axis[1], axis[0]])
    stations = max(2, int(np.ptp(along) / 2.5))
    number = np.minimum(((along - along.min()) / max(np.ptp(along), 1e-9) * stations).astype(int), stations - 1)
    weight = piece.depth[piece.mask] ** 2
    total = np.bincount(number, weight, stations)
    held = total > 0
    middle_along = np.bincount(number, weight * along, stations)[held] / total[held]
    middle_across = np.bincount(number, weight * across, stations)[held] / total[held]
    line: np.ndarray = middle_along[:, None] * axis + middle_across[:, None] * np.array([-axis[1], axis[0]])
    return line
