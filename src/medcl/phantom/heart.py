"""A short-axis stack of the heart in its chest: right ventricle, left ventricular wall and blood pool.

Frame of the anatomy in mm: x grows to the right of the picture (away from the septum), y down (away from the breast
bone), z from apex to base; the origin is the axis of the left ventricle at mid height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medcl.phantom.appearance import bias_field, mr_acquisition, texture
from medcl.phantom.canvas import Canvas, Field, Rng, Wobble, rotation_matrix, smooth_noise
from medcl.phantom.chest import paint_chest

CLASSES = ("background", "RV", "Myo", "LV")
GROUPS = {"heart": (1, 2, 3), "left ventricle": (2, 3)}
RV, MYO, LV = 1, 2, 3

FIELD_OF_VIEW_MM = 280.0
STACK_MM = 84.0

TISSUES: dict[str, dict[str, float]] = {
    # Balanced steady-state free precession (cine): blood and fat bright, muscle grey.
    "cine": {
        "blood": 0.80, "myo": 0.30, "fat": 0.85, "skin": 0.45, "muscle": 0.28, "lung": 0.05, "liver": 0.40,
        "spleen": 0.50, "stomach": 0.25, "wall": 0.35, "bone": 0.45, "vessel": 0.70, "pericardium": 0.08,
    },
    # Late gadolinium enhancement: healthy wall nulled, blood grey, scar bright, fat moderate.
    "lge": {
        "blood": 0.50, "myo": 0.10, "fat": 0.50, "skin": 0.40, "muscle": 0.18, "lung": 0.04, "liver": 0.28,
        "spleen": 0.35, "stomach": 0.12, "wall": 0.25, "bone": 0.25, "vessel": 0.45, "pericardium": 0.05,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Ventricle:
    """The left ventricle of one person, sampled on a canvas; distances in mm, negative inside.

    Attributes:
        height: (Z, Y, X) height between apex (0) and base (1).
        centre: (y, x) of the axis, arrays over the canvas.
        radius_mm: Outer radius at each height.
        outer, inner: Distance to the epicardial and to the endocardial surface.
        angle: Angle around the axis in radians, 0 towards +x.
        septum: Angle of the septum's middle.
    """

    height: np.ndarray
    centre: tuple[np.ndarray, np.ndarray]
    radius_mm: np.ndarray
    outer: np.ndarray
    inner: np.ndarray
    angle: np.ndarray
    septum: float


def heart_volume(
    rng: Rng,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None = None,
    *,
    rotation: np.ndarray | None = None,
    contrast: Literal["cine", "lge"] = "cine",
) -> tuple[np.ndarray, np.ndarray]:
    """Make one short-axis study with its dense label.

    Args:
        rng: Source of randomness; the same state gives the same arrays.
        size: Voxels per axis, (z, y, x). With z = 1 the slice lies anywhere between apex and base.
        spacing_mm: Spacing (z, y, x); default: a stack of 84 mm in a field of view of 280 mm.
        rotation: (3, 3) direction of the grid in the anatomy's frame, on (x, y, z); default: drawn.
        contrast: Which sequence it looks like.

    Returns:
        image: (Z, Y, X) float32, magnitude of an MR image.
        label: (Z, Y, X) int16 of 0 background, 1 RV, 2 Myo, 3 LV.
    """
    canvas = heart_canvas(rng, size, spacing_mm, rotation)
    tissue = draw_tissue(rng, contrast)
    paint_heart(rng, canvas, tissue)
    return acquire(rng, canvas), canvas.label


def heart_canvas(
    rng: Rng, size: tuple[int, int, int], spacing_mm: tuple[float, float, float] | None, rotation: np.ndarray | None
) -> Canvas:
    """Lay the grid of one study: tilt, position in the field of view and breathing between slices."""
    spacing_mm = spacing_mm or (
        STACK_MM / max(size[0], 7), FIELD_OF_VIEW_MM / size[1], FIELD_OF_VIEW_MM / size[2],
    )  # fmt: skip
    if rotation is None:
        rotation = rotation_matrix((rng.normal(0, 10), rng.normal(0, 3), rng.normal(0, 3)))
    offset_z = rng.uniform(-0.33, 0.40) * STACK_MM if size[0] == 1 else rng.uniform(-0.02, 0.03) * STACK_MM
    offset = (float(offset_z), float(rng.normal(6, 8)), float(rng.normal(-6, 8)))
    shift = rng.normal(0, 1.2, (size[0], 2)).astype(np.float32)
    return Canvas(size, spacing_mm, rotation, shift, offset)


def draw_tissue(rng: Rng, contrast: Literal["cine", "lge"]) -> dict[str, float]:
    """Draw this study's intensity of every tissue around the sequence's typical values."""
    return {name: value * float(np.exp(rng.normal(0, 0.10))) for name, value in TISSUES[contrast].items()}


def acquire(rng: Rng, canvas: Canvas) -> np.ndarray:
    """Turn the painted canvas into a magnitude image with texture, coil profile, ringing, noise and a free scale."""
    gain = 1 + 0.05 * rng.standard_normal((canvas.size[0], 1, 1), dtype=np.float32)
    image = canvas.image * texture(rng, canvas.size, 0.10) * gain
    coil = (float(rng.uniform(-140, -90)), float(rng.uniform(-90, 20)))
    image = image * bias_field(rng, canvas, 0.5, coil)
    image = mr_acquisition(rng, image, noise=float(rng.uniform(0.012, 0.035)), resolution=float(rng.uniform(0.7, 0.95)))
    return image * np.float32(np.exp(rng.uniform(np.log(250), np.log(1500))))


def paint_heart(rng: Rng, canvas: Canvas, tissue: dict[str, float]) -> Ventricle:
    """Paint chest and heart; returns the left ventricle so that scar can be put into its wall."""
    ventricle = _left_ventricle(rng, canvas)
    right = _right_ventricle(rng, canvas, ventricle)
    heart = np.minimum(ventricle.outer, right)
    paint_chest(rng, canvas, tissue, heart)
    trabecula = smooth_noise(rng, canvas.size, (0.4, 1.2, 1.2))

    canvas.paint(right - 2.5, tissue["myo"] * 1.1)
    canvas.paint(right, tissue["blood"] * float(rng.uniform(0.85, 1.05)), RV)
    band = (right > -9) & (trabecula > 0.75)
    canvas.paint(np.where(band, right, 50.0), tissue["myo"] * 1.3, opacity=0.6)

    canvas.paint(ventricle.outer, tissue["myo"], MYO)
    canvas.paint(ventricle.inner, tissue["blood"], LV)
    band = (ventricle.inner > -5) & (trabecula < -0.7)
    canvas.paint(np.where(band, ventricle.inner, 50.0), tissue["myo"] * 1.3, opacity=0.55)
    _paint_papillary(rng, canvas, tissue, ventricle)
    _keep_largest_piece(canvas.label, RV)
    return ventricle


def _left_ventricle(rng: Rng, canvas: Canvas) -> Ventricle:
    length = float(rng.uniform(78, 92))
    height = canvas.z / np.float32(length) + np.float32(0.5)
    drift = rng.normal(0, 6, 2).astype(np.float32)
    centre = (drift[0] * (height - 0.5), drift[1] * (height - 0.5))
    radius_base, wall_mm = float(rng.uniform(29, 38)), float(rng.uniform(7.0, 11.5))
    # A truncated ellipsoid: closed at the apex, nearly a tube at the base.
    up = np.clip(1 - height, 0, None)
    radius = np.where(height < 0, np.float32(-1.0), radius_base * np.sqrt(np.clip(1 - (0.97 * up) ** 2.3, 0, 1)))
    y, x = canvas.y - centre[0], canvas.x - centre[1]
    angle, along = np.arctan2(y, x), np.sqrt(y * y + x * x)
    septum = float(np.pi + rng.normal(0.1, 0.25))
    outer_wobble, inner_wobble = Wobble.draw(rng, 0.045), Wobble.draw(rng, 0.07)
    outer = along - radius * outer_wobble(angle, canvas.z)
    # The wall thins towards the apex and is thicker at the septum.
    wall = wall_mm * (0.75 + 0.25 * np.clip(height * 2, 0, 1)) * (1 + 0.12 * np.cos(angle - septum))
    inner_radius = radius * outer_wobble(angle, canvas.z) - wall * inner_wobble(angle, canvas.z)
    inner = np.where(inner_radius > 1.5, along - inner_radius, np.float32(50.0))
    return Ventricle(height, centre, radius, outer.astype(np.float32), inner.astype(np.float32), angle, septum)


def _right_ventricle(rng: Rng, canvas: Canvas, ventricle: Ventricle) -> np.ndarray:
    """A rounded triangle that leans on the septum; the left ventricle painted over it leaves the crescent."""
    start, radius = float(rng.uniform(0.10, 0.22)), float(np.max(ventricle.radius_mm))
    rise = np.sqrt(np.clip((ventricle.height - start) / 0.65, 0, 1))
    depth = rise * radius * float(rng.uniform(0.85, 1.1))
    width = rise * radius * float(rng.uniform(1.05, 1.35))
    away = ventricle.radius_mm * 0.62 + depth * float(rng.uniform(0.10, 0.30))
    centre = (
        ventricle.centre[0] + away * np.float32(np.sin(ventricle.septum)),
        ventricle.centre[1] + away * np.float32(np.cos(ventricle.septum)),
    )
    turn = -(ventricle.septum - np.pi) + float(rng.normal(0, 0.12))
    corner = Wobble(
        (3, 2, 5), (0.09, 0.05, 0.03), (np.pi, float(rng.uniform(0, 6.3)), float(rng.uniform(0, 6.3))), 0.006
    )
    return canvas.blob(centre, (width, depth), turn, corner)


def _paint_papillary(rng: Rng, canvas: Canvas, tissue: dict[str, float], ventricle: Ventricle) -> None:
    """Two muscles in the pool, away from the septum, between a quarter and three quarters of the height."""
    middle = np.clip(1 - ((ventricle.height - 0.5) / 0.3) ** 2, 0, None)
    inner_radius = np.clip(ventricle.radius_mm - 9.0, 0, None)
    for side in (-1, 1):
        angle = ventricle.septum + np.pi + side * float(rng.uniform(0.8, 1.3))
        away = inner_radius * float(rng.uniform(0.6, 0.8))
        centre: tuple[Field, Field] = (
            ventricle.centre[0] + away * np.float32(np.sin(angle)),
            ventricle.centre[1] + away * np.float32(np.cos(angle)),
        )
        radius = middle * float(rng.uniform(3.5, 6.5))
        distance = canvas.blob(centre, (radius, radius * float(rng.uniform(0.7, 1.3))), angle)
        canvas.paint(np.maximum(distance, ventricle.inner), tissue["myo"] * 1.15, opacity=0.85)


def _keep_largest_piece(label: np.ndarray, cls: int) -> None:
    """Clear the slivers of a class that another structure cut off, slice by slice."""
    from scipy.ndimage import label as components

    for plane in label:
        pieces, count = components(plane == cls)
        if count > 1:
            sizes = np.bincount(pieces.ravel())[1:]
            plane[(pieces > 0) & (pieces != 1 + int(np.argmax(sizes)))] = 0
