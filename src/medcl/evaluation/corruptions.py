"""Scans as they should not be, made on purpose: what a score of familiarity has to notice.

Five kinds at five severities each. They are functions of an array and a seed, nothing else, and were fixed before any
score was measured on them. Values come back in the units of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medcl.errors import DataError, SettingsError, unknown_name

Volume = NDArray[np.float32]

SEVERITIES = (1, 2, 3, 4, 5)

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation as a share of the image's range; the sizes of ImageNet-C (Hendrycks and Dietterich, ICLR 2019)."""

GHOSTING = (0.5, 0.625, 0.75, 0.875, 1.0)
"""Share of the signal that every n-th line of k-space loses: the default range of TorchIO's RandomGhosting."""

OTHER_SLICES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of the slices that show another part of the body; at least one slice."""

LESION_MM = (5.0, 10.0, 15.0, 20.0, 25.0)
"""Radius of the lesion in mm."""

ORIENTATIONS = ("mirrored left-right", "mirrored up-down", "turned by 180 degrees", "axes swapped", "sliced across y")
"""What the severities of `wrong_orientation` do."""

KINDS = ("noise", "ghosting", "body part", "orientation", "lesion")

_T = TypeVar("_T")


def corrupt(
    kind: str,
    volume: NDArray[np.generic],
    severity: int,
    seed: int,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    centre: Sequence[float] | None = None,
    donors: Sequence[NDArray[np.generic]] = (),
) -> Volume:
    """Return a volume with one of the corruptions.

    Args:
        kind: One of `KINDS`.
        volume: (Z, Y, X), any real numbers; stays as it is.
        severity: 1 (slight) to 5.
        seed: What is random in it.
        spacing_mm: (z, y, x), for the lesion's size.
        centre: Voxel (z, y, x) near which the lesion grows; default: the middle.
        donors: Slices (Y, X) of another part of the body, for "body part".

    Raises:
        SettingsError: Unknown kind or severity.
        DataError: "body part" without donors.
    """
    values = np.asarray(volume, dtype=np.float32)
    if kind == "noise":
        return rician_noise(values, severity, seed)
    if kind == "ghosting":
        return ghosting(values, severity, seed)
    if kind == "body part":
        return wrong_body_part(values, severity, seed, donors)
    if kind == "orientation":
        return wrong_orientation(values, severity)
    if kind == "lesion":
        return lesion(values, severity, seed, spacing_mm=spacing_mm, centre=centre)
    raise SettingsError(unknown_name("corruption", kind, KINDS))


def rician_noise(volume: Volume, severity: int, seed: int) -> Volume:
    """Return the magnitude of the image with complex Gaussian noise, as in MR (Gudbjartsson and Patz, MRM 34(6), 1995).

    Args:
        volume: (Z, Y, X); its 1st percentile counts as no signal, so that signed images work too.
        severity: 1 to 5; see `NOISE`.
        seed: Of the noise.
    """
    low, high = _range(volume)
    sigma = np.float32(_at(NOISE, severity) * (high - low))
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *volume.shape), dtype=np.float32) * sigma
    return np.asarray(np.hypot(volume - low + real, imaginary) + low, np.float32)


def ghosting(volume: Volume, severity: int, seed: int) -> Volume:
    """Return the image with ghosts along y, as periodic motion makes them: every n-th line of k-space is weaker.

    The model of RandomGhosting (Perez-Garcia et al., TorchIO, CMPB 208, 2021); the middle 2 % of k-space stays.

    Args:
        volume: (Z, Y, X).
        severity: 1 to 5; see `GHOSTING`.
        seed: Chooses n from 2 to 5, so n - 1 ghosts.
    """
    low, _ = _range(volume)
    rows = volume.shape[1]
    every = int(np.random.default_rng(seed).integers(2, 6))
    weight = np.ones(rows, np.float32)
    middle, kept = rows // 2, max(1, round(0.01 * rows))
    weight[::every] = 1 - _at(GHOSTING, severity)
    weight[middle - kept : middle + kept + 1] = 1
    spectrum = np.fft.fft(volume - low, axis=1) * np.fft.ifftshift(weight)[None, :, None]
    return np.asarray(np.abs(np.fft.ifft(spectrum, axis=1)) + low, np.float32)


def wrong_body_part(volume: Volume, severity: int, seed: int, donors: Sequence[NDArray[np.generic]]) -> Volume:
    """Return the volume with some slices of another part of the body in the place of its own.

    The strangers are stretched to the slice and take its 1st and 99th percentile, so that neither size nor brightness
    gives them away. The slices are neighbours, from one end of the volume, as where a scan reaches too far.

    Args:
        volume: (Z, Y, X).
        severity: 1 to 5; see `OTHER_SLICES`.
        seed: Chooses the end and the donors.
        donors: Slices (Y, X) of any size.

    Raises:
        DataError: No donors.
    """
    from medcl.data.resample import resize

    if not donors:
        raise DataError("body part: expected slices of another part of the body, got none; give donors=.")
    rng = np.random.default_rng(seed)
    low, high = _range(volume)
    count = max(1, round(_at(OTHER_SLICES, severity) * volume.shape[0]))
    first = 0 if rng.random() < 0.5 else volume.shape[0] - count
    start = int(rng.integers(len(donors)))
    result = volume.copy()
    for k in range(count):
        stranger = resize(np.asarray(donors[(start + k) % len(donors)], np.float32), volume.shape[1:])
        dark, bright = _range(stranger)
        result[first + k] = (stranger - dark) / max(bright - dark, 1e-6) * (high - low) + low
    return result


def wrong_orientation(volume: Volume, severity: int) -> Volume:
    """Return the volume as a wrong header shows it; see `ORIENTATIONS`. The grid keeps its size.

    Args:
        volume: (Z, Y, X). Volumes of one slice cannot be cut across y: they are swapped and mirrored in its place.
        severity: 1 to 5.
    """
    from medcl.data.resample import resize

    change = _at(ORIENTATIONS, severity)
    depth, height, width = volume.shape
    if change == "mirrored left-right":
        return np.ascontiguousarray(volume[:, :, ::-1])
    if change == "mirrored up-down":
        return np.ascontiguousarray(volume[:, ::-1])
    if change == "turned by 180 degrees":
        return np.ascontiguousarray(volume[:, ::-1, ::-1])
    if change == "axes swapped" or depth == 1:
        swapped = volume.transpose(0, 2, 1)
        swapped = swapped if change == "axes swapped" else swapped[:, :, ::-1]
        return np.stack([resize(np.ascontiguousarray(plane), (height, width)) for plane in swapped])
    return resize(np.ascontiguousarray(volume.transpose(1, 0, 2)), (depth, height, width))


def lesion(
    volume: Volume,
    severity: int,
    seed: int,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    centre: Sequence[float] | None = None,
) -> Volume:
    """Return the volume with a mass in it: a bright, lumpy rim around a dark core, as a tumour with necrosis shows.

    Args:
        volume: (Z, Y, X).
        severity: 1 to 5; see `LESION_MM`. At least the nearest slice shows it.
        seed: Its shape, and where it lies: up to 15 mm from the centre along each axis in the slice.
        spacing_mm: (z, y, x).
        centre: Voxel (z, y, x); default: the middle of the volume.
    """
    inside, depth = lesion_shape(volume.shape, severity, seed, spacing_mm=spacing_mm, centre=centre)
    low, high = _range(volume)
    rng = np.random.default_rng(seed + 1)
    lumps = rng.normal(0, 0.08, volume.shape).astype(np.float32)
    core = depth < 0.6
    tissue = np.where(core, low + (0.1 + lumps) * (high - low), low + (1.0 + lumps) * (high - low))
    return np.where(inside, tissue, volume).astype(np.float32)


def lesion_shape(
    size: Sequence[int],
    severity: int,
    seed: int,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    centre: Sequence[float] | None = None,
) -> tuple[NDArray[np.bool_], Volume]:
    """Return where `lesion` lies, (Z, Y, X) bool, and the distance from its middle, 1 at its edge."""
    radius = _at(LESION_MM, severity)
    rng = np.random.default_rng(seed)
    middle = np.asarray(centre if centre is not None else [(n - 1) / 2 for n in size], float)
    middle = middle + np.array([0.0, *rng.uniform(-15, 15, 2)]) / np.asarray(spacing_mm, float)
    middle = np.clip(np.round(middle), 0, np.asarray(size) - 1)
    z, y, x = (
        ((np.arange(n) - m) * step).astype(np.float32) for n, m, step in zip(size, middle, spacing_mm, strict=True)
    )
    angle = np.arctan2(y[:, None], x[None, :])
    waves = sum(rng.uniform(0.05, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    in_plane = np.hypot(y[:, None], x[None, :]) / (radius * (1 + waves))
    depth = np.sqrt(in_plane[None] ** 2 + (z[:, None, None] / radius) ** 2).astype(np.float32)
    return depth <= 1, depth


def _range(volume: NDArray[np.generic]) -> tuple[float, float]:
    """Return the 1st and 99th percentile; a constant image counts as one unit wide."""
    low, high = (float(v) for v in np.percentile(np.asarray(volume, np.float32), (1, 99)))
    return (low, high) if high > low else (low, low + 1.0)


def _at(values: Sequence[_T], severity: int) -> _T:
    if severity not in SEVERITIES:
        raise SettingsError(f"severity: expected one of {', '.join(map(str, SEVERITIES))}, got {severity}.")
    return values[severity - 1]
