"""What is kept of one scan: a few vectors per slice, and how strange its pixels are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.inference.familiarity.clouds import Array, Cloud, Distance, Places, Sums
from medcl.inference.familiarity.describe import describe
from medcl.inference.familiarity.features import Unit, look
from medcl.inference.familiarity.pieces import Pieces, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medcl.data.plan import Plan

PLACE_LEVEL = 1
"""Level of the encoder whose features judge single places; 0 is the finest."""

NEAR = 9
"""Places up to half of this away from a predicted structure count as near it."""

_FEWEST_PLACES = 20
TOP = 0.01
"""Share of the places near structures, the strangest ones, that speak for a slice: a lesion is small."""

SCAN_BLOCKS = ("image", "answer")
"""Descriptions that are also compared as means over a whole scan."""


@dataclass
class Seen:
    """A scan as the reference compares it.

    Attributes:
        units: Description -> (units, d), see `describe`.
        places: Where the units lie on the plan's grid, (z, y, x) slices.
        pixels: Per unit, features of its places (n, d) float16.
        predicted: Per unit, the predicted class of these places (n,).
        near: Per unit, which of them lie near a predicted structure (n,).
        grids: Per unit, how they lie: their grid.
        shown: The image and where its structures are; None where none is predicted.
    """

    units: dict[str, Array]
    places: list[tuple[slice, slice, slice]]
    pixels: list[NDArray[np.float16]]
    predicted: list[NDArray[np.int16]]
    near: list[NDArray[np.bool_]]
    grids: list[tuple[int, ...]]
    shown: Shown | None = None

    def sums(self, classes: int) -> Sums:
        """Return the sums of all places, for `Places.fit`."""
        return Sums.of(self.pixels, self.predicted, classes)


def see(network: nn.Module, array: NDArray[np.float32], plan: Plan) -> Seen:
    """Run a network over a prepared image (C, Z, Y, X) and keep what comparing needs."""
    seen = Seen({}, [], [], [], [], [])
    rows: dict[str, list[Array]] = {}
    predicted = np.zeros(array.shape[1:], dtype=bool)
    for unit in look(network, array, plan):
        for name, vector in describe(unit).items():
            rows.setdefault(name, []).append(vector)
        _keep_pixels(unit, seen)
        predicted[unit.place] |= (unit.probabilities.argmax(0) > 0).cpu().numpy()  # (Y, X) or (Z, Y, X)
    seen.shown = Shown.of(array, predicted)
    seen.units = {name: np.stack(vectors) for name, vectors in rows.items()}
    return seen


def _keep_pixels(unit: Unit, seen: Seen) -> None:
    level = unit.levels[min(PLACE_LEVEL, len(unit.levels) - 1)]
    grid = list(level.shape[1:])
    flat = len(grid) == 2
    pool: Callable[[Tensor, Any], Tensor] = functional.adaptive_avg_pool2d if flat else functional.adaptive_avg_pool3d
    widen = functional.max_pool2d if flat else functional.max_pool3d
    predicted = pool(unit.probabilities[None], grid)[0].argmax(0)
    near = widen((predicted > 0).float()[None, None], NEAR, 1, NEAR // 2)[0, 0] > 0
    seen.places.append(unit.place)
    seen.pixels.append(level.flatten(1).T.clamp(-6e4, 6e4).cpu().numpy().astype(np.float16))
    seen.predicted.append(predicted.flatten().cpu().numpy().astype(np.int16))
    seen.near.append(near.flatten().cpu().numpy())
    seen.grids.append(tuple(grid))


def pixel_distances(seen: Seen, places: Places) -> Iterator[NDArray[np.float32]]:
    """Yield the distances of the places of each unit, on its grid."""
    for features, grid in zip(seen.pixels, seen.grids, strict=True):
        yield places.distance(features).reshape(grid)


def parts_of(
    seen: Seen,
    clouds: dict[str, Cloud],
    scans: dict[str, Cloud],
    pixels: Places,
    pieces: Pieces | None,
    how: Distance = "mahalanobis",
) -> dict[str, float]:
    """Return the logarithm of every distance that a scan is judged by.

    Returns:
        "<description> mean" and "<description> slice" (its strangest slice or window); "<description> scan" for means
        over the scan; "places slice" and "places mean": the strangest places near predicted structures, in the
        strangest slice and over all; "pieces slice" and "pieces change", see `Pieces.parts`: missing where no structure
        is predicted.
    """
    found: dict[str, float] = {}
    for name, cloud in clouds.items():
        distances = cloud.distance(seen.units[name], how)
        found[f"{name} mean"], found[f"{name} slice"] = float(distances.mean()), float(distances.max())
    for name, cloud in scans.items():
        found[f"{name} scan"] = float(cloud.distance(scan_vector(seen, name)[None], how)[0])
    tops = [
        float(np.quantile(distances.ravel()[near], 1 - TOP))
        for distances, near in zip(pixel_distances(seen, pixels), seen.near, strict=True)
        if near.sum() >= _FEWEST_PLACES
    ]
    if tops:
        found["places slice"], found["places mean"] = max(tops), float(np.mean(tops))
    if pieces is not None and seen.shown is not None:
        found |= pieces.parts(seen.shown)
    return {name: float(np.log(max(value, 1e-12))) for name, value in found.items()}


def scan_vector(seen: Seen, name: str) -> Array:
    """Return mean and spread over the units of a scan, (2 d,)."""
    rows = seen.units[name]
    return np.concatenate([rows.mean(0), rows.std(0)])


def strange_map(seen: Seen, places: Places, size: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return the distance of every voxel of the plan's grid (Z, Y, X); where windows overlap, their mean."""
    total, count = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for place, distances in zip(seen.places, pixel_distances(seen, places), strict=True):
        target = [part.stop - part.start for part in place]
        flat = distances.ndim == 2
        values = functional.interpolate(
            torch.from_numpy(distances)[None, None],
            size=target[1:] if flat else target,
            mode="bilinear" if flat else "trilinear",
            align_corners=False,
        )[0]
        total[place] += values.numpy() if flat else values[0].numpy()
        count[place] += 1
    return np.asarray(total / np.maximum(count, 1), np.float32)
