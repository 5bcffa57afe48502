"""What surrounds the heart in a short-axis picture: chest wall, lungs, upper abdomen, fat, and round distractors."""

from __future__ import annotations

import numpy as np

from medcl.phantom.canvas import Canvas, Rng, Wobble, smooth_noise


def paint_chest(rng: Rng, canvas: Canvas, tissue: dict[str, float], heart: np.ndarray) -> None:
    """Paint everything around the heart; the heart itself is painted over it.

    Args:
        rng: Source of randomness.
        canvas: Frame of the anatomy as in `heart`.
        tissue: Intensity of every tissue.
        heart: (Z, Y, X) distance to the heart's outer surface in mm, negative inside.
    """
    body = canvas.blob(
        (float(rng.normal(36, 5)), float(rng.normal(6, 6))),
        (float(rng.uniform(124, 142)), float(rng.uniform(140, 165))),
        float(rng.normal(-0.35, 0.1)), Wobble.draw(rng, 0.03, (2, 3, 4)),
    )  # fmt: skip
    around = np.arctan2(canvas.y - 36, canvas.x - 6)
    fat = float(rng.uniform(7, 16)) * (1 + 0.35 * np.cos(around - float(rng.uniform(0, 6.3)))) + 2 * np.cos(3 * around)
    muscle = float(rng.uniform(9, 14))
    near = heart < 7.0
    if near.any():  # a big heart has a big chest: it must fit in with some room
        body = body - max(float((body + fat + muscle)[near].max()), 0.0)
    cavity = body + fat + muscle
    canvas.paint(body, tissue["skin"])
    canvas.paint(body + 2.0, tissue["fat"])
    canvas.paint(body + fat, tissue["muscle"])
    _paint_ribs(rng, canvas, tissue, cavity, muscle)
    canvas.paint(cavity, tissue["lung"])
    _paint_lung_vessels(rng, canvas, tissue, cavity)

    # Below the diaphragm: liver on the right side of the body, stomach and spleen on the left.
    liver = canvas.blob(
        (float(rng.normal(74, 5)), float(rng.normal(-52, 8))),
        (float(rng.uniform(40, 52)), float(rng.uniform(78, 98))),
        -0.25,
        Wobble.draw(rng, 0.06),
    )
    liver = np.maximum(np.maximum(liver + 0.15 * canvas.z, cavity + 2), 5 - heart)
    canvas.paint(liver, tissue["liver"])
    branches = smooth_noise(rng, canvas.size, (0.6, 2.2, 2.2))
    canvas.paint(
        np.where(np.abs(branches - 1.6) < 0.35, np.maximum(liver + 4, 0.0) - 0.5, 50.0), tissue["vessel"] * 0.8
    )
    spleen = canvas.blob(
        (float(rng.normal(82, 5)), float(rng.normal(92, 6))), (20.0, 34.0), 0.5, Wobble.draw(rng, 0.08)
    )
    canvas.paint(np.maximum(spleen + 0.1 * canvas.z, cavity + 3), tissue["spleen"])
    _paint_rings(rng, canvas, tissue, cavity)

    # Fat around the heart and in the mediastinum, with the thin dark line of the pericardium.
    lumps = smooth_noise(rng, canvas.size, (0.8, 5.0, 5.0))
    sternal = canvas.blob(
        (float(rng.normal(-36, 5)), float(rng.normal(-42, 6))), (24.0, 46.0), 0.6, Wobble.draw(rng, 0.12)
    )
    mediastinum = np.maximum(np.minimum(heart - 3.5 - 3.5 * lumps, sternal - 3 * lumps), cavity + 1)
    canvas.paint(mediastinum, tissue["fat"] * (0.7 + 0.12 * lumps))
    canvas.paint(np.abs(heart - 5.5 - 2.0 * lumps) - 0.9, tissue["pericardium"], opacity=0.6)
    canvas.paint(heart - 2.5, tissue["fat"] * (0.55 + 0.15 * lumps), opacity=0.7)


def _paint_ribs(rng: Rng, canvas: Canvas, tissue: dict[str, float], cavity: np.ndarray, muscle: float) -> None:
    """Ribs cut across: dark shell, brighter marrow, at regular angles in the muscle layer."""
    angle = np.arctan2(canvas.y - 45, canvas.x - 18) + np.float32(rng.uniform(0, 1)) + 0.004 * canvas.z
    spacing = 2 * np.pi / 17
    across = (np.mod(angle, spacing) - spacing / 2) * np.float32(115)
    rib = np.sqrt((across / 1.8) ** 2 + (cavity - 0.45 * muscle) ** 2) - 0.32 * muscle
    canvas.paint(rib, 0.04, opacity=0.8)
    canvas.paint(rib + 2.0, tissue["bone"])


def _paint_lung_vessels(rng: Rng, canvas: Canvas, tissue: dict[str, float], cavity: np.ndarray) -> None:
    """Bright dots where vessels cross the slice: peaks of one noise field, whatever their number."""
    field = smooth_noise(rng, canvas.size, (0.5, 1.3, 1.3))
    canvas.paint(np.where(field > 2.1, cavity + 4, 50.0), tissue["vessel"] * 0.6, opacity=0.8)


def _paint_rings(rng: Rng, canvas: Canvas, tissue: dict[str, float], cavity: np.ndarray) -> None:
    """Round things that are not the heart: stomach with its wall, oesophagus, descending aorta, spine."""
    stomach = canvas.blob(
        (float(rng.normal(74, 6)), float(rng.normal(38, 8))),
        (float(rng.uniform(15, 22)), float(rng.uniform(18, 28))),
        0.3,
        Wobble.draw(rng, 0.08),
    )
    stomach = np.maximum(stomach + 0.2 * canvas.z, cavity + 3)
    canvas.paint(stomach - 3, tissue["wall"])
    canvas.paint(stomach, tissue["stomach"] * float(rng.uniform(0.3, 1.8)))
    spine = canvas.blob(
        (float(rng.normal(118, 4)), float(rng.normal(34, 5))), (17.0, 21.0), 0.0, Wobble.draw(rng, 0.05)
    )
    canvas.paint(spine - 12, tissue["muscle"])
    canvas.paint(spine, tissue["bone"])
    aorta = canvas.blob((float(rng.normal(80, 4)), float(rng.normal(72, 5))), (10.5, 10.5))
    canvas.paint(aorta - 2, tissue["wall"] * 0.6)
    canvas.paint(aorta, tissue["blood"])
    oesophagus = canvas.blob((float(rng.normal(62, 3)), float(rng.normal(70, 3))), (5.0, 7.0))
    canvas.paint(oesophagus, tissue["wall"])
    canvas.paint(oesophagus + 3, 0.03)
