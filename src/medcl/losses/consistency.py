"""Agreement between two predictions: of a mixed or changed image, and the mixed or changed one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mix_consistency(mixed_probabilities: Tensor, probabilities_of_mixed: Tensor, *, eps: float = 1e-8) -> Tensor:
    """One minus the cosine between class maps.

    Source: MedCL reference code, L_mc = 1 - mean over samples and classes of cos(b p_n + (1-b) p_n', q_n), the
    cosine taken over the pixels of each class map. Defined on all pixels: it needs no annotation.

    Args:
        mixed_probabilities: (N, C, *S), mix of the predictions.
        probabilities_of_mixed: (N, C, *S), prediction of the mix.
        eps: Smallest norm.

    Returns:
        Scalar in 0..1 for non-negative maps.
    """
    similarity = functional.cosine_similarity(
        mixed_probabilities.flatten(2), probabilities_of_mixed.flatten(2), dim=2, eps=eps
    )
    return 1 - similarity.mean()


def pixel_consistency(first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor:
    """One minus the cosine between the class probabilities of each pixel.

    Source: the reference code of CycleMix (Zhang and Zhuang, CVPR 2022): 1 - mean over pixels of the cosine over
    classes; the weight leaves out pixels that one of the two did not see. It needs no annotation.

    Args:
        first: (N, C, *S).
        second: (N, C, *S).
        weight: (N, 1, *S); None counts all pixels alike.

    Returns:
        Scalar in 0..1 for non-negative maps; 0 where no pixel counts.
    """
    apart = 1 - functional.cosine_similarity(first, second, dim=1)
    if weight is None:
        return apart.mean()
    counted = weight[:, 0].to(apart.dtype)
    return (apart * counted).sum() / counted.sum().clamp(min=1e-6)


@torch.no_grad()
def largest_pieces(labels: Tensor, classes: int) -> Tensor:
    """Keep the largest connected piece of each structure in each sample; the others become background.

    Source: the integrity term of CycleMix's reference code. Pixels that share a face, an edge or a corner are
    connected; among pieces of one size the first in array order stays.

    Args:
        labels: (N, *S) class indices.
        classes: Number of classes, background (0) included.

    Returns:
        (N, *S) class indices.
    """
    from scipy import ndimage

    result = labels.cpu().numpy().copy()
    corners = np.ones((3,) * (labels.ndim - 1))
    for sample in result:
        for c in range(1, classes):
            pieces, count = ndimage.label(sample == c, structure=corners)
            if count > 1:
                largest = np.bincount(pieces.ravel())[1:].argmax() + 1
                sample[(pieces > 0) & (pieces != largest)] = 0
    return torch.from_numpy(result).to(labels.device)
