"""One slice: which strokes somebody draws in it, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medcl.scribbles.background import around, blind_loop, far_lines
from medcl.scribbles.hand import draw_by_hand, length_of, resample, runs
from medcl.scribbles.ink import Stroke
from medcl.scribbles.pieces import Piece, inside, pieces_of
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.styles import STYLES, Mark
from medcl.scribbles.styles.mix import choose

_MOST_GROUPS = 6
_STRUCTURE, _BACKGROUND, _CLASS = 3, 4, 5  # what a stream of random numbers is for


@dataclass(frozen=True)
class Plane:
    """The grid of slices across one axis.

    Attributes:
        axis: 0 = z, 1 = y, 2 = x.
        scale: Size of a pixel along the slice's two axes in units of the finer one.
        unit_mm: Length of a unit in mm.
    """

    axis: int
    scale: tuple[float, float]
    unit_mm: float

    @classmethod
    def across(cls, axis: int, spacing_mm: tuple[float, float, float]) -> Plane:
        """Return the plane of slices across an axis of a volume with a spacing (z, y, x)."""
        first, second = (mm for other, mm in enumerate(spacing_mm) if other != axis)
        unit = min(first, second)
        return cls(axis, (first / unit, second / unit), unit)


@dataclass(frozen=True)
class Habits:
    """What one person does alike in all slices of a case.

    Attributes:
        thickness: Factor on the width of strokes.
        blob, ring: Favourite styles for pieces without and with a hole, where the style is mix.
    """

    thickness: float
    blob: str
    ring: str

    @classmethod
    def draw(cls, rng: np.random.Generator, settings: ScribbleSettings) -> Habits:
        """Draw a person's habits."""
        factor = float(np.exp(settings.thickness_spread * np.clip(rng.standard_normal(), -2.5, 2.5)))
        return cls(factor, choose(rng, settings.mix), choose(rng, settings.ring_mix))


def strokes_in(
    view: np.ndarray,
    plane: Plane,
    index: int,
    settings: ScribbleSettings,
    habits: Habits,
    seed: int,
    ignore: int,
    background: int,
    centre: np.ndarray,
) -> Iterator[Stroke]:
    """Yield the strokes of one slice: each structure's first, then the background's, then what is left.

    Args:
        view: Class values (H, W).
        plane: Grid of the slice.
        index: Number of the slice.
        settings: How to draw.
        habits: The person's habits.
        seed: Seed of the case.
        ignore: Value of pixels to leave alone.
        background: Value of the background.
        centre: Middle of all structures of the case in the slice, in pixels: where people draw in empty slices.
    """
    key = (seed, plane.axis, index)
    structure = (view != background) & (view != ignore)
    queues: list[list[Stroke]] = []
    outside: list[tuple[Piece, Mark]] = []
    for value in np.unique(view[structure]):
        mask = view == value
        if settings.missing_classes > 0:
            coin = _stream(key, _CLASS, int(np.argmax(mask)))
            if coin.random() < settings.missing_classes:
                continue
        for piece in pieces_of(mask, plane.scale, settings.minimum_area, settings.most_pieces):
            rng = _stream(key, _STRUCTURE, _place(piece, view.shape))
            marks = _marks(rng, piece, settings, habits)
            outside += [(piece, mark) for mark in marks if mark.outside]
            strokes = [
                stroke
                for mark in marks
                if not mark.outside
                for stroke in _structure_strokes(rng, piece, mark, int(value), plane, index, settings, habits)
            ]
            if strokes:
                queues.append(strokes)
    # the order in which people take structures must not depend on their values
    queues.sort(key=lambda strokes: (-len(strokes[0].points), float(strokes[0].points[0] @ (1.0, 1e-3))))
    rest = _background_strokes(view, structure, outside, plane, index, settings, habits, key, background, centre)
    yield from (strokes[0] for strokes in queues)
    yield from rest
    yield from (stroke for strokes in queues for stroke in strokes[1:])


def _marks(rng: np.random.Generator, piece: Piece, settings: ScribbleSettings, habits: Habits) -> list[Mark]:
    name = settings.style
    if name == "mix" and rng.random() < settings.consistency:
        name = habits.ring if piece.is_ring else habits.blob
    return STYLES.get(name)(rng, piece, settings)


def _structure_strokes(
    rng: np.random.Generator,
    piece: Piece,
    mark: Mark,
    value: int,
    plane: Plane,
    index: int,
    settings: ScribbleSettings,
    habits: Habits,
) -> Iterator[Stroke]:
    radius = 0.5 * max(settings.thickness * habits.thickness * float(rng.uniform(0.9, 1.1)), 1.0)
    origin = np.asarray(piece.origin) * piece.scale
    careless = settings.mistakes > 0 and rng.random() < settings.mistakes
    wander = settings.wobble * min(piece.half_width, 12.0)
    lines = [resample(mark.points)]
    if not mark.steady:
        lines = draw_by_hand(rng, mark.points, settings, closed=mark.closed, wander=wander)
    if careless:
        angle = rng.uniform(0, 2 * np.pi)
        slip = (piece.half_width + 2 * radius) * float(rng.uniform(0.6, 1.6))
        lines = [line + slip * np.array([np.sin(angle), np.cos(angle)]) for line in lines]
    else:
        lines = [part for line in lines for part in _kept(line, piece.contains(line))]
        lines = lines or [piece.pixels[np.argmax(piece.depth[piece.mask])][None]]
    for line in lines:
        yield Stroke(value, plane.axis, index, line + origin, radius, careless, length_of(line) * plane.unit_mm)


