"""How unsure a prediction is, from its class probabilities, or from several sets of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


def mutual_information(maps: Iterable[Tensor], dim: int = 0) -> Tensor:
    """Return how far several probability maps contradict each other: H(mean p) - mean H(p), divided by log(C).

    What more data could settle (epistemic), while the mean of the entropies stays (aleatoric). Source: Houlsby et al.
    (Bayesian Active Learning by Disagreement, 2011), eq. 2; the division makes it comparable with the normalised
    entropy, of which it is a part.

    Args:
        maps: Class probabilities of one shape, such as `Model.samples` yields; each is used once.
        dim: The class axis.

    Returns:
        float32 in [0, 1], without the class axis; all zero for a single map.

    Raises:
        ValueError: There is no map.
    """
    total: Tensor | None = None
    entropies: Tensor | None = None
    count = 0
    for one in maps:
        values = one.float()
        entropy = normalised_entropy(values, dim)
        total = values.clone() if total is None else total.add_(values)
        entropies = entropy if entropies is None else entropies.add_(entropy)
        count += 1
    if total is None or entropies is None:
        raise ValueError("expected at least one probability map, got none")
    return (normalised_entropy(total / count, dim) - entropies / count).clamp_(0.0, 1.0)
