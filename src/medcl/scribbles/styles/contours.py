"""Lines that follow a border: inside it, spiralling inwards, on both sides of it, or with a stroke in the middle."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.pieces import Piece, distance_inside, longest_contour
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import STYLES, Mark
from medcl.scribbles.styles.centreline import centreline
from medcl.scribbles.styles.lines import curve


@STYLES.register("contour")
def contour(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Follow the border from inside (ScribblePrompt's contour scribbles); a wall is followed on one side or on both."""
    if piece.is_ring:
        near = 0.5 * (1 - settings.depth)
        sides = [0.5 + near, 0.5 - near] if rng.random() < 0.5 else [0.5 + near * float(rng.choice([-1, 1]))]
        return [Mark(piece.ring_line(side), closed=True) for side in sides]
    return [Mark(piece.contour(_level(rng, piece, settings)), closed=True)]


@STYLES.register("spiral")
def spiral(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Follow the border from inside and wind towards the deepest place.

    Where winding would leave the piece (crescents), the border is followed only.
    """
    if piece.is_ring:
        return centreline(rng, piece, settings)
    around = piece.contour(_level(rng, piece, settings))
    if len(around) < 8:
        return [Mark(around)]
    deepest = np.array(np.unravel_index(int(np.argmax(piece.depth)), piece.mask.shape)) * np.asarray(piece.scale)
    turns = float(rng.uniform(0.9, 1.9))
    count = int(turns * len(around))
    order = np.arange(count) % len(around)
    order = (order + int(rng.integers(len(around)))) % len(around)
    path = around[order if rng.random() < 0.5 else order[::-1]]
    left = 1 - (1 - float(rng.uniform(0.05, 0.4))) * np.linspace(0, 1, count) ** float(rng.uniform(1.0, 2.0))
    wound = deepest + (path - deepest) * left[:, None]
    if piece.contains(wound).mean() < 0.9:
        return [Mark(around, closed=True)]
    return [Mark(wound)]


@STYLES.register("interior-border")
def interior_border(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Follow the border from inside and draw a curve in the middle (the scribbles of Gotkowski et al. 2024).

    How much of the border is followed is the setting `length`; the study follows a part of it.
    """
    border = contour(rng, piece, settings)
    if piece.is_ring:
        return border
    return border + curve(rng, piece, settings)


@STYLES.register("inside-outside")
def inside_outside(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Follow the border on both sides: the structure inside, background outside."""
    away = settings.background.outline_distance + settings.thickness / 2
    return [*contour(rng, piece, settings), *outline(piece, away)]


def outline(piece: Piece, distance: float) -> list[Mark]:
    """Return the line around a piece at a distance in units, as a background stroke; holes are left alone."""
    rim = [int(np.ceil(distance / size)) + 2 for size in piece.scale]
    body = np.pad(piece.mask | piece.holes, [(pad, pad) for pad in rim])
    line = longest_contour(distance_inside(~body, piece.scale), max(distance, 0.5))
    if line is None:
        return []
    return [Mark((line - rim) * np.asarray(piece.scale), closed=True, outside=True)]


def _level(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> float:
    """Depth in units at which a border is followed: never so near that the pen would cross it if it can be helped."""
    share = float(np.clip(rng.normal(settings.depth, 0.1), 0.0, 0.9))
    level = max(share * piece.half_width, 0.5 * settings.thickness + 0.5)
    return min(level, max(0.9 * piece.half_width, 0.5))
