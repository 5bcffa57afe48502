"""A sampled piece of space on which anatomy is painted, outermost structure first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
Field = float | np.ndarray
"""A number, or an array that broadcasts to (Z, Y, X)."""


def rotation_matrix(angles_degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about the z, then the y, then the x axis.

    Args:
        angles_degrees: Angles about (z, y, x).

    Returns:
        (3, 3) float64 matrix that acts on column vectors (x, y, z).
    """
    az, ay, ax = np.deg2rad(angles_degrees)
    turn_z = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    return turn_z @ turn_y @ turn_x


@dataclass(frozen=True)
class Wobble:
    """A smooth random change of a radius with the angle: 1 + sum of a few harmonics.

    Attributes:
        orders: Harmonic numbers.
        amplitudes: Relative amplitude of each harmonic.
        phases: Phase of each harmonic in radians.
        twist: Change of the phases per mm along z, in radians, so that slices differ.
    """

    orders: tuple[int, ...] = ()
    amplitudes: tuple[float, ...] = ()
    phases: tuple[float, ...] = ()
    twist: float = 0.0

    @classmethod
    def draw(cls, rng: Rng, strength: float, orders: tuple[int, ...] = (2, 3, 5)) -> Wobble:
        """Draw amplitudes that fall with the harmonic number; `strength` is the relative size of the first."""
        amplitudes = tuple(float(strength * rng.uniform(0.3, 1.0) * orders[0] / k) for k in orders)
        phases = tuple(float(p) for p in rng.uniform(0, 2 * np.pi, len(orders)))
        return cls(orders, amplitudes, phases, float(rng.uniform(-0.012, 0.012)))

    def __call__(self, angle: np.ndarray, z: Field = 0.0) -> np.ndarray:
        """Factor on the radius at these angles (radians) and heights (mm)."""
        factor = np.ones(np.broadcast(angle, z).shape, np.float32)
        for order, amplitude, phase in zip(self.orders, self.amplitudes, self.phases, strict=True):
            factor += np.float32(amplitude) * np.cos(order * angle + np.float32(phase) + np.float32(self.twist) * z)
        return factor


