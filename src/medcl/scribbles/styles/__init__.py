"""Styles: from one piece of a structure to the lines that a person would draw in it.

A style is one function, registered by name:

    @STYLES.register("centreline")
    def centreline(rng, piece, settings) -> list[Mark]: ...

It gives ideal lines; the hand (`medcl.scribbles.hand`) cuts, breaks and shakes them and the simulator keeps them inside
their structure. A module of your own adds one by the entry point group `medcl.stroke style`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medcl.registry import Registry

if TYPE_CHECKING:
    from medcl.scribbles.pieces import Piece
    from medcl.scribbles.settings import ScribbleSettings

_HERE = "medcl.scribbles.styles"


@dataclass(frozen=True)
class Mark:
    """One line that somebody means to draw.

    Attributes:
        points: (N, 2) of (y, x) in units of the piece's window (`Piece.scale`); a single point is a click.
        closed: Whether the end meets the start.
        outside: Whether it is a background stroke outside the piece.
        steady: Whether it is drawn as it is: no cut, no gap, no wander (clicks, boxes).
    """

    points: np.ndarray
    closed: bool = False
    outside: bool = False
    steady: bool = False


class Style(Protocol):
    """A way of stroking one piece of a structure."""

    def __call__(self, rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
        """Return the lines for one piece, at least one."""
        ...


STYLES: Registry[Style] = Registry(
    "stroke style",
    {
        "mix": f"{_HERE}.mix",
        "centreline": f"{_HERE}.centreline",
        "line": f"{_HERE}.lines",
        "curve": f"{_HERE}.lines",
        "zigzag": f"{_HERE}.lines",
        "contour": f"{_HERE}.contours",
        "spiral": f"{_HERE}.contours",
        "interior-border": f"{_HERE}.contours",
        "inside-outside": f"{_HERE}.contours",
        "clicks": f"{_HERE}.prompts",
        "boxes": f"{_HERE}.prompts",
    },
)
"""All styles by name."""
