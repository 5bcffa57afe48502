"""How far a structure can be from its own strokes: whoever draws a structure draws near all of it."""

from __future__ import annotations

import numpy as np

from medcl.data.labels import UNLABELLED

COARSE = 8
"""Side in pixels of the cells on which distances are taken; a reach is many cells long."""


def beyond_reach(
    strokes: np.ndarray,
    spacing_mm: tuple[float, float, float],
    reach_mm: float,
    *,
    classes: int,
    annotated: tuple[int, ...],
    across_slices: bool,
) -> np.ndarray:
    """Mark where each class cannot be because its own strokes are too far away.

    Background, classes that were not looked for, and slices (2D) or volumes (3D) in which a class was not drawn are
    never marked: there the strokes say nothing about distance.

    Args:
        strokes: (Z, Y, X) class indices and `UNLABELLED`.
        spacing_mm: Spacing (z, y, x) in mm.
        reach_mm: Distances below this are possible.
        classes: Number of classes C.
        annotated: Classes that were looked for in this case.
        across_slices: Measure in 3D; otherwise in each slice on its own.

    Returns:
        (C, Z, ceil(Y / COARSE), ceil(X / COARSE)) bool, True where the class cannot be. Every part of a cell is farther
        than the reach: distances between cells are taken between their nearest sides.
    """
    from scipy.ndimage import distance_transform_edt

    depth, height, width = strokes.shape
    rows, columns = -(-height // COARSE), -(-width // COARSE)
    far = np.zeros((classes, depth, rows, columns), bool)
    spacing = (spacing_mm[0], spacing_mm[1] * COARSE, spacing_mm[2] * COARSE)
    slack_mm = float(np.hypot(spacing[1], spacing[2]))  # two points of two cells are at most this much closer
    missing = ((0, 0), (0, rows * COARSE - height), (0, columns * COARSE - width))
    padded = np.pad(strokes, missing, constant_values=UNLABELLED)
    cells = padded.reshape(depth, rows, COARSE, columns, COARSE)
    for c in annotated:
        if c == 0:
            continue
        drawn = (cells == c).any(axis=(2, 4))
        if across_slices:
            if drawn.any():
                far[c] = distance_transform_edt(~drawn, sampling=spacing) > reach_mm + slack_mm
        else:
            for z in np.flatnonzero(drawn.any(axis=(1, 2))):
                far[c, z] = distance_transform_edt(~drawn[z], sampling=spacing[1:]) > reach_mm + slack_mm
    return far
