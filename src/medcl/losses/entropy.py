"""Confidence where nobody has drawn: predictions far from any stroke should still decide."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def unlabelled_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean entropy of the prediction over pixels without annotation.

    Source: Grandvalet and Bengio, NIPS 2004: the empirical conditional entropy H_emp of the labels given the inputs,
    -sum_k p_k log p_k per example. As there, an annotated example has no entropy left: its label is known. A pixel
    that is annotated in part counts in part.

    Args:
        logits: (N, C, *S).
        target: (N, C, *S) stroke weights, all zero where nothing is annotated.

    Returns:
        Scalar in 0..log C, in nats; 0 when every pixel is annotated.
    """
    # From logits: p log p is 0 * inf once p is rounded to 0, log_softmax keeps value and gradient finite.
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
    unlabelled = (1 - target.float().sum(dim=1)).clamp(0, 1)
    return (entropy * unlabelled).sum() / unlabelled.sum().clamp(min=1)
