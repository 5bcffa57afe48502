"""Losses that look at annotated pixels only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def partial_cross_entropy(logits: Tensor, target: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Cross-entropy on annotated pixels, one ratio over the whole batch.

    Source: Tang et al., CVPR 2018, eq. 1; soft weights as in the MedCL reference code (term L_pce).

    Args:
        logits: (N, C, *S).
        target: (N, C, *S) non-negative weights, all zero where nothing is annotated.
        eps: Added to the denominator, so that a batch without any stroke gives 0.

    Returns:
        Scalar: -sum(target * log softmax(logits)) / (sum(target) + eps).
    """
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    return -(target * log_probabilities).sum() / (target.sum() + eps)


def balanced(target: Tensor, balance: float) -> Tensor:
    """Weigh annotation so that classes with few drawn pixels count as much as those with many.

    Source: derived; inverse class frequency, over the batch, as is usual for unequal classes. How much of a class was
    drawn says more about the hand than about the class: background gets the longest strokes, and a network that
    counts pixels learns to prefer it.

    Args:
        target: (N, C, *S) non-negative weights, all zero where nothing is annotated.
        balance: 0 leaves the weights as they are; at 1 each class that was drawn has the same sum over the batch.

    Returns:
        (N, C, *S), the sum over all is that of `target`. Zero stays zero: what is not annotated stays so.
    """
    if not balance:
        return target
    drawn = target.sum(dim=(0, *range(2, target.ndim)))
    factor = torch.where(drawn > 0, drawn.clamp(min=1e-12) ** -balance, 0.0)
    total = (factor * drawn).sum()
    factor = factor * drawn.sum() / total.clamp(min=torch.finfo(factor.dtype).tiny)
    return target * factor.reshape(1, -1, *(1,) * (target.ndim - 2))


def labelled_dice(probabilities: Tensor, target: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Soft Dice per class, on annotated pixels only; classes without a stroke in the batch are left out.

    Source: derived from the soft Dice of Milletari et al., 3DV 2016, with every sum restricted to annotated pixels
    (as nnU-Net's ignore label does, Gotkowski et al. 2024). The reference code of MedCL sums the probabilities over
    *all* pixels, see `faithful_dice`.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        target: (N, C, *S) weights; their sum over C is the annotation weight of the pixel.
        eps: Smoothing of numerator and denominator.

    Returns:
        Scalar in 0..1; 0 when nothing is annotated.
    """
    axes = (0, *range(2, target.ndim))
    weight = target.sum(dim=1, keepdim=True)
    overlap = (probabilities * target).sum(axes)
    total = (probabilities * weight).sum(axes) + target.sum(axes)
    drawn = target.sum(axes) > 0
    dice = (2 * overlap + eps) / (total + eps)
    return ((1 - dice) * drawn).sum() / drawn.sum().clamp(min=1)


def faithful_dice(probabilities: Tensor, target: Tensor, *, eps: float = 1e-10) -> Tensor:
    """The "multiDice" of the MedCL reference code: one ratio over all classes and all pixels.

    Source: BWGZK-keke/MedCL, commit 6b7e6de. Because probabilities sum to 1 in every pixel, this is linear in the
    mean probability at strokes and has the floor 1 - 2L / (NS + L) for L annotated of NS pixels.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        target: (N, C, *S) weights; a pixel counts for its largest class if that outweighs being unlabelled.
        eps: Smoothing of numerator and denominator.

    Returns:
        Scalar in 0..1.
    """
    unlabelled = 1 - target.sum(dim=1, keepdim=True)
    winner = torch.cat((target, unlabelled), dim=1).argmax(dim=1)
    classes = target.shape[1]
    hard = functional.one_hot(winner, classes + 1).movedim(-1, 1)[:, :classes].to(probabilities.dtype)
    return 1 - (2 * (probabilities * hard).sum() + eps) / (probabilities.sum() + hard.sum() + eps)
