"""The rules that turn what a data set shows into a plan. Each rule is one function and says its reason as a note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from medcl.data.grid import COARSE_RATIO
from medcl.data.survey import HOUNSFIELD_MINIMUM, ChannelSurvey, Survey, looks_like_ct
from medcl.errors import SettingsError

Orientation = Literal["as-stored", "LPS"]
Spacing = tuple[float | None, float, float]

THICK_RATIO = 3.0
"""Slices at least this many times thicker than a pixel is wide are segmented one by one."""

FEWEST_SLICES = 8
"""A volume with fewer slices than this has too little depth for a 3D network."""

LARGEST_FIELD = 256
"""The median field of view takes at most this many voxels along an axis: what a laptop can train on."""

LARGEST_PATCH_2D = 160
LARGEST_PATCH_3D = 64 * 96 * 96

LEVELS = 5
"""Resolution levels of a network, the finest included, where the patch is large enough."""

SMALLEST_GRID = 4
"""No axis of a volume is halved below this many voxels of a patch (2: of a slice)."""

THICK_FOR_VIEWS = 2.0
"""Slices this many times thicker than a pixel is wide make views along other axes mostly interpolation."""

MANY_ZEROS = 0.25
"""From this share of exact zeros on, zero means blank background."""


def choose_ndim(facts: Survey, wish: Literal["auto", 2, 3], notes: list[str]) -> Literal[2, 3]:
    """Choose 2D where slices are single, few or thick, else 3D; a wish is followed where it is possible."""
    slices = float(np.median(facts.sizes[:, 0]))
    ratio = float(np.median(facts.spacings_mm[:, 0] / facts.spacings_mm[:, 1:].mean(axis=1)))
    if wish == 3 and slices < 2:
        raise SettingsError("ndim: expected volumes for 3D, got single slices; use ndim 2.")
    if wish != "auto":
        return wish
    if slices < 2:
        return 2
    if ratio >= THICK_RATIO:
        notes.append(f"2D: slices are {ratio:.1f} times thicker than pixels are wide (limit {THICK_RATIO:g}).")
        return 2
    if slices < FEWEST_SLICES:
        notes.append(f"2D: {slices:g} slices per case are too few for a 3D network (limit {FEWEST_SLICES}).")
        return 2
    return 3


def check_slices(facts: Survey, ndim: Literal["auto", 2, 3], *, context: int, views: Sequence[str]) -> None:
    """Refuse neighbouring slices or other views where there are none.

    Args:
        facts: What the data set shows.
        ndim: The user's wish.
        context: Neighbours on each side.
        views: Axes across which volumes are sliced.

    Raises:
        SettingsError: The images are single slices, a 3D network is wanted too, or an axis is unknown.
    """
    if not views or not set(views) <= set("zyx"):
        raise SettingsError(f"views: expected some of z, y, x, got {list(views)}.")
    turned = tuple(views) != ("z",)
    asked = " and ".join(name for name, wanted in (("context", context > 0), ("views", turned)) if wanted)
    if asked and ndim == 3:
        raise SettingsError(f"{asked}: expected none in 3D, a 3D network sees all slices; leave out plan.ndim 3.")
    if asked and np.median(facts.sizes[:, 0]) < 2:
        raise SettingsError(f"{asked}: expected volumes, got single slices, which have no neighbours; leave it out.")


def choose_orientation(facts: Survey, ndim: Literal[2, 3], notes: list[str]) -> Orientation:
    """Choose LPS for volumes without a clear slice axis if all lie close to the patient's axes, else as stored.

    Thick slices stay as stored: their plane was chosen for the organ, and turning them would cut across it.
    """
    if np.median(facts.sizes[:, 0]) < 2:
        return "as-stored"
    anisotropy = float(np.median(facts.spacings_mm.max(axis=1) / np.median(facts.spacings_mm, axis=1)))
    if ndim == 2 and anisotropy >= COARSE_RATIO:
        return "as-stored"
    if not facts.canonical:
        notes.append("As stored: some cases lie oblique to the patient's axes, so there is no common orientation.")
        return "as-stored"
    return "LPS"


def choose_spacing(
    facts: Survey,
    ndim: Literal[2, 3],
    orientation: Orientation,
    wish: float | Sequence[float | None] | None,
    notes: list[str],
    *,
    cubes: bool = False,
) -> Spacing:
    """Choose the median spacing, coarsened until the median field of view takes at most `LARGEST_FIELD` voxels.

    In 2D pixels are square. In 3D the slices are thinned out too where they would be finer than the pixels. With
    `cubes` voxels are cubes, so that slices across any axis have square pixels of the same size.
    """
    sizes, spacings = _oriented(facts, orientation)
    if wish is not None:
        z, y, x = _spacing_from(wish, ndim)
        if cubes:
            _note_thick_views(float(np.median(spacings[:, 0])) / y, notes)
        return (y if cubes and z is None else z), y, x
    fields = sizes * spacings
    plane = np.sqrt(spacings[:, 1] * spacings[:, 2])
    median = float(np.median(plane))
    pixel = max(median, float(np.median(fields[:, 1:].max(axis=1))) / LARGEST_FIELD)
    if pixel > 1.01 * median:
        notes.append(
            f"Pixels coarsened from {median:.3g} to {pixel:.3g} mm: the field of view takes {LARGEST_FIELD} pixels."
        )
    if cubes:
        _note_thick_views(float(np.median(spacings[:, 0])) / pixel, notes)
        return _rounded(pixel), _rounded(pixel), _rounded(pixel)
    if ndim == 2:
        return None, _rounded(pixel), _rounded(pixel)
    z, y, x = (float(s) for s in np.median(spacings, axis=0))
    z = max(z, float(np.median(fields[:, 0])) / LARGEST_FIELD)
    if pixel > 1.01 * median:  # the plane is coarsened: slices need not be finer than its pixels
        return _rounded(max(z, pixel)), _rounded(max(y, pixel)), _rounded(max(x, pixel))
    return _rounded(z), _rounded(y), _rounded(x)


def typical_size(facts: Survey, orientation: Orientation, spacing_mm: Spacing) -> tuple[int, int, int]:
    """Return the median grid (z, y, x) at the target spacing."""
    sizes, spacings = _oriented(facts, orientation)
    target = np.array([np.nan if s is None else s for s in spacing_mm])
    grids = np.where(np.isnan(target), sizes, np.maximum(1, np.round(sizes * spacings / target)))
    z, y, x = np.round(np.median(grids, axis=0)).astype(int)
    return int(z), int(y), int(x)


def choose_patch(
    size: tuple[int, int, int], spacing_mm: Spacing, ndim: Literal[2, 3], views: Sequence[str] = ("z",)
) -> tuple[int, ...]:
    """Choose a patch that covers the typical grid, as far as memory on a laptop allows.

    In 2D the slices across all `views` fit, with at most `LARGEST_PATCH_2D` along each axis. In 3D the axis that spans
    most millimetres shrinks until the patch has at most `LARGEST_PATCH_3D` voxels.
    """
    if ndim == 2:
        z, y, x = size
        slices = [{"z": (y, x), "y": (z, x), "x": (z, y)}[view] for view in views]
        return tuple(min(LARGEST_PATCH_2D, _next_multiple(n, 16)) for n in np.max(slices, axis=0).tolist())
    steps = [4 if size[0] < 16 else 8 if size[0] < 48 else 16, 16, 16]
    patch = [_next_multiple(n, step) for n, step in zip(size, steps, strict=True)]
    spacing = [s if s is not None else 1.0 for s in spacing_mm]
    while int(np.prod(patch, dtype=np.int64)) > LARGEST_PATCH_3D:
        axis = max((a for a in range(3) if patch[a] > steps[a]), key=lambda a: (patch[a] * spacing[a], a))
        patch[axis] -= steps[axis]
    return tuple(patch)


def choose_pooling(
    spacing_mm: Sequence[float | None], patch: Sequence[int], levels: int = LEVELS
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Choose per axis where a network pools and where its kernels reach across, so that voxels become cubes first.

    Source: the rule of nnU-Net (Isensee et al., Nature Methods 2021): an axis is halved while its spacing is less than
    twice the finest one of the axes that can be halved and enough voxels are left; kernels are 1 along an axis until
    its spacing is less than twice the finest one.

    Args:
        spacing_mm: Spacing per axis (z, y, x); of slices the first may be None.
        patch: Patch per axis, (y, x) or (z, y, x).
        levels: Resolution levels, the finest included.

    Returns:
        At most `levels - 1` strides, fewer where the patch is small, and one kernel more.
    """
    spacing = [mm if mm is not None else 1.0 for mm in spacing_mm][-len(patch) :]
    size, smallest = list(patch), SMALLEST_GRID if len(patch) == 3 else 2
    strides: list[tuple[int, ...]] = []
    kernels = [_kernel(spacing)]
    while len(strides) < levels - 1:
        able = [n >= 2 * smallest for n in size]
        if not any(able):
            break
        finest = min(mm for mm, can in zip(spacing, able, strict=True) if can)
        step = tuple(2 if can and mm < 2 * finest else 1 for mm, can in zip(spacing, able, strict=True))
        spacing = [mm * s for mm, s in zip(spacing, step, strict=True)]
        size = [n // s for n, s in zip(size, step, strict=True)]
        strides.append(step)
        kernels.append(tuple(max(old, new) for old, new in zip(kernels[-1], _kernel(spacing), strict=True)))
    if not strides:  # a network has two levels at least
        strides, kernels = [(1,) * (len(patch) - 2) + (2, 2)], kernels * 2
    return tuple(strides), tuple(kernels)


def _kernel(spacing_mm: Sequence[float]) -> tuple[int, ...]:
    return tuple(3 if mm < 2 * min(spacing_mm) else 1 for mm in spacing_mm)


def choose_normalisation(channel: ChannelSurvey, facts: Survey, notes: list[str]) -> dict[str, Any]:
    """Choose how a channel is scaled: CT by absolute units, pictures by their type's range, all else per case.

    Returns:
        Values of a `ChannelPlan`.
    """
    absolute = bool(np.median(channel.minimum) < HOUNSFIELD_MINIMUM)
    named_ct = looks_like_ct(channel.name)
    eight_bit = all(kind == "uint8" for kind in channel.kinds)
    pictures = bool(np.all(facts.sizes[:, 0] == 1)) and all(kind in ("uint8", "uint16") for kind in channel.kinds)
    lowest = float(np.median(channel.minimum))
    if absolute and (named_ct or _starts_at_air(channel)):
        if not named_ct:
            notes.append(
                f"Channel '{channel.name}' is scaled as CT though not named so: its values start at {lowest:g}, like "
                "Hounsfield units of air; set normalisation to zscore if they are something else."
            )
        return _absolute_units(channel, notes)
    if named_ct and not absolute:
        notes.append(
            f"Channel '{channel.name}' is named CT but holds "
            + ("8-bit values" if eight_bit else f"no values below {HOUNSFIELD_MINIMUM:g}")
            + ", not Hounsfield units, so it is scaled like other images."
        )
    if pictures or (named_ct and eight_bit):
        scale = 255.0 if eight_bit else 65535.0
        values = channel.sample.astype(np.float64) / scale
        return {
            "name": channel.name,
            "normalisation": "unit",
            "scale": scale,
            "mean": _rounded(float(values.mean())),
            "std": _rounded(max(float(values.std()), 1 / scale)),
        }
    zeros = float(np.median(channel.zeros))
    if zeros >= MANY_ZEROS and lowest >= 0:
        notes.append(f"Channel '{channel.name}': {zeros:.0%} exact zeros are left out of the intensity statistics.")
        return {"name": channel.name, "normalisation": "zscore", "skip_zeros": True}
    return {"name": channel.name, "normalisation": "zscore"}


def _starts_at_air(channel: ChannelSurvey) -> bool:
    """Whether most cases have their minimum between -3100 (padding of scanners) and -900 and reach soft tissue."""
    air = (channel.minimum >= -3100) & (channel.minimum <= -900) & (channel.maximum >= 100)
    return bool(air.mean() > 0.5) and not any(kind.startswith("float") and _fraction(channel) for kind in channel.kinds)


def _fraction(channel: ChannelSurvey) -> bool:
    return bool(np.any(channel.sample != np.round(channel.sample)))


def _absolute_units(channel: ChannelSurvey, notes: list[str]) -> dict[str, Any]:
    """Clip to the 0.5 and 99.5 percentiles of the structures' values, as nnU-Net does for CT (Isensee et al., 2021)."""
    values = channel.foreground.astype(np.float64)
    if len(values) < 100:
        notes.append(f"Channel '{channel.name}': too few strokes on structures, so all voxels set the CT window.")
        values = channel.sample.astype(np.float64)
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    clipped = np.clip(values, low, high)
    return {
        "name": channel.name,
        "normalisation": "ct",
        "low": _rounded(low),
        "high": _rounded(high),
        "mean": _rounded(float(clipped.mean())),
        "std": _rounded(max(float(clipped.std()), 1e-3)),
    }


def _note_thick_views(thick: float, notes: list[str]) -> None:
    if thick >= THICK_FOR_VIEWS:
        notes.append(
            f"Views: slices are {thick:.1f} times thicker than pixels are wide, so that most of what the views across "
            f"y and x see is interpolated (limit {THICK_FOR_VIEWS:g})."
        )


def _spacing_from(wish: float | Sequence[float | None], ndim: Literal[2, 3]) -> Spacing:
    values: list[float | None] = [wish, wish, wish] if isinstance(wish, int | float) else list(wish)
    if len(values) == 2 and ndim == 2:
        values = [None, *values]
    if len(values) != 3 or values[1] is None or values[2] is None or (ndim == 3 and values[0] is None):
        wanted = "one number or (y, x)" if ndim == 2 else "one number or (z, y, x)"
        raise SettingsError(f"spacing_mm: expected {wanted} in mm for {ndim}D, got {wish}.")
    return (None if ndim == 2 else values[0]), values[1], values[2]


def _oriented(facts: Survey, orientation: Orientation) -> tuple[np.ndarray, np.ndarray]:
    if orientation == "LPS":
        return facts.turned_sizes, facts.turned_spacings_mm
    return facts.sizes, facts.spacings_mm


def _next_multiple(length: int, step: int) -> int:
    return max(step, -(-length // step) * step)


def _rounded(value: float) -> float:
    """Round to five digits, so that the JSON is readable."""
    return float(f"{value:.5g}")
