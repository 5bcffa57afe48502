"""From an image as stored to the array that networks see, and from their probabilities back to the image's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.data.grid import Grid, make_grid
from medcl.data.labels import UNLABELLED
from medcl.data.plan import ChannelPlan, Plan
from medcl.data.resample import resize, resize_map, resize_weights
from medcl.errors import DataError

STATISTICS_VOXELS = 500_000
"""Per-case percentiles are taken on about this many voxels, evenly spaced: exact to about 0.01 percentile, and fast."""


@dataclass(frozen=True)
class Prepared:
    """An image on a plan's grid.

    Attributes:
        array: (C, Z, Y, X) float32, normalised.
        grid: How to get back.
    """

    array: np.ndarray
    grid: Grid

    @property
    def geometry(self) -> Geometry:
        """The grid of the image as in its files."""
        return self.grid.geometry

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) of `array`."""
        return self.grid.spacing_mm


def plan_grid(geometry: Geometry, plan: Plan) -> Grid:
    """Return how a case's grid maps to a plan's.

    Raises:
        DataError: The header's spacing is unusable.
    """
    return make_grid(geometry, plan.orientation, plan.spacing_mm)


def prepare_image(image: Image, plan: Plan) -> Prepared:
    """Turn, scale and resample an image as its plan says.

    Intensities are scaled before resampling, so that clipping keeps single bright voxels from spreading. Besides the
    result only one slice at a time is held as float (2D plans; one channel before thinning slices in 3D).

    Args:
        image: As read; any numeric type.
        plan: The plan of the model or data set.

    Returns:
        float32 (C, Z, Y, X) on the plan's grid, and the way back.

    Raises:
        DataError: Number of channels, values or spacing do not fit the plan.
    """
    if image.array.ndim != 4 or image.array.shape[1:] != tuple(image.geometry.size):
        raise DataError(f"expected an array (C, {image.geometry.size}) like its geometry, got {image.array.shape}.")
    if image.array.shape[0] != len(plan.channels):
        names = ", ".join(channel.name for channel in plan.channels)
        raise DataError(f"expected {len(plan.channels)} channels ({names}), got {image.array.shape[0]}.")
    grid = plan_grid(image.geometry, plan)
    array = np.empty((image.array.shape[0], *grid.size), dtype=np.float32)
    for channel, values, result in zip(plan.channels, image.array, array, strict=True):
        scaled = intensity_scaling(values, channel)
        turned = grid.turn(values)
        plane = (turned.shape[0], *grid.size[1:])
        in_plane = result if turned.shape[0] == grid.size[0] else np.empty(plane, dtype=np.float32)
        for z in range(turned.shape[0]):
            in_plane[z] = resize(scaled(turned[z]), grid.size[1:])
        if in_plane is not result:
            result[...] = resize(in_plane, grid.size)
    return Prepared(array, grid)


