"""Is an explanation right? Take away, or show, what it calls important first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medcl.inference.explain.scene import Scene

BLUR_SHARE = 0.05
"""Width of the blur that insertion starts from, as a share of the longest side: structures vanish, brightness stays."""


@dataclass(frozen=True)
class Faithfulness:
    """Areas under two curves of the score over the share of pixels.

    Attributes:
        deletion: Pixels are set to 0 from the most to the least salient; low is good.
        insertion: Pixels of the image take the place of blurred ones in the same order; high is good.
        deletion_curve: Score after each step.
        insertion_curve: Score after each step.
        shares: Share of pixels at each step, from 0 to 1.
    """

    deletion: float
    insertion: float
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]
    shares: tuple[float, ...]


def faithfulness(scene: Scene, saliency: Tensor, *, steps: int) -> Faithfulness:
    """Score a saliency map.

    Source: Petsiuk, Das and Saenko, RISE, BMVC 2018, section 4.2: deletion and insertion, the latter from a blurred
    image. Structures take a small part of a medical image: the shares are the squares of even steps, so that the first
    steps are fine, and the area is taken by trapezoids over them. Places of equal saliency, such as those that nobody
    tried, go by their distance from the structure, the nearest first (derived).

    Args:
        scene: The question.
        saliency: (*S); only its order counts.
        steps: Steps of the curves.
    """
    from scipy.ndimage import distance_transform_edt

    count = saliency.numel()
    near = torch.from_numpy(distance_transform_edt(~scene.asked.numpy(), sampling=scene.spacing_mm)).flatten()
    by_distance = torch.argsort(near, stable=True)
    order = by_distance[torch.argsort(saliency.flatten()[by_distance], descending=True, stable=True)]
    rank = torch.empty(count, dtype=torch.long)
    rank[order] = torch.arange(count)
    rank = rank.reshape(saliency.shape)
    shares = [(k / steps) ** 2 for k in range(steps + 1)]
    shown = torch.stack([rank < round(share * count) for share in shares])[:, None].to(scene.image.device)
    image, blurred = scene.image[None], _blurred(scene.image)[None]
    deleted = scene.score(torch.where(shown, torch.zeros_like(image), image)).tolist()
    inserted = scene.score(torch.where(shown, image, blurred)).tolist()
    return Faithfulness(_area(deleted, shares), _area(inserted, shares), tuple(deleted), tuple(inserted), tuple(shares))


def _area(values: list[float], shares: list[float]) -> float:
    return float(torch.trapezoid(torch.tensor(values), torch.tensor(shares)))


def _blurred(image: Tensor) -> Tensor:
    """Blur (channels, *S) along each axis with a Gaussian."""
    sigma = max(1.0, BLUR_SHARE * max(image.shape[1:]))
    result = image
    for axis in range(1, image.ndim):
        radius = min(int(3 * sigma), image.shape[axis] - 1)
        if radius < 1:
            continue
        places = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
        kernel = torch.exp(-0.5 * (places / sigma) ** 2)
        moved = result.movedim(axis, -1)
        flat = moved.reshape(-1, 1, moved.shape[-1])
        padded = functional.pad(flat, (radius, radius), mode="reflect")
        smooth = functional.conv1d(padded, (kernel / kernel.sum())[None, None])
        result = smooth.reshape(moved.shape).movedim(-1, axis)
    return result.contiguous()
