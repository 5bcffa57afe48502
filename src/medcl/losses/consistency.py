"""Agreement between the prediction of a mixed image and the mixed predictions."""

from __future__ import annotations

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