def intensity_scaling(values: np.ndarray, channel: ChannelPlan) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that brings a case's intensities in one channel to the common scale.

    Args:
        values: The whole channel of the case, (Z, Y, X), for the per-case statistics.
        channel: What the plan says about the channel.

    Returns:
        Maps any part of the channel to float32. A constant image becomes zeros.

    Raises:
        DataError: Values are not finite, or lie in 0..1 where the plan expects a larger range.
    """
    lowest, highest = float(values.min()), float(values.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError(f"expected finite values in channel {channel.name}, got NaN or infinity; repair the image.")
    low, high, mean, std = -np.inf, np.inf, 0.0, 1.0
    if channel.normalisation == "zscore":
        low, high, mean, std = _case_statistics(values, channel)
    elif channel.normalisation == "ct":
        low, high = _given(channel.low), _given(channel.high)
    if channel.normalisation != "zscore":
        scale = _given(channel.scale) if channel.normalisation == "unit" else 1.0
        if scale > 1 and values.dtype.kind == "f" and 0 < highest <= 1:
            raise DataError(
                f"expected values 0..{scale:g} in channel {channel.name}, got {lowest:g}..{highest:g}; "
                f"multiply the image by {scale:g}."
            )
        mean, std = _given(channel.mean) * scale, _given(channel.std) * scale

    def scaled(part: np.ndarray) -> np.ndarray:
        result = np.clip(part.astype(np.float32), low, high)
        result -= np.float32(mean)
        result *= np.float32(1.0 / std)
        return result

    return scaled


def _given(value: float | None) -> float:
    assert value is not None, "a plan's validator lets no channel through without what its rule needs"
    return value


def _case_statistics(values: np.ndarray, channel: ChannelPlan) -> tuple[float, float, float, float]:
    """Return the clipping bounds, mean and standard deviation of a case."""
    step = max(1, values.size // STATISTICS_VOXELS) | 1
    sample = np.asarray(values).reshape(-1)[::step].astype(np.float64)
    if channel.skip_zeros and np.any(sample):
        sample = sample[sample != 0]
    low, high = (float(v) for v in np.percentile(sample, channel.clip))
    inside = sample[(sample >= low) & (sample <= high)]
    if len(inside) == 0:  # two values only: both percentiles lie between them
        inside = np.array([low, high])
    std = float(inside.std())
    if std <= 1e-6 * max(abs(low), abs(high), 1e-30):
        # nearly all voxels are equal: without clipping the few others still show
        low, high, std = float(values.min()), float(values.max()), float(sample.std())
    return low, high, float(inside.mean()), std if std > 0 else 1.0


def prepare_map(array: np.ndarray, where: Prepared | Grid | Geometry, plan: Plan) -> np.ndarray:
    """Bring strokes or dense labels to the plan's grid; see `medcl.data.resample.resize_map`.

    Args:
        array: (Z, Y, X) class indices and `UNLABELLED`, on the case's own grid.
        where: The prepared image of the case, its grid or its geometry.
        plan: The plan that the image was prepared with.

    Returns:
        int16 (Z, Y, X) on the plan's grid. What was unlabelled stays so; thin strokes neither vanish nor swell beyond
        one voxel.

    Raises:
        DataError: The map's shape is not that of the case.
    """
    grid = _grid_of(where, plan)
    if array.shape != tuple(grid.geometry.size):
        raise DataError(f"expected a map of shape {grid.geometry.size} like its image, got {array.shape}.")
    turned = grid.turn(array)
    if plan.spacing_mm[0] is not None:
        return resize_map(turned, grid.size, UNLABELLED)
    slices = [resize_map(plane, grid.size[1:], UNLABELLED) for plane in turned]
    return np.stack(slices)


def _grid_of(where: Prepared | Grid | Geometry, plan: Plan) -> Grid:
    if isinstance(where, Prepared):
        return where.grid
    return where if isinstance(where, Grid) else plan_grid(where, plan)


def restore_slices(probabilities: np.ndarray, where: Prepared | Grid) -> Iterator[np.ndarray]:
    """Bring probabilities back to the image's own grid, one slice of the file at a time.

    Only one slice is held at full resolution, so that memory stays bounded whatever the size of the volume.

    Args:
        probabilities: (C, Z, Y, X) on the plan's grid, any float type; a memory map will do.
        where: The prepared image, or its grid.

    Yields:
        float32 (C, Y, X) for each z of the file, in order. Where the given probabilities sum to 1 these do too.

    Raises:
        DataError: The array does not lie on the plan's grid.
    """
    grid = where.grid if isinstance(where, Prepared) else where
    if probabilities.ndim != 4 or probabilities.shape[1:] != grid.size:
        raise DataError(f"expected probabilities (C, {grid.size}) on the plan's grid, got {probabilities.shape}.")
    across = grid.order.index(0)  # the axis on the plan's grid along which the file's slices follow one another
    rest = [axis for axis in range(3) if axis != across]
    size = [grid.turned_size[axis] for axis in rest]
    weights = resize_weights(grid.size[across], grid.turned_size[across])
    mirrored = tuple(1 + k for k, axis in enumerate(rest) if grid.flips[axis])
    for z in range(grid.geometry.size[0]):
        row = weights[grid.geometry.size[0] - 1 - z if grid.flips[across] else z]
        plane = np.zeros((), dtype=np.float32)
        for index, weight in zip(row.indices, row.data, strict=True):
            part = np.take(probabilities, index, axis=1 + across).astype(np.float32, copy=False)
            plane = part if weight == 1 else plane + part * weight
        restored = np.stack([resize(one, size) for one in plane])
        restored = np.flip(restored, mirrored)
        yield restored if grid.order[rest[0]] < grid.order[rest[1]] else restored.transpose(0, 2, 1)


def restore_probabilities(probabilities: np.ndarray, where: Prepared | Grid) -> np.ndarray:
    """Bring probabilities back to the image's own grid.

    Args:
        probabilities: (C, Z, Y, X) on the plan's grid.
        where: The prepared image, or its grid.

    Returns:
        float32 (C, Z, Y, X) on the grid of the file.

    Raises:
        DataError: The array does not lie on the plan's grid.
    """
    grid = where.grid if isinstance(where, Prepared) else where
    result = np.empty((probabilities.shape[0], *grid.geometry.size), dtype=np.float32)
    for z, plane in enumerate(restore_slices(probabilities, grid)):
        result[:, z] = plane
    return result
