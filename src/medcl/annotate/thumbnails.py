"""A small picture of a scan for the case list."""

from __future__ import annotations

import numpy as np
from PIL import Image as Picture

from medcl.data.grid import COARSE_RATIO

SIDE = 160
"""Longest side in pixels."""


def draw(view: np.ndarray, spacing_mm: tuple[float, float, float]) -> Picture.Image:
    """Draw the slice of the middle half that shows most, upright, with true proportions.

    Slices are cut across the axis with clearly the largest spacing, else across the head-foot axis.

    Args:
        view: (1 or 3, K, J, I): one channel in any real type, or colours as uint8.
        spacing_mm: (i, j, k).
    """
    across = _slice_axis(view.shape[1:], spacing_mm[::-1])
    volume = np.moveaxis(view, 1 + across, 1)
    count = volume.shape[1]
    middle = range(count // 4, max(count // 4 + 1, count - count // 4))
    number = max(middle, key=lambda k: float(volume[:, k, ::4, ::4].astype(np.float32).std()))
    plane = volume[:, number, ::-1]  # the head, or the front, is up
    rows_mm, columns_mm = (spacing for axis, spacing in enumerate(spacing_mm[::-1]) if axis != across)
    height, width = plane.shape[1] * rows_mm, plane.shape[2] * columns_mm
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Radiologists see the patient's right on the left: i grows to the right of the patient, so columns run backwards,
    # but for pictures of the sagittal plane, whose columns run to the front.
    pixels = plane if across == 2 else plane[:, :, ::-1]
    if len(pixels) == 3:
        picture = Picture.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), "RGB")
    else:
        values = pixels[0].astype(np.float32)
        low, high = np.percentile(values, (1, 99.5))
        grey = np.clip((values - low) * (255 / max(float(high - low), 1e-12)), 0, 255)
        picture = Picture.fromarray(np.ascontiguousarray(grey.astype(np.uint8)), "L")
    return picture.resize(size, Picture.Resampling.BILINEAR)


def _slice_axis(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> int:
    if 1 in shape:
        return shape.index(1)
    finer, coarsest = np.argsort(spacing_mm, kind="stable")[1:]
    return int(coarsest) if spacing_mm[coarsest] >= COARSE_RATIO * spacing_mm[finer] else 0