class Canvas:
    """Image and label under construction, with the position of every voxel in the body.

    Distances are in mm, negative inside. Painting blends over one pixel, so that edges have partial volume, while
    labels change where the distance changes its sign.

    Attributes:
        z, y, x: (Z, Y, X) float32 position in mm in the frame of the anatomy; (0, 0, 0) is the grid's centre.
        image: (Z, Y, X) float32 intensities.
        label: (Z, Y, X) int16 class indices.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        rotation: np.ndarray | None = None,
        slice_shift_mm: np.ndarray | None = None,
        offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        background: float = 0.0,
    ) -> None:
        """Lay the grid.

        Args:
            size: Voxels per axis, (z, y, x).
            spacing_mm: Spacing, (z, y, x).
            rotation: (3, 3) direction of the grid in the frame of the anatomy, on vectors (x, y, z); default: none.
            slice_shift_mm: (Z, 2) displacement (y, x) of every slice, as breathing causes; default: none.
            offset_mm: Position of the grid's centre in the anatomy, (z, y, x).
            background: Intensity of the empty canvas.
        """
        axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(size, spacing_mm, strict=True)]
        grid_z, grid_y, grid_x = np.meshgrid(*axes, indexing="ij")
        if slice_shift_mm is not None:
            grid_y = grid_y + slice_shift_mm[:, 0, None, None]
            grid_x = grid_x + slice_shift_mm[:, 1, None, None]
        m = np.eye(3) if rotation is None else rotation
        rows = [m[i, 0] * grid_x + m[i, 1] * grid_y + m[i, 2] * grid_z + offset_mm[2 - i] for i in range(3)]
        self.x, self.y, self.z = (row.astype(np.float32) for row in rows)
        self.size = size
        self.edge_mm = float(max(spacing_mm[1:]))
        self.image = np.full(size, background, np.float32)
        self.label = np.zeros(size, np.int16)

    def paint(
        self, distance: np.ndarray, value: Field, cls: int | None = None, softness: float = 1.0, opacity: float = 1.0
    ) -> None:
        """Cover what lies inside with an intensity and, where given, a class.

        Args:
            distance: (Z, Y, X) signed distance in mm, negative inside.
            value: Intensity, a number or a field.
            cls: Class index to write inside; None leaves the label as it is.
            softness: Width of the blend in pixels.
            opacity: Share of the new intensity inside.
        """
        alpha = np.clip(0.5 - distance / (self.edge_mm * softness), 0, opacity)
        self.image += alpha * (value - self.image)
        if cls is not None:
            self.label[distance < 0] = cls

    def blob(
        self,
        centre: tuple[Field, Field],
        radii: tuple[Field, Field],
        angle: float = 0.0,
        wobble: Wobble | None = None,
    ) -> np.ndarray:
        """Distance to a column of ellipses, one per height.

        Args:
            centre: (y, x) in mm; arrays let it change along z.
            radii: Half axes (y, x) in mm before rotation; where one is not positive, nothing is inside.
            angle: Rotation in radians.
            wobble: Irregular outline.

        Returns:
            (Z, Y, X) float32 distance in mm measured along the ray from the centre (derived: |p| (1 - 1 / rho)).
        """
        y, x = self.y - centre[0], self.x - centre[1]
        if angle:
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            y, x = cos * y - sin * x, sin * y + cos * x
        ry, rx = (np.maximum(np.asarray(r, np.float32), 1e-2) for r in radii)
        rho = np.sqrt((y / ry) ** 2 + (x / rx) ** 2)
        if wobble is not None and wobble.orders:
            rho /= wobble(np.arctan2(y, x), self.z)
        rho = np.maximum(rho, 1e-3)
        # At the centre |p| is 0 and rho too: the ratio is the radius, so the value stays finite and negative.
        length = np.maximum(np.sqrt(y * y + x * x), 1e-3 * np.minimum(ry, rx))
        distance = length * (1 - 1 / rho)
        empty = (np.asarray(radii[0]) <= 0) | (np.asarray(radii[1]) <= 0)
        return np.where(empty, np.float32(50.0), distance).astype(np.float32)

    def ball(
        self,
        centre: tuple[Field, Field, Field],
        radii: tuple[float, float, float],
        angle: float = 0.0,
        wobble: Wobble | None = None,
    ) -> np.ndarray:
        """Distance to an ellipsoid, (z, y, x) centre and half axes in mm: a blob whose radii close along z."""
        inside = np.maximum(1 - ((self.z - centre[0]) / np.float32(radii[0])) ** 2, 0)
        scale = np.sqrt(inside)
        distance = self.blob((centre[1], centre[2]), (radii[1] * scale, radii[2] * scale), angle, wobble)
        return np.where(inside > 0, distance, np.float32(50.0))


def smooth_noise(rng: Rng, size: tuple[int, int, int], sigma: tuple[float, float, float]) -> np.ndarray:
    """Gaussian noise smoothed by `sigma` voxels per axis and scaled to zero mean and unit standard deviation.

    Coarse noise is drawn on a coarse grid and interpolated, so that cost does not grow with sigma.

    Returns:
        (Z, Y, X) float32.
    """
    from scipy.ndimage import gaussian_filter1d

    factor = [max(1, int(s // 1.5)) for s in sigma]
    noise = rng.standard_normal([-(-n // f) + 1 for n, f in zip(size, factor, strict=True)], dtype=np.float32)
    for axis, (s, f) in enumerate(zip(sigma, factor, strict=True)):
        if s > 0:
            noise = gaussian_filter1d(noise, s / f, axis, mode="wrap", truncate=3.0)
        if noise.shape[axis] != size[axis]:
            noise = np.moveaxis(_stretch(noise.shape[axis], size[axis], f) @ np.moveaxis(noise, axis, -2), -2, axis)
    spread = float(noise.std())
    return np.asarray((noise - noise.mean()) / (spread if spread > 1e-6 else 1.0), np.float32)


def _stretch(coarse: int, fine: int, factor: int) -> np.ndarray:
    """Matrix (fine, coarse) of linear interpolation from a grid that is `factor` times coarser."""
    at = np.arange(fine) / factor
    left = np.minimum(at.astype(int), coarse - 2)
    matrix = np.zeros((fine, coarse), np.float32)
    rows = np.arange(fine)
    matrix[rows, left] = 1 - (at - left)
    matrix[rows, left + 1] = at - left
    return matrix
