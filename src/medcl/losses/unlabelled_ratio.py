"""Learning from unlabelled pixels by knowing how many of them belong to each class, though not which ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_PIXELS = 20_000
"""Unlabelled pixels, evenly thinned, from which class ratios are estimated."""


def class_ratios(posteriors: Tensor, prior: Tensor, *, most_steps: int = 100, tolerance: float = 1e-3) -> Tensor:
    """Estimate the share of each class among unlabelled pixels by expectation maximisation.

    Source: ShapePU (Zhang and Zhuang, MICCAI 2022, section 2.1), the algorithm of Saerens et al., Neural Computation
    14(1), 2002. Expectation: q_c(x) = r_c p_c(x) / l_c over the sum of the same for all classes; maximisation: r_c =
    mean of q_c. l is the share of each class among the annotated pixels that p was learnt from, and the start of r.

    Args:
        posteriors: (n, C) probabilities p of unlabelled pixels.
        prior: (C,) l, sum 1.
        most_steps: Steps at most.
        tolerance: Stop once the ratios change by less in sum.

    Returns:
        (C,) ratios r, sum 1. A class that nobody drew (l = 0) cannot be estimated: it has ratio 0 and takes no part.
    """
    drawn = prior > 0
    ratio = prior.clone()
    for _ in range(most_steps):
        weight = torch.where(drawn, ratio / prior.clamp(min=1e-12), 0.0)
        joint = posteriors * weight
        updated = (joint / joint.sum(dim=1, keepdim=True).clamp(min=1e-12)).mean(dim=0)
        change = (updated - ratio).abs().sum()
        ratio = updated
        if change < tolerance:
            break
    return ratio


@torch.no_grad()
def ruled_out(probabilities: Tensor, target: Tensor) -> Tensor:
    """Tell which structures an unlabelled pixel is not, from their ratios in the batch.

    Source: ShapePU, section 2.1: unlabelled pixels are ranked by the probability of a class; as many as its ratio says
    may belong to it, the others do not. Background (class 0) is never ruled out.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        target: (N, C, *S) stroke weights. A class without a stroke in the batch is not absent: it is left alone.

    Returns:
        (N, C, *S) bool, False at annotated pixels.
    """
    drawn = target.sum(dim=1) > 0
    result = torch.zeros_like(probabilities, dtype=torch.bool)
    prior = target.movedim(1, 0).flatten(1).sum(dim=1)
    free = probabilities.movedim(1, -1)[~drawn]
    if not prior.any() or not len(free):
        return result
    prior = prior / prior.sum()
    ratios = class_ratios(free[:: 1 + len(free) // MOST_PIXELS], prior)
    for c in range(1, probabilities.shape[1]):
        if prior[c] > 0:
            # Pixels as likely as the last one that may belong to the class cannot be told from it: all stay possible.
            possible = max(1, math.ceil(float(ratios[c]) * len(free) - 1e-3))
            threshold = free[:, c].kthvalue(len(free) - possible + 1).values
            result[:, c] = (probabilities[:, c] < threshold) & ~drawn
    return result


def negative_loss(probabilities: Tensor, excluded: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Maximise the probability that a pixel is none of the classes that it is known not to be.

    Source: ShapePU, the marginal probability of section 2.1 in the form of the reference code (BWGZK/ShapePU):
    -log of the sum of p over the classes that are left, mean over pixels with a class ruled out.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        excluded: (N, C, *S) bool, see `ruled_out`.
        eps: Inside the logarithm.

    Returns:
        Scalar >= 0; 0 where nothing is ruled out.
    """
    left = (probabilities * ~excluded).sum(dim=1)
    informative = excluded.any(dim=1)
    loss = -(left.clamp(0, 1) + eps).log()
    return torch.where(informative, loss, 0.0).sum() / informative.sum().clamp(min=1)
