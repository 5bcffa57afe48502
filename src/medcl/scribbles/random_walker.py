"""From strokes to a dense guess: which stroke does a random walker on the image meet first?"""

from __future__ import annotations

import warnings

import numpy as np
from pydantic import Field

from medcl.data.labels import UNLABELLED
from medcl.settings import Settings


class Walk(Settings):
    """How strokes grow along the image."""

    beta: float = Field(130.0, ge=0, description="How much the walker avoids edges of the image.")
    certainty: float = Field(0.9, gt=0.5, le=1, description="Smallest probability of a grown pixel.")
    shrink: int = Field(2, ge=1, description="The walk takes place on a grid this much coarser in the plane.")


def random_walk(image: np.ndarray, seeds: np.ndarray, *, classes: int, beta: float = 130.0) -> np.ndarray:
    """Probability per class that a walker from a pixel, which avoids steps over edges, meets a stroke of it first.

    Source: Grady, IEEE PAMI 28(11), 2006, the combinatorial Dirichlet problem, as
    `skimage.segmentation.random_walker` solves it: steps have the weight exp(-beta |x_i - x_j|^2 / (10 sd)), sd the
    standard deviation of the image, divided by the root of the number of channels. Every class with a stroke
    competes; a class without any gets 0 everywhere, so the caller must know that it is not in the image.

    Args:
        image: (channels, *S) float, S is (Y, X) or (Z, Y, X); steps along all axes count alike.
        seeds: (*S) int, class index where drawn, UNLABELLED elsewhere.
        classes: Number of classes C.
        beta: How much a walker avoids steps over edges; 0 sees only distances.

    Returns:
        (C, *S) float32, sum 1 at pixels that have an answer, 1 at strokes. All zero off the strokes where there is no
        answer: strokes of fewer than two classes, or an image without contrast.
    """
    from skimage.segmentation import random_walker

    drawn = [c for c in range(classes) if (seeds == c).any()]
    result = np.stack([seeds == c for c in range(classes)]).astype(np.float32)
    free = seeds == UNLABELLED
    values = np.moveaxis(np.asarray(image, np.float64), 0, -1)
    if len(drawn) < 2 or not free.any() or values.std() == 0:
        return result
    labels = np.zeros(seeds.shape, np.int32)
    for label, c in enumerate(drawn, start=1):
        labels[seeds == c] = label
    # Exact in 2D, where it is also faster; in 3D the factors of a direct solution would fill the memory. At the
    # library's own tolerance of 1e-3 a quarter of the pixels of cardiac slices changed their probability visibly.
    how = {"mode": "bf"} if seeds.ndim == 2 else {"mode": "cg_j", "tol": 1e-6}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # values outside 0..1 by rounding, clipped here
        found = random_walker(values, labels, beta=beta, return_full_prob=True, channel_axis=-1, **how)
    result[drawn] = np.clip(found, 0, 1)
    return result
