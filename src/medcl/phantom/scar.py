"""Late gadolinium enhancement of a heart with scar: irregular patches in the wall of the left ventricle."""

from __future__ import annotations

import numpy as np

from medcl.phantom import heart
from medcl.phantom.canvas import Canvas, Rng, smooth_noise

CLASSES = ("background", "RV", "Myo", "LV", "scar")
GROUPS = {"heart": (1, 2, 3, 4), "myocardium": (2, 4), "left ventricle": (2, 3, 4)}
SCAR = 4


def scar_volume(
    rng: Rng,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None = None,
    *,
    rotation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make one late-enhancement study with scar in the wall.

    Args:
        rng: Source of randomness.
        size: Voxels per axis, (z, y, x).
        spacing_mm: As for `heart_volume`.
        rotation: As for `heart_volume`.

    Returns:
        image: (Z, Y, X) float32, magnitude of an MR image.
        label: (Z, Y, X) int16 of 0 background, 1 RV, 2 normal myocardium, 3 LV, 4 scar.
    """
    canvas = heart.heart_canvas(rng, size, spacing_mm, rotation)
    tissue = heart.draw_tissue(rng, "lge")
    ventricle = heart.paint_heart(rng, canvas, tissue)
    for _ in range(int(rng.integers(1, 3))):
        _paint_patch(rng, canvas, tissue, ventricle)
    return heart.acquire(rng, canvas), canvas.label


def _paint_patch(rng: Rng, canvas: Canvas, tissue: dict[str, float], ventricle: heart.Ventricle) -> None:
    """One patch in the territory of a coronary artery: from the endocardium outwards, or in the middle of the wall."""
    wall = (canvas.label == heart.MYO) | (canvas.label == SCAR)
    if not wall.any():
        return
    levels = ventricle.height[wall]
    angle, height = float(rng.uniform(-np.pi, np.pi)), float(rng.choice(levels))
    width, reach = float(rng.uniform(0.7, 1.4)), float(rng.uniform(0.25, 0.5))
    turn = np.angle(np.exp(1j * (ventricle.angle - angle))).astype(np.float32)
    strength = 1 - (turn / width) ** 2 - ((ventricle.height - height) / reach) ** 2
    strength = strength + 0.3 * smooth_noise(rng, canvas.size, (0.6, 2.5, 2.5))
    thickness = np.maximum(ventricle.inner - ventricle.outer, 1.0)
    depth = ventricle.inner / thickness  # 0 at the endocardium, 1 at the epicardium
    if rng.random() < 0.8:
        share = depth - float(rng.uniform(0.6, 1.2)) * np.sqrt(np.clip(strength, 0, 1))
    else:
        share = np.abs(depth - 0.5) - 0.35 * np.sqrt(np.clip(strength, 0, 1))
    distance = np.where(wall & (strength > 0), share * thickness, np.float32(50.0))
    bright = tissue["blood"] * float(rng.uniform(1.25, 1.7))
    canvas.paint(distance, bright * (1 + 0.08 * smooth_noise(rng, canvas.size, (0.0, 1.0, 1.0))), SCAR)
    if rng.random() < 0.25:  # microvascular obstruction: a dark core that is scar nevertheless
        core = np.where((strength > 0.75) & (depth > 0.12), np.maximum(distance, (depth - 0.4) * thickness), 50.0)
        canvas.paint(core, tissue["myo"] * 0.8)
