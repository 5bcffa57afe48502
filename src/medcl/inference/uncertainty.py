"""How unsure a prediction is, from its class probabilities alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normalised_entropy(probabilities: Tensor, dim: int = 0) -> Tensor:
    """Return the Shannon entropy of the class probabilities divided by that of complete ignorance.

    u = -sum_c p_c log(p_c) / log(C), with 0 log 0 = 0 (Shannon 1948): 0 where one class is certain, 1 where all C
    classes are equally likely. It reflects what the network admits, not every error that it makes.

    Args:
        probabilities: Class probabilities along `dim`, summing to 1, any other axes.
        dim: The class axis.

    Returns:
        float32 in [0, 1], without the class axis. All zero for a single class.
    """
    classes = probabilities.shape[dim]
    if classes == 1:
        return torch.zeros_like(probabilities.select(dim, 0), dtype=torch.float32)
    entropy = torch.special.entr(probabilities.float()).sum(dim)
    return (entropy / math.log(classes)).clamp_(0.0, 1.0)
