"""Knowledge of what is where: classes that cannot be at a place must not be predicted there."""

from __future__ import annotations

import torch
from torch import Tensor


def class_existence(
    probabilities: Tensor, present: Tensor, absent: Tensor | None = None, *, eps: float = 1e-10
) -> Tensor:
    """Penalise probability mass on classes that are not in the image, or not at the place.

    Source: MedCL reference code, L_ex = -mean log(sum_c I[n, c] p[n, c] + eps), where I says which classes the image
    holds. Derived: I may also depend on the place, as a class cannot be far from all of its own strokes.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        present: (N, C) bool, classes that may exist in the image (drawn, or never looked for). A sample without any
            such class says nothing and is left out.
        absent: (N, C, *S) weights, 1 where a class is known not to be; None where no place is known.
        eps: Inside the logarithm.

    Returns:
        Scalar >= 0.
    """
    possible = present.reshape(*present.shape, *(1,) * (probabilities.ndim - 2)).to(probabilities.dtype)
    if absent is not None:
        possible = possible * (1 - absent)
    allowed = (probabilities * possible).sum(dim=1)
    # A pixel where every class is ruled out contradicts itself and says nothing.
    informative = (possible.amax(dim=1) > 0) & present.any(dim=1).reshape(-1, *(1,) * (allowed.ndim - 1))
    loss = -(allowed.clamp(0, 1) + eps).log()
    weight = informative.to(loss.dtype).expand_as(loss)
    return (torch.where(weight > 0, loss, 0.0) * weight).sum() / weight.sum().clamp(min=1)
