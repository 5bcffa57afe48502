"""From lines to pixels: a round pen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke of the pen.

    Attributes:
        value: Class value in the label that was drawn from; the background's where it is a background stroke.
        axis: Axis (0 = z, 1 = y, 2 = x) of the volume across which the slice lies.
        index: Number of the slice along that axis.
        points: (N, 2) along the slice's two axes (in the order z, y, x), in units of the finer axis.
        radius: Half the pen's width in units.
        careless: Whether it may leave its structure.
        length_mm: Length in mm.
    """

    value: int
    axis: int
    index: int
    points: np.ndarray
    radius: float
    careless: bool
    length_mm: float


def ink(
    points: np.ndarray, radius: float, scale: tuple[float, float], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pixels under a round pen.

    A pixel is inked if its centre is within the radius of a point; the nearest pixel of every point always is, so that
    a pen thinner than a pixel still draws.

    Args:
        points: (N, 2) in units, closer to each other than a pixel.
        radius: In units.
        scale: Size of a pixel (y, x) in units.
        shape: Size of the slice (H, W) in pixels.

    Returns:
        Rows and columns of the pixels; a pixel may occur more than once.
    """
    at = points / np.asarray(scale)
    nearest = np.rint(at).astype(np.intp)
    if radius <= 0.5:
        rows, columns = nearest.T
    else:
        # the pen is round where it is wide: fewer points are enough there, the nearest pixels join them
        every = max(1, int(radius / 2))
        at, centre = at[::every], nearest[::every]
        reach = [int(np.ceil(radius / size)) for size in scale]
        dy, dx = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1].reshape(2, -1)
        y, x = centre[:, :1] + dy, centre[:, 1:] + dx
        under = ((y - at[:, :1]) * scale[0]) ** 2 + ((x - at[:, 1:]) * scale[1]) ** 2 <= radius**2
        rows, columns = np.concatenate([nearest[:, 0], y[under]]), np.concatenate([nearest[:, 1], x[under]])
    fits = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[fits], columns[fits]
