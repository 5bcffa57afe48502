"""Turning a batch in the plane, for methods that compare a prediction with that of the turned image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_angles(count: int, most: float, generator: torch.Generator) -> Tensor:
    """Draw (N,) angles in degrees, equally likely from -most to most, on the CPU."""
    return (torch.rand(count, generator=generator) * 2 - 1) * most


def turn(values: Tensor, degrees: Tensor, *, nearest: bool = False) -> Tensor:
    """Turn each sample around its centre, in the (Y, X) plane.

    Args:
        values: (N, K, *S) images, stroke weights, probabilities or masks.
        degrees: (N,) angles, from the x axis towards the y axis as the array is indexed.
        nearest: Take the nearest pixel, as stroke weights want it; linear interpolation otherwise.

    Returns:
        (N, K, *S) float32, 0 (unlabelled, the mean of a normalised image) where the turned sample leaves a gap.
    """
    height, width = values.shape[-2:]
    radians = (degrees * torch.pi / 180).to(values.device, torch.float32).reshape(-1, 1, 1)
    y = (torch.arange(height, device=values.device) - (height - 1) / 2)[:, None]
    x = (torch.arange(width, device=values.device) - (width - 1) / 2)[None, :]
    # Where each pixel of the result comes from, in pixels around the centre. No matrix product: bf16 would round it.
    cos, sin = radians.cos(), radians.sin()
    grid = torch.stack(((cos * x + sin * y) * 2 / width, (cos * y - sin * x) * 2 / height), dim=-1)
    planes = values.float().reshape(values.shape[0], -1, height, width)
    mode = "nearest" if nearest else "bilinear"
    return functional.grid_sample(planes, grid, mode=mode, align_corners=False).reshape(values.shape)
