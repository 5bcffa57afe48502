"""Mixing two images block by block, so that what matters to the network stays visible."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_POOL = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


def puzzle_mask(saliency: Tensor, partner: Tensor, weight: Tensor, *, blocks: int, prior: float = 0.2) -> Tensor:
    """Choose for each block the image in which the network looks at more.

    Source: Puzzle Mix (Kim, Choo and Song, ICML 2020, eq. 6) without smoothness and transport: without the terms
    between neighbours the graph cut decides each block by itself, and image n is taken where
    s_n + prior / B log(b) > s_n' + prior / B log(1 - b), s the saliency as a share of the image's, B the number of
    blocks.

    Args:
        saliency: (N, 1, *S) non-negative.
        partner: (N,) index of the sample that each one is mixed with.
        weight: (N,) b in 0..1; large values favour the sample itself.
        blocks: Blocks per axis; an axis with fewer pixels has as many blocks as pixels.
        prior: How much b counts.

    Returns:
        (N, 1, *S) float, 1 where the sample itself is taken, 0 where its partner is.
    """
    size = saliency.shape[2:]
    cells = tuple(min(blocks, length) for length in size)
    pooled = _POOL[len(size)](saliency.float(), cells)  # type: ignore[arg-type]
    axes = tuple(range(1, pooled.ndim))
    share = pooled / pooled.sum(axes, keepdim=True).clamp(min=1e-12)
    b = weight.to(share).reshape(-1, *(1,) * len(axes)).clamp(1e-8, 1 - 1e-8)
    ahead = share - share[partner] + prior / share[0].numel() * (b.log() - (1 - b).log())
    return functional.interpolate((ahead > 0).float(), size=size, mode="nearest")


def puzzle_mix(values: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Mix (N, K, *S) images, stroke weights or probabilities by the mask (N, 1, *S) of `puzzle_mask`."""
    return mask * values + (1 - mask) * values[partner]
