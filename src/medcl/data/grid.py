"""How the grid of one case maps to the grid of a plan, and exactly back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np

from medcl.data.geometry import Geometry
from medcl.errors import DataError

CANONICAL_DEGREES = 30.0
"""Grids whose axes are at most this far from the patient's axes count as canonical."""

COARSE_RATIO = 1.5
"""An axis is the slice axis when its spacing is at least this many times the next larger one."""

LARGEST_GRID = 2**31
"""More voxels than this on a plan's grid mean a wrong spacing in a header rather than a large scan."""


@dataclass(frozen=True)
class Grid:
    """A case's own grid and its counterpart in a plan.

    The way there: transpose the axes by `order`, mirror those in `flips`, resample to `size`.

    Attributes:
        geometry: The grid of the case as in its files.
        order: Axis of the file, in numpy's (z, y, x) counting, that becomes axis 0, 1, 2.
        flips: Which of the new axes are mirrored.
        size: Voxels (z, y, x) on the plan's grid.
    """

    geometry: Geometry
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    size: tuple[int, int, int]

    @property
    def turned_size(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) after transposing, before resampling."""
        size = self.geometry.size
        return size[self.order[0]], size[self.order[1]], size[self.order[2]]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """True spacing (z, y, x) on the plan's grid; differs from the plan's by rounding to whole voxels."""
        spacing = [
            self.geometry.spacing_mm[axis] * self.geometry.size[axis] / size
            for axis, size in zip(self.order, self.size, strict=True)
        ]
        return spacing[0], spacing[1], spacing[2]

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Transpose and mirror the last three axes of an array; a view, nothing is copied."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        return np.flip(turned, tuple(lead + axis for axis in range(3) if self.flips[axis]))

    def turn_back(self, array: np.ndarray) -> np.ndarray:
        """Undo `turn`; a view."""
        lead = array.ndim - 3
        mirrored = np.flip(array, tuple(lead + axis for axis in range(3) if self.flips[axis]))
        return mirrored.transpose(*range(lead), *(lead + int(axis) for axis in np.argsort(self.order)))

    def as_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back equal."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Grid:
        """Build a grid from what `as_json` returned."""
        geometry: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values["geometry"].items()
        }
        a, b, c = values["order"]
        d, e, f = values["flips"]
        z, y, x = values["size"]
        return cls(Geometry(**geometry), (a, b, c), (d, e, f), (z, y, x))


def slice_axis_first(geometry: Geometry) -> tuple[int, int, int]:
    """Return the order of axes that brings the slice axis to z and leaves the others in their order.

    The slice axis is the only axis of length 1, else the axis with clearly the largest spacing (`COARSE_RATIO`), else
    the one that is z already.
    """
    single = [axis for axis in range(3) if geometry.size[axis] == 1]
    if single:
        axis = single[0]
    else:
        finer, coarsest = np.argsort(geometry.spacing_mm, kind="stable")[1:]
        clear = geometry.spacing_mm[coarsest] >= COARSE_RATIO * geometry.spacing_mm[finer]
        axis = int(coarsest) if clear else 0
    rest = [other for other in range(3) if other != axis]
    return axis, rest[0], rest[1]


def canonical_axes(geometry: Geometry) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], float]:
    """Return how to bring an array's axes nearest to the LPS axes, by transposing and mirroring only.

    Returns:
        `order` and `flips` as in `Grid`: afterwards x grows to the patient's left, y to posterior, z to superior; and
        the largest angle in degrees that remains between an axis and its canonical direction.
    """
    # row a: direction of numpy axis a in LPS coordinates, those in (z, y, x) order too
    direction = np.reshape(geometry.direction, (3, 3)).T[::-1, ::-1]
    best = max(permutations(range(3)), key=lambda p: round(sum(abs(direction[p[k], k]) for k in range(3)), 6))
    cosines = [float(direction[best[k], k]) for k in range(3)]
    angle = float(np.degrees(np.arccos(np.clip(min(abs(c) for c in cosines), 0.0, 1.0))))
    flips = (cosines[0] < 0, cosines[1] < 0, cosines[2] < 0)
    return (best[0], best[1], best[2]), flips, angle


def make_grid(
    geometry: Geometry,
    orientation: Literal["as-stored", "LPS"],
    spacing_mm: tuple[float | None, float, float],
) -> Grid:
    """Lay a plan's orientation and spacing over a case.

    Args:
        geometry: The case as in its files.
        orientation: `as-stored` (slice axis to z) or `LPS`.
        spacing_mm: Target (z, y, x) in mm; z is None where slices stay as they are.

    Raises:
        DataError: The spacing is not positive, or so large that the resampled image would not fit in any memory.
    """
    if not all(np.isfinite(s) and s > 0 for s in geometry.spacing_mm) or min(geometry.size) < 1:
        found = f"spacing {geometry.spacing_mm} mm, size {geometry.size}"
        raise DataError(f"expected positive spacing and size, got {found}; repair the header.")
    order, flips = slice_axis_first(geometry), (False, False, False)
    if orientation == "LPS":
        order, flips, _ = canonical_axes(geometry)
    size = []
    for axis, target in zip(order, spacing_mm, strict=True):
        voxels = geometry.size[axis]
        size.append(voxels if target is None else max(1, round(voxels * geometry.spacing_mm[axis] / target)))
    if float(np.prod(size, dtype=float)) > LARGEST_GRID:
        raise DataError(
            f"size {geometry.size} at spacing {geometry.spacing_mm} mm would become {tuple(size)} at the plan's "
            f"spacing {spacing_mm} mm; check the spacing in the header, its unit must be mm."
        )
    return Grid(geometry, order, flips, (size[0], size[1], size[2]))