def _background_strokes(
    view: np.ndarray,
    structure: np.ndarray,
    outside: list[tuple[Piece, Mark]],
    plane: Plane,
    index: int,
    settings: ScribbleSettings,
    habits: Habits,
    key: tuple[int, int, int],
    background: int,
    centre: np.ndarray,
) -> Iterator[Stroke]:
    """Yield background strokes: those that a style asked for, around each group, in holes, far away."""
    allowed = view == background
    if not allowed.any():
        return
    wishes = settings.background
    widths = {"outline": wishes.outline_thickness, "loop": wishes.loop_thickness}

    def stroked(rng: np.random.Generator, mark: Mark, origin: np.ndarray, kind: str) -> Iterator[Stroke]:
        width = widths.get(kind) or settings.thickness
        radius = 0.5 * max(width * habits.thickness * float(rng.uniform(0.9, 1.1)), 1.0)
        if mark.steady:
            lines = [resample(mark.points)]
        else:
            wander = 0.5 * settings.wobble * (wishes.outline_distance + settings.thickness)
            lines = draw_by_hand(rng, mark.points, settings, closed=mark.closed, wander=wander)
        for line in lines:
            moved = line + origin
            for part in _kept(moved, inside(allowed, moved, plane.scale)):
                yield Stroke(background, plane.axis, index, part, radius, False, length_of(part) * plane.unit_mm)

    for piece, mark in outside:
        rng = _stream(key, _BACKGROUND, _place(piece, view.shape))
        yield from stroked(rng, mark, np.asarray(piece.origin) * piece.scale, "outline")
    nothing = np.zeros(2)
    rng = _stream(key, _BACKGROUND, view.size)
    if structure.any():
        for group in pieces_of(structure, plane.scale, 1, _MOST_GROUPS):
            own = _stream(key, _BACKGROUND, view.size + 1 + _place(group, view.shape))
            origin = np.asarray(group.origin) * group.scale
            for mark, kind in around(own, group, settings):
                yield from stroked(own, mark, origin, kind)
            if wishes.holes and group.is_ring:
                yield from _hole_strokes(own, group, allowed, plane, index, settings, habits, background)
    elif wishes.loops > 0 or wishes.outlines > 0:
        size = (view.shape[0] * plane.scale[0], view.shape[1] * plane.scale[1])
        yield from stroked(rng, blind_loop(rng, centre * plane.scale, size, settings), nothing, "loop")
    for mark in far_lines(rng, ~allowed, plane.scale, settings):
        yield from stroked(rng, mark, nothing, "far")


def _hole_strokes(
    rng: np.random.Generator,
    group: Piece,
    allowed: np.ndarray,
    plane: Plane,
    index: int,
    settings: ScribbleSettings,
    habits: Habits,
    background: int,
) -> Iterator[Stroke]:
    """Yield strokes in background that a group encloses, drawn like a structure."""
    for hole in pieces_of(group.holes, plane.scale, max(settings.minimum_area, 9.0), 1):
        moved = Piece(hole.mask, (hole.origin[0] + group.origin[0], hole.origin[1] + group.origin[1]), hole.scale)
        at = np.argwhere(hole.mask)[0] + moved.origin
        if not allowed[at[0], at[1]]:
            continue
        steady = settings.model_copy(update={"mistakes": 0.0})
        for mark in _marks(rng, moved, settings, habits):
            if not mark.outside:
                yield from _structure_strokes(rng, moved, mark, background, plane, index, steady, habits)


def _kept(line: np.ndarray, fits: np.ndarray) -> list[np.ndarray]:
    """Return the stretches of a line that lie where they may; crumbs beside a longer stretch are left out."""
    if fits.all():
        return [line]
    stretches = runs(fits)
    if not stretches:
        return []
    longest = max(run.stop - run.start for run in stretches)
    return [line[run] for run in stretches if run.stop - run.start >= max(4, 0.2 * longest)] or [
        line[run] for run in stretches if run.stop - run.start == longest
    ]


def _place(piece: Piece, shape: tuple[int, ...]) -> int:
    """Return the number of a piece's first pixel in the slice."""
    row, column = divmod(int(np.argmax(piece.mask)), piece.mask.shape[1])
    return (row + piece.origin[0]) * shape[1] + column + piece.origin[1]


def _stream(key: tuple[int, int, int], purpose: int, place: int) -> np.random.Generator:
    return np.random.default_rng([*key, purpose, place])
