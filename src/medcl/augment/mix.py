"""Mixing of images and of their strokes, within one image and between images.

Stroke weights mix linearly: the weight of a mixed pixel is at most 1, and unlabelled is what is missing to 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def beta(shape: tuple[int, ...], alpha: float, generator: torch.Generator) -> Tensor:
    """Draw float32 values from Beta(alpha, alpha), on the CPU.

    NumPy draws, seeded by one draw of the torch generator: torch's own Beta takes no generator.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, size=shape)).float()


def random_boxes(
    count: int, size: tuple[int, ...], fraction: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw one axis-aligned box per sample.

    Args:
        count: Number of samples N.
        size: Spatial size S, (Y, X) or (Z, Y, X).
        fraction: Smallest and largest side of the box as a share of each axis.
        generator: Source of randomness, on the CPU.

    Returns:
        (N, 1, *S) float, 1 inside the box and 0 outside. Sides are whole pixels, each length from floor(smallest * L)
        to floor(largest * L) equally likely (as the reference code draws them). All sides of one box use the same
        draw, so the box is square on a square image and fits any other one.
    """
    low, high = fraction
    draw = torch.rand(count, generator=generator)
    mask = torch.ones(count, 1, *size)
    for axis, length in enumerate(size):
        shortest, longest = (max(1, int(share * length)) for share in (low, high))
        side = shortest + (draw * (longest - shortest + 1)).floor()
        start = (torch.rand(count, generator=generator) * (length - side + 1)).floor()
        position = torch.arange(length)[None]
        inside = (position >= start[:, None]) & (position < (start + side)[:, None])
        shape = [count, 1] + [1] * len(size)
        shape[axis + 2] = length
        mask = mask * inside.reshape(shape)
    return mask


def intra_mix(first: Tensor, second: Tensor, box: Tensor, weight: Tensor) -> Tensor:
    """Mix two views of the same image: the first inside the box, a blend of both outside.

    Source: MedCL reference code, `self_aug`: m * x1 + (1 - m) * (b * x1 + (1 - b) * x2).

    Args:
        first: (N, K, *S), images or stroke weights.
        second: (N, K, *S).
        box: (N, 1, *S), 1 inside.
        weight: (N,) b in 0..1.

    Returns:
        (N, K, *S).
    """
    b = weight.reshape(-1, *(1,) * (first.ndim - 1))
    return box * first + (1 - box) * (b * first + (1 - b) * second)


def inter_mix(values: Tensor, weight: Tensor) -> Tensor:
    """Mix each sample with its partner, the sample at the mirrored place of the batch.

    Source: MedCL reference code: b * x + (1 - b) * flip(x).

    Args:
        values: (N, K, *S), images, stroke weights or probabilities.
        weight: (N,) b in 0..1.

    Returns:
        (N, K, *S). With an odd N the middle sample stays itself.
    """
    b = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return b * values + (1 - b) * values.flip(0)
