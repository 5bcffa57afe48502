"""What interactive tools ask for: clicks and boxes."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.pieces import Piece
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import STYLES, Mark

_MOST_CLICKS = 3


@STYLES.register("clicks")
def clicks(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Click once to three times where the piece is deep."""
    weight = piece.depth[piece.mask] ** 2
    number = min(int(rng.integers(1, _MOST_CLICKS + 1)), len(weight))
    chosen = rng.choice(len(weight), size=number, replace=False, p=weight / weight.sum())
    return [Mark(piece.pixels[index][None], steady=True) for index in chosen]


@STYLES.register("boxes")
def boxes(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Draw a box around the piece as background, and click its deepest place.

    A box does not say which pixels in it are the structure. What a map of strokes can say of it is that its rim, just
    outside the tight box, is not; so the rim is a background stroke, broken where other structures are.
    """
    scale = np.asarray(piece.scale)
    away = 0.5 * settings.thickness + 0.5 + rng.uniform(0, 0.1, 4) * np.sqrt(piece.area)
    low, high = piece.pixels.min(axis=0), piece.pixels.max(axis=0)
    top, left, bottom, right = low[0] - away[0], low[1] - away[1], high[0] + away[2], high[1] + away[3]
    rim = np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
    deepest = np.array(np.unravel_index(int(np.argmax(piece.depth)), piece.mask.shape)) * scale
    return [Mark(deepest[None], steady=True), Mark(rim, outside=True, steady=True)]
