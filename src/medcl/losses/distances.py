"""Statistical distances between two sets of masks: those that a network samples and those that people drew.

All are functions of the distances between the masks. Sets are small (2 to 16 masks), so every pair is compared.
Source of the idea: PULASki (Chatterjee et al., Medical Image Analysis 2025, arXiv:2312.15686), which puts a distance
between distributions in the place of the reconstruction term of a probabilistic U-Net. Its Frechet inception distance
is left out: it needs the weights of a network for photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Pairs:
    """Distances between masks of two sets, per sample of the batch.

    Attributes:
        xx: (N, K, K) within the sampled masks.
        xy: (N, K, R) from sampled to drawn masks.
        yy: (N, R, R) within the drawn masks.
        weight: (N, R) weight of each drawn mask, rows sum to 1; 0 for a rater who annotated nothing here. A row of
            zeros makes every distance 0.
    """

    xx: Tensor
    xy: Tensor
    yy: Tensor
    weight: Tensor


def mask_distances(sampled: Tensor, drawn: Tensor) -> Pairs:
    """Compare masks by the Euclidean distance of their class maps, each class in units of its mean size.

    Source: derived. Without the units a distance is one of the background; they are the same for all pairs of a sample,
    so that the distance stays that of a Euclidean space, which the energy distance needs to be 0 for equal sets only.
    Compared are voxels on which all raters with any annotation said something; unlabelled is not background.

    Args:
        sampled: (N, K, C, *S) probabilities.
        drawn: (N, R, C, *S) weights of the annotation, all zero where a rater said nothing.
    """
    sampled, drawn = sampled.float().flatten(3), drawn.float().flatten(3)
    said = drawn.sum(dim=2)  # (N, R, V)
    there = (said.sum(dim=2) > 0).float()  # (N, R)
    seen = ((said > 0) | (there[:, :, None] == 0)).all(dim=1).float()  # (N, V)
    seen = seen * (there.sum(dim=1, keepdim=True) > 0)
    weight = there / there.sum(dim=1, keepdim=True).clamp(min=1)
    shares = drawn / said[:, :, None].clamp(min=_TINY)
    size = torch.einsum("nrcv,nv,nr->nc", shares, seen, weight) + 1
    scale = (seen[:, None] / (size * size.shape[1])[:, :, None]).sqrt()[:, None]  # (N, 1, C, V)
    x, y = (sampled * scale).flatten(2), (shares * scale).flatten(2)
    return Pairs(_euclidean(x, x), _euclidean(x, y), _euclidean(y, y), weight)


def energy_distance(pairs: Pairs) -> Tensor:
    """Energy distance 2 E|X-Y| - E|X-X'| - E|Y-Y'|, mean over the batch.

    Source: Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013, eq. 2.1. Sampled masks are compared with others only
    (i != j), which makes the estimate unbiased; the drawn ones are the whole distribution.

    Returns:
        Scalar; 0 where nothing is annotated.
    """
    count = pairs.xx.shape[1]
    within = pairs.xx.sum(dim=(1, 2)) / max(count * (count - 1), 1)
    between = (pairs.xy.mean(dim=1) * pairs.weight).sum(dim=1)
    raters = torch.einsum("nr,nrs,ns->n", pairs.weight, pairs.yy, pairs.weight)
    return _mean(2 * between - within - raters, pairs)


def kernel_distance(pairs: Pairs, *, width: float = 0.5) -> Tensor:
    """Squared maximum mean discrepancy with a Gaussian kernel, mean over the batch.

    Source: Gretton et al., JMLR 13, 2012, eq. 3 for the sampled masks (i != j).

    Args:
        pairs: Distances.
        width: Standard deviation of the kernel, in the units of the distances.
    """
    xx, xy, yy = (torch.exp(-d.square() / (2 * width**2)) for d in (pairs.xx, pairs.xy, pairs.yy))
    count = pairs.xx.shape[1]
    others = (xx.sum(dim=(1, 2)) - xx.diagonal(dim1=1, dim2=2).sum(dim=1)) / max(count * (count - 1), 1)
    between = (xy.mean(dim=1) * pairs.weight).sum(dim=1)
    raters = torch.einsum("nr,nrs,ns->n", pairs.weight, yy, pairs.weight)
    return _mean(others + raters - 2 * between, pairs)


def sinkhorn_divergence(pairs: Pairs, *, blur: float = 0.05, steps: int = 50) -> Tensor:
    """Optimal transport between the sets, smoothed by entropy and without the bias of it, mean over the batch.

    Source: Feydy et al., AISTATS 2019, eqs. 1-4: OT(x, y) - (OT(x, x) + OT(y, y)) / 2, cost half the squared distance,
    entropy weight blur**2; symmetric updates in the log domain.

    Args:
        pairs: Distances.
        blur: Distance below which masks count as one.
        steps: Rounds of updates.

    Returns:
        Scalar, at least 0 up to rounding.
    """
    alpha = torch.full(pairs.xx.shape[:2], 1.0 / pairs.xx.shape[1], device=pairs.xx.device)
    beta = pairs.weight
    transport = [
        _transport(cost.square() / 2, a, b, blur**2, steps)
        for cost, a, b in ((pairs.xy, alpha, beta), (pairs.xx, alpha, alpha), (pairs.yy, beta, beta))
    ]
    return _mean(transport[0] - (transport[1] + transport[2]) / 2, pairs)


def hausdorff_divergence(pairs: Pairs, *, blur: float = 0.05) -> Tensor:
    """Soft Hausdorff distance between the sets: how far each mask is from the other set, against from its own.

    Source: Feydy and Trouve, ShapeMI 2018, 'Global divergences between measures: from Hausdorff distance to optimal
    transport': half the mean of softmin distances to the other set less those to the own; the cost is half the squared
    distance, the temperature blur**2. The loss that PULASki found best.
    """
    alpha = torch.full(pairs.xx.shape[:2], 1.0 / pairs.xx.shape[1], device=pairs.xx.device)
    beta, eps = pairs.weight, blur**2
    cost_xx, cost_xy, cost_yy = (d.square() / 2 for d in (pairs.xx, pairs.xy, pairs.yy))
    x_to_y, x_to_x = _softmin(cost_xy, beta, eps), _softmin(cost_xx, alpha, eps)
    y_to_x, y_to_y = _softmin(cost_xy.transpose(1, 2), alpha, eps), _softmin(cost_yy, beta, eps)
    apart = (alpha * (x_to_y - x_to_x)).sum(dim=1) + (beta * (y_to_x - y_to_y)).sum(dim=1)
    return _mean(apart / 2, pairs)


DISTANCES: dict[str, Callable[[Pairs], Tensor]] = {
    "energy": energy_distance,
    "sinkhorn": sinkhorn_divergence,
    "hausdorff": hausdorff_divergence,
    "kernel": kernel_distance,
}
"""Distances by name."""


def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    """(N, K, D), (N, R, D) -> (N, K, R); differences of equal masks have gradient 0, not NaN."""
    squared = (x[:, :, None] - y[:, None]).square().sum(dim=3)
    return torch.where(squared > _TINY, squared.clamp(min=_TINY).sqrt(), torch.zeros_like(squared))


def _mean(values: Tensor, pairs: Pairs) -> Tensor:
    """Mean over samples in which anyone annotated anything; 0 without such."""
    use = pairs.weight.sum(dim=1) > 0
    return torch.where(use, values, torch.zeros_like(values)).sum() / use.sum().clamp(min=1)


def _softmin(cost: Tensor, weight: Tensor, eps: float, potential: Tensor | None = None) -> Tensor:
    """-eps log sum_j weight_j exp((potential_j - cost_ij) / eps): (N, I, J), (N, J) -> (N, I)."""
    log = torch.log(weight.clamp(min=_TINY))[:, None] - cost / eps
    if potential is not None:
        log = log + potential[:, None] / eps
    log = log.masked_fill((weight == 0)[:, None], -1e9)
    return -eps * torch.logsumexp(log, dim=2)


def _transport(cost: Tensor, alpha: Tensor, beta: Tensor, eps: float, steps: int) -> Tensor:
    """Dual value (N,) of entropic optimal transport; the gradient is that of the last update (envelope theorem)."""
    f, g = torch.zeros_like(alpha), torch.zeros_like(beta)
    with torch.no_grad():
        # from coarse to fine: the temperature halves until it is eps, which a cold start would take very long for
        temperature = max(float(cost.detach().max()), eps)
        for _ in range(steps):
            next_f = _softmin(cost, beta, temperature, g)
            next_g = _softmin(cost.transpose(1, 2), alpha, temperature, f)
            f, g = (f + next_f) / 2, (g + next_g) / 2
            temperature = max(temperature / 2, eps)
    f, g = _softmin(cost, beta, eps, g.detach()), _softmin(cost.transpose(1, 2), alpha, eps, f.detach())
    return (alpha * f).sum(dim=1) + (beta * g).sum(dim=1)
