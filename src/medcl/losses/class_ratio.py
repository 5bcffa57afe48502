"""Learning without any label: certain predictions whose structures are as large as they ought to be."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def inverse_ratio_weights(ratio: Tensor) -> Tensor:
    """Return weights of the classes by how rare they are.

    Source: Bateson et al., Source-Relaxed Domain Adaptation for Image Segmentation, MICCAI 2020: nu_k = (1 / tau_k) /
    sum over classes of (1 / tau_k), so that the background does not make up the entropy.

    Args:
        ratio: (C,) share of each class, sum 1. A class that is never there (0) counts like one of a millionth.

    Returns:
        (C,), sum 1.
    """
    inverse = 1 / ratio.clamp(min=1e-6)
    return inverse / inverse.sum()


def weighted_entropy(logits: Tensor, weights: Tensor, places: Tensor | None = None) -> Tensor:
    """Mean over pixels of the entropy with a weight per class.

    Source: Bateson et al., MICCAI 2020, weighted Shannon entropy: -sum_k nu_k p_k log(p_k). No label is read: every
    pixel is unlabelled here.

    Args:
        logits: (N, C, *S).
        weights: (C,).
        places: (N, *S), True where a pixel counts, at least one in each image; default: everywhere. Each image counts
            alike.

    Returns:
        Scalar >= 0, in nats.
    """
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    each = -(log_probabilities.exp() * log_probabilities)
    shape = (1, -1, *(1,) * (logits.ndim - 2))
    return _mean((each * weights.to(each).reshape(shape)).sum(dim=1, keepdim=True), places).squeeze(0)


def mean_ratio(logits: Tensor, places: Tensor | None = None) -> Tensor:
    """Return the predicted share of each class, (C,), sum 1: the mean of the probabilities over images and pixels.

    Args:
        logits: (N, C, *S).
        places: As for `weighted_entropy`.
    """
    return _mean(functional.softmax(logits.float(), dim=1), places)


def _mean(values: Tensor, places: Tensor | None) -> Tensor:
    """Return the mean over images of the mean over their places, (C,), of values (N, C, *S)."""
    if places is None:
        return values.flatten(2).mean(dim=(0, 2))
    counted = places.to(values).flatten(1)[:, None]
    return ((values.flatten(2) * counted).sum(dim=2) / counted.sum(dim=2)).mean(dim=0)


def ratio_divergence(predicted: Tensor, prior: Tensor, *, first: str = "prior") -> Tensor:
    """Return how far predicted shares of the classes are from those that are expected.

    Source: Bateson et al., MICCAI 2020, the Kullback-Leibler divergence of class ratios; KL(a || b) = sum_k a_k
    log(a_k / b_k). Their code has both directions: KL(tau_hat || tau), and the other as an option. With the prior first
    a class that vanishes costs without bound; with the prediction first it costs next to nothing where it is rare.

    Args:
        predicted: (C,) sum 1, with gradient.
        prior: (C,) sum 1; a class that is never there (0) counts like one of a millionth.
        first: "prior" or "prediction", the a of KL(a || b).

    Returns:
        Scalar, 0 where both are equal.
    """
    predicted, prior = predicted.clamp(min=1e-10), prior.to(predicted).clamp(min=1e-6)
    a, b = (prior, predicted) if first == "prior" else (predicted, prior)
    return torch.sum(a * (a / b).log())
