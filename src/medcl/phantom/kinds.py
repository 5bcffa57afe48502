"""The kinds of made-up studies: what each contains and how one case of it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medcl.phantom import abdomen, heart, scar
from medcl.phantom.canvas import Rng

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]
VolumeMaker = Callable[[Rng, Size, Spacing, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Kind:
    """One kind of study.

    Attributes:
        channel: Name of the image channel.
        classes: Class names by index, background first.
        groups: Named unions of class indices.
        make: (rng, size, spacing_mm, rotation) -> image float32 (Z, Y, X), label int16 (Z, Y, X).
        slices: Default number of slices of a volume.
        stack_mm: Extent along z that a volume covers.
        field_of_view_mm: Extent along y and x.
        axes: Direction cosines of the untilted grid, 3 x 3 row-major as in `Geometry.direction`.
        rotation_degrees: Usual standard deviation of the in-plane rotation.
        display: Intensities (low, high) that become 0..255 in 8-bit files; None: 0 and the 99.5th percentile.
    """

    channel: str
    classes: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    make: VolumeMaker
    slices: int
    stack_mm: float
    field_of_view_mm: float
    axes: tuple[float, ...]
    rotation_degrees: float = 10.0
    display: tuple[float, float] | None = None


def _short_axis() -> tuple[float, ...]:
    """Axes of a usual short-axis plan: z runs from apex to base, that is to the right, up and back (LPS)."""
    z = np.array([-0.64, 0.50, 0.58])
    x = np.array([0.68, 0.71, 0.0])
    x -= z * (x @ z) / (z @ z)
    z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
    return tuple(float(v) for v in np.stack([x, np.cross(z, x), z], axis=1).ravel())


def _cine_heart(rng: Rng, size: Size, spacing_mm: Spacing, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return heart.heart_volume(rng, size, spacing_mm, rotation=rotation, contrast="cine")


def _scarred_heart(rng: Rng, size: Size, spacing_mm: Spacing, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scar.scar_volume(rng, size, spacing_mm, rotation=rotation)


def _abdomen(rng: Rng, size: Size, spacing_mm: Spacing, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return abdomen.abdomen_volume(rng, size, spacing_mm, rotation=rotation)


_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

KINDS: dict[str, Kind] = {
    "heart": Kind(
        channel="cine MR",
        classes=heart.CLASSES,
        groups=heart.GROUPS,
        make=_cine_heart,
        slices=8,
        stack_mm=heart.STACK_MM,
        field_of_view_mm=heart.FIELD_OF_VIEW_MM,
        axes=_short_axis(),
    ),
    "scar": Kind(
        channel="LGE MR",
        classes=scar.CLASSES,
        groups=scar.GROUPS,
        make=_scarred_heart,
        slices=8,
        stack_mm=heart.STACK_MM,
        field_of_view_mm=heart.FIELD_OF_VIEW_MM,
        axes=_short_axis(),
    ),
    "abdomen": Kind(
        channel="CT",
        classes=abdomen.CLASSES,
        groups=abdomen.GROUPS,
        make=_abdomen,
        slices=24,
        stack_mm=abdomen.STACK_MM,
        field_of_view_mm=abdomen.FIELD_OF_VIEW_MM,
        axes=_IDENTITY,
        rotation_degrees=3.0,
        display=(-160.0, 240.0),
    ),
}
