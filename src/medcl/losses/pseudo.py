"""Labels that a network gives itself, and how far two of its answers are apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def hard_labels(probabilities: Tensor) -> Tensor:
    """Return (N, C, *S) weights: 1 for the most likely class of each pixel."""
    winner = probabilities.argmax(dim=1)
    return functional.one_hot(winner, probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)


def reliable_labels(probabilities: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Return the most likely class where it is likely enough and nobody drew.

    Source: Scribble2Label (Lee and Jeong, MICCAI 2020, section 2.2): pseudo labels where the averaged prediction is
    above the threshold, on pixels without annotation alone.

    Args:
        probabilities: (N, C, *S), the averaged prediction.
        target: (N, C, *S) stroke weights, all zero where nothing is annotated.
        threshold: Smallest probability, exclusive.

    Returns:
        (N, C, *S) weights, all zero at strokes and where the prediction is not sure.
    """
    sure = probabilities.amax(dim=1, keepdim=True) > threshold
    free = target.sum(dim=1, keepdim=True) == 0
    return hard_labels(probabilities) * sure * free


def entropy_map(probabilities: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Return (N, 1, *S), -sum over classes of p log(p + eps), in nats: 0 to log C."""
    return -(probabilities * (probabilities + eps).log()).sum(dim=1, keepdim=True)


def certainty_limit(progress: float) -> float:
    """Return the entropy up to which a teacher counts, at a share of the training.

    Source: Yu et al., MICCAI 2019 (uncertainty-aware mean teacher), as USTM takes it over: log 2 (3/4 + 1/4
    exp(-5 (1 - t)^2)). log 2 is the entropy of a pixel that two classes share evenly, for any number of classes.
    """
    return math.log(2) * (0.75 + 0.25 * math.exp(-5 * (1 - progress) ** 2))


def trusted_distance(probabilities: Tensor, teacher: Tensor, trusted: Tensor) -> Tensor:
    """Squared distance to the teacher where it is trusted.

    Source: Liu et al., Pattern Recognition 2022 (USTM), L_con = sum(1[u < H] |p - q|^2) / sum(1[u < H]); defined
    without any annotation.

    Args:
        probabilities: (N, C, *S).
        teacher: (N, C, *S), no gradient flows into it.
        trusted: (N, 1, *S) weights.

    Returns:
        Scalar in 0..2; 0 where the teacher is trusted nowhere.
    """
    weight = trusted.to(probabilities.dtype)
    distance = (probabilities - teacher.detach()).square().sum(dim=1, keepdim=True)
    return (distance * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
