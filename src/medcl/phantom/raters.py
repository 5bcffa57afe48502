"""Made-up raters: each draws the true structures in a way of their own, so that fusion can be measured."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from medcl.errors import SettingsError, unknown_name
from medcl.settings import Settings


class RaterSettings(Settings):
    """How a made-up rater departs from the truth. Lengths in pixels of the plane."""

    offset: float = Field(0.0, ge=-20, le=20, description="Borders this far outside (above 0) or inside the true ones.")
    wobble: float = Field(0.5, ge=0, le=20, description="Standard deviation of the border's place, smooth along it.")
    wavelength: float = Field(8.0, ge=1, le=200, description="Length of the wobbles.")
    misses: float = Field(0.0, ge=0, le=1, description="Chance, per case, that the smallest structure is not drawn.")
    specks: float = Field(0.0, ge=0, le=0.5, description="Share of pixels near structures that get any class.")


RATERS: dict[str, RaterSettings] = {
    "careful": RaterSettings(wobble=0.4),
    "large": RaterSettings(offset=1.5, wobble=0.4),
    "small": RaterSettings(offset=-1.0, wobble=0.4),
    "misses": RaterSettings(wobble=0.5, misses=1.0),
    "noisy": RaterSettings(wobble=1.5, wavelength=5.0, specks=0.05),
}
"""Made-up people by name."""

_NEAR_PX = 6.0
"""Specks lie no farther than this from a structure."""


def check_raters(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that are not in `RATERS`.

    Raises:
        SettingsError: Lists the known ones.
    """
    for name in names:
        if name not in RATERS:
            raise SettingsError(unknown_name("phantom rater", name, RATERS))
    return names


def rate(label: np.ndarray, settings: RaterSettings, rng: np.random.Generator) -> np.ndarray:
    """Return what a rater would draw where the truth is `label`.

    Source: derived. Each structure's signed distance to its border, slice by slice, is moved by the rater's offset and
    a smooth random field; a pixel gets the structure it is deepest in, background outside all.

    Args:
        label: (Z, Y, X) class indices, fully labelled.
        settings: The rater.
        rng: Source of randomness.

    Returns:
        int16 (Z, Y, X) class indices.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    structures, counts = np.unique(label[label > 0], return_counts=True)
    drawn = [int(c) for c in structures]
    if len(drawn) and rng.random() < settings.misses:
        drawn.remove(int(structures[np.argmin(counts)]))
    result = np.zeros(label.shape, np.int16)
    for z, truth in enumerate(label):
        deepest = np.zeros(truth.shape)
        for c in drawn:
            inside = truth == c
            if not inside.any():
                continue
            depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
            depth = np.where(inside, depth - 0.5, depth + 0.5)
            wave = gaussian_filter(rng.standard_normal(truth.shape), settings.wavelength / 2)
            wave *= settings.wobble / max(float(wave.std()), 1e-9)
            depth = depth + settings.offset + wave
            result[z][depth > deepest] = c
            deepest = np.maximum(deepest, depth)
        if settings.specks and len(drawn):
            near = distance_transform_edt(result[z] == 0) <= _NEAR_PX
            hit = near & (rng.random(truth.shape) < settings.specks)
            result[z][hit] = rng.choice([0, *drawn], int(hit.sum()))
    return result
