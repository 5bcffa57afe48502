"""Smoothness of class maps: how much they change from pixel to pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def total_variation(probabilities: Tensor) -> Tensor:
    """Mean over pixels of the absolute change of the class maps to the next pixel along each axis.

    Source: Javanmardi et al., arXiv 1605.01368 (2016): L1 norm of the gradient of the label probabilities, after Rudin,
    Osher and Fatemi, Physica D 1992. Forward differences, none across the border; anisotropic: axes are added. A hard
    mask costs two per pixel edge of its outline (one class falls, another rises), divided by the number of pixels.
    Defined on all pixels: it needs no annotation, and a constant map costs nothing whatever its class.

    Args:
        probabilities: (N, C, *S), sum 1 over C.

    Returns:
        Scalar in 0..2 D for D axes: sum over samples, classes, axes and pixels, divided by samples times pixels.
    """
    maps = probabilities.float()
    pixels = maps.shape[0] * maps[0, 0].numel()
    steps = [maps.diff(dim=axis).abs().sum() for axis in range(2, maps.ndim)]
    return torch.stack(steps).sum() / pixels
