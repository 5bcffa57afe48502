"""Strokes as people draw them, from a dense label: `simulate` gives the map, `draw` also each stroke and its cost.

Everything random is a pure function of the seed and of the place: a piece's strokes depend on the seed, the slice and
the piece's first pixel, not on class values, other structures or other slices. Exchanging two classes exchanges their
strokes, and a larger budget adds strokes without moving those of a smaller one.

Whoever learns from a slice takes a class without a stroke in it for absent. So nobody leaves a slice in the middle:
where the budget ends before every structure class of the slice has a stroke, the slice is left out, unless it is the
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.scribbles.budget import Ledger, shorten, spread_order
from medcl.scribbles.ink import Stroke, ink
from medcl.scribbles.plane import Habits, Plane, strokes_in
from medcl.scribbles.settings import ScribbleSettings


@dataclass(frozen=True, eq=False)
class Drawing:
    """What somebody drew on one case.

    Attributes:
        scribble: Integers (Z, Y, X) of the label's type (signed where `ignore` is negative): class values where a
            stroke lies, `ignore` elsewhere.
        strokes: The strokes in the order drawn.
        seconds: What they cost a person by the cost model of the settings.
        slices: Number of slices drawn in.
    """

    scribble: np.ndarray
    strokes: tuple[Stroke, ...]
    seconds: float
    slices: int

    @property
    def length_mm(self) -> float:
        """Length of all strokes in mm."""
        return sum(stroke.length_mm for stroke in self.strokes)


def simulate(
    label: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    settings: ScribbleSettings | None = None,
    seed: int = 0,
    *,
    ignore: int = UNLABELLED,
    background: int = 0,
) -> np.ndarray:
    """Draw strokes on a dense label.

    Args:
        label: Integers (Z, Y, X), or (Y, X) for a single slice; any values. nibabel gives (X, Y, Z): pass `array.T`.
        spacing_mm: Distance between pixel centres (z, y, x), or (y, x) for a single slice, in mm.
        settings: How to draw; `medcl.scribbles.preset(name)` gives settings fitted to real people.
        seed: Same seed, same strokes.
        ignore: Value of *not annotated*: voxels that have it in `label` are never drawn on, and all that is not drawn
            on has it in the result.
        background: Value of the background.

    Returns:
        Integers of the label's shape: class values where a stroke lies, `ignore` elsewhere.

    Raises:
        DataError: The label is not an integer map of two or three axes, or the spacing does not fit it.
    """
    return draw(label, spacing_mm, settings, seed, ignore=ignore, background=background).scribble


def draw(
    label: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    settings: ScribbleSettings | None = None,
    seed: int = 0,
    *,
    ignore: int = UNLABELLED,
    background: int = 0,
) -> Drawing:
    """Draw strokes on a dense label and keep account of them. Arguments and errors as for `simulate`."""
    settings = settings or ScribbleSettings()
    volume, spacing = _checked(label, spacing_mm, ignore, background)
    scribble = np.full(volume.shape, ignore, np.promote_types(volume.dtype, np.min_scalar_type(ignore)))
    axes = drawn_axes(volume.shape, settings)
    planes = {axis: Plane.across(axis, spacing) for axis in axes}
    unit_mm = {axis: plane.unit_mm for axis, plane in planes.items()}
    ledger = Ledger(settings.budget, settings.cost, volume.size, unit_mm)
    habits = Habits.draw(np.random.default_rng([seed, 1]), settings)
    centre = _centre(volume, background, ignore)
    drawn: list[Stroke] = []
    for axis, index in choose_slices(np.random.default_rng([seed, 2]), volume, axes, settings, background, ignore):
        if ledger.spent:
            break
        plane = planes[axis]
        view, ink_view = volume.take(index, axis), np.moveaxis(scribble, axis, 0)[index]
        middle = np.delete(centre, axis)
        first, before, ink_before = len(drawn), copy(ledger), ink_view.copy()
        missed: set[int] = set()
        for stroke in strokes_in(view, plane, index, settings, habits, seed, ignore, background, middle):
            affordable = ledger.afford(stroke)
            if affordable is None:
                missed.add(stroke.value)
                continue
            kept, rows, columns, new = _fit(affordable, view, ink_view, plane, ledger.pixels_left, ignore)
            if kept is None:
                if _fit(stroke, view, ink_view, plane, view.size, ignore)[0] is not None:
                    missed.add(stroke.value)
                continue
            ledger.book(kept, new)
            ink_view[rows, columns] = kept.value
            drawn.append(kept)
        if first and missed - {background} - {stroke.value for stroke in drawn[first:]}:
            del drawn[first:]
            ink_view[...] = ink_before
            ledger = before  # nothing is drawn after this slice, so a shallow copy will do
            break
    result = scribble.reshape(np.shape(label))
    return Drawing(result, tuple(drawn), ledger.seconds, ledger.slices)


def drawn_axes(shape: tuple[int, ...], settings: ScribbleSettings) -> list[int]:
    """Return the axes across which slices are drawn in: z, or all across which a slice is more than a line."""
    if settings.planes == "slices":
        return [0]
    return [0] + [axis for axis in (1, 2) if min(np.delete(shape, axis)) > 1]


def choose_slices(
    rng: np.random.Generator,
    volume: np.ndarray,
    axes: Sequence[int],
    settings: ScribbleSettings,
    background: int,
    ignore: int,
) -> Iterator[tuple[int, int]]:
    """Yield slices (axis, index) in the order of drawing: spread over the volume, the axes in turn.

    Slices with structures come first where a budget may end the work; those without follow. Across y and x as many
    slices are taken as across z, where the volume has more of them.
    """
    structure = (volume != background) & (volume != ignore)
    full: dict[int, list[int]] = {}
    for axis in axes:
        others = tuple(other for other in range(3) if other != axis)
        held = structure.any(axis=others)
        wanted = []
        for here, share in ((np.flatnonzero(held), 1.0), (np.flatnonzero(~held), settings.background.empty_slices)):
            if axis != 0 and share != 1.0:
                continue
            count = min(len(here), int(np.ceil(settings.slices * share * len(here) - 1e-9)))
            if axis != 0:
                count = min(count, len(full[0])) if held[here].all() else 0
            wanted += [int(here[number]) for number in spread_order(rng, len(here))[:count]]
        full[axis] = wanted
    for turn in range(max(len(indices) for indices in full.values())):
        for axis in axes:
            if turn < len(full[axis]):
                yield axis, full[axis][turn]


def _fit(
    stroke: Stroke, view: np.ndarray, drawn: np.ndarray, plane: Plane, pixels_left: int, ignore: int
) -> tuple[Stroke | None, np.ndarray, np.ndarray, int]:
    """Return a stroke, the pixels it may ink and how many of them are new, shortened to the pixels left.

    None in place of the stroke where it may ink none.
    """

    def pixels(points: int) -> tuple[np.ndarray, np.ndarray, int]:
        rows, columns = ink(stroke.points[:points], stroke.radius, plane.scale, view.shape)
        under = view[rows, columns]
        allowed = under != ignore if stroke.careless else under == stroke.value
        rows, columns = rows[allowed], columns[allowed]
        return rows, columns, count_new(rows, columns)

    def count_new(rows: np.ndarray, columns: np.ndarray) -> int:
        if not len(rows):
            return 0
        top, left = int(rows.min()), int(columns.min())
        fresh = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), bool)
        fresh[rows - top, columns - left] = drawn[rows, columns] == ignore
        return int(np.count_nonzero(fresh))

    rows, columns, new = pixels(len(stroke.points))
    if new > pixels_left:
        low, high = 0, len(stroke.points)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if pixels(middle)[2] <= pixels_left else (low, middle)
        stroke = shorten(stroke, low, plane.unit_mm)
        rows, columns, new = pixels(low)
    return (stroke if len(rows) else None), rows, columns, new


def _checked(
    label: np.ndarray, spacing_mm: Sequence[float], ignore: int, background: int
) -> tuple[np.ndarray, tuple[float, float, float]]:
    volume = np.asarray(label)
    if volume.ndim not in (2, 3) or volume.dtype.kind not in "iub":
        raise DataError(
            f"label: expected integers (Z, Y, X) or (Y, X), got {volume.dtype} of shape {volume.shape}; "
            "convert it, for example label.astype('int16')."
        )
    spacing = tuple(float(mm) for mm in spacing_mm)
    if volume.ndim == 2:
        volume, spacing = volume[None], spacing if len(spacing) == 3 else (1.0, *spacing)
    if len(spacing) != 3 or not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise DataError(f"spacing_mm: expected {np.ndim(label)} positive numbers in mm, got {tuple(spacing_mm)}.")
    if ignore == background:
        raise DataError(f"ignore: expected another value than the background's, got {ignore} for both.")
    return (volume.astype(np.uint8) if volume.dtype.kind == "b" else volume), (spacing[0], spacing[1], spacing[2])


def _centre(volume: np.ndarray, background: int, ignore: int) -> np.ndarray:
    """Return the middle (z, y, x) of all structures in pixels; of the volume where there are none."""
    structure = (volume != background) & (volume != ignore)
    middle = (np.array(volume.shape) - 1) / 2
    for axis in range(3):
        held = np.flatnonzero(structure.any(axis=tuple(other for other in range(3) if other != axis)))
        if len(held):
            middle[axis] = (held[0] + held[-1]) / 2
    return middle
