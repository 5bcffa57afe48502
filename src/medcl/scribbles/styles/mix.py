"""Any of several styles, by weight."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.pieces import Piece
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import STYLES, Mark


@STYLES.register("mix")
def mix(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Stroke the piece in a style drawn from `ring_mix` or `mix`."""
    name = choose(rng, settings.ring_mix if piece.is_ring else settings.mix)
    return STYLES.get(name)(rng, piece, settings)


def choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Draw a name with chances in proportion to the weights."""
    names = list(weights)
    share = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(share, rng.random() * share[-1], side="right").clip(max=len(names) - 1))]
