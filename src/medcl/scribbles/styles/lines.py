"""Free lines: straight between two places, curved through a few, and to and fro."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from medcl.scribbles.pieces import Piece
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import STYLES, Mark
from medcl.scribbles.styles.centreline import axis_of, centreline


@STYLES.register("line")
def line(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Draw a straight line between two random places (ScribblePrompt, Wong et al. 2024, line scribbles)."""
    return [Mark(_longest(piece, [_places(rng, piece, 2) for _ in range(4)]))]


@STYLES.register("curve")
def curve(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Draw a smooth curve through three to five random places, from one end of the piece towards the other.

    A ring is followed around: nobody draws through the hole.
    """
    if piece.is_ring:
        return centreline(rng, piece, settings)
    tries = [_through(_places(rng, piece, int(rng.integers(3, 6)))) for _ in range(2)]
    return [Mark(_longest(piece, tries))]


@STYLES.register("zigzag")
def zigzag(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings) -> list[Mark]:
    """Go to and fro across the piece while moving along it; pieces too narrow for that are followed."""
    if piece.is_ring or piece.is_thin or piece.half_width < 2.5 * settings.thickness:
        return centreline(rng, piece, settings)
    points = piece.pixels
    axis = axis_of(rng, points, turn=0.5)
    side = np.array([-axis[1], axis[0]])
    along, across = points @ axis, points @ side
    pitch = float(rng.uniform(2.2, 4.0)) * settings.thickness + 0.06 * float(np.ptp(along))
    stations = int(np.clip(np.ptp(along) / pitch, 3, 16))
    edges = np.linspace(along.min(), along.max() + 1e-6, stations + 1)
    turning = []
    for number, (low, high) in enumerate(pairwise(edges)):
        there = across[(along >= low) & (along < high)]
        if len(there):
            reach = float(rng.uniform(0.6, 0.85)) * np.ptp(there) / 2
            middle = (there.min() + there.max()) / 2
            turning.append((low + high) / 2 * axis + (middle + (reach if number % 2 else -reach)) * side)
    return [Mark(np.array(turning))]


def _places(rng: np.random.Generator, piece: Piece, number: int) -> np.ndarray:
    """Random places (N, 2) in the piece, ordered along its axis; deep ones are likelier."""
    weight = piece.depth[piece.mask] ** 1.5
    chosen = rng.choice(len(weight), size=min(number, len(weight)), replace=False, p=weight / weight.sum())
    points = piece.pixels[np.sort(chosen)]
    found: np.ndarray = points[np.argsort(points @ axis_of(rng, piece.pixels), kind="stable")]
    return found


def _through(points: np.ndarray) -> np.ndarray:
    """Smooth curve through points (N, 2), at the parameter of centripetal distance so that it makes no loops."""
    from scipy.interpolate import PchipInterpolator

    if len(points) < 3:
        return points
    steps = np.sqrt(np.linalg.norm(np.diff(points, axis=0), axis=1)) + 1e-6
    at = np.concatenate([[0.0], np.cumsum(steps)])
    curve: np.ndarray = PchipInterpolator(at, points)(np.linspace(0, at[-1], 24))
    return curve


def _longest(piece: Piece, lines: list[np.ndarray]) -> np.ndarray:
    """Return the line of which most lies inside the piece."""

    def held(line: np.ndarray) -> float:
        length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
        along = np.linspace(0, len(line) - 1, 24)
        dense = np.stack([np.interp(along, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1)
        return length * float(piece.contains(dense).mean()) ** 2

    return max(lines, key=held)
