"""Two views of an image should give the same code, and each number of the code should say something of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def barlow_twins(first: Tensor, second: Tensor, *, off_diagonal: float = 5e-3, eps: float = 1e-5) -> Tensor:
    """Distance of the cross-correlation of two sets of codes from the identity.

    Source: Barlow Twins (Zbontar et al., ICML 2021), eq. 1 and 2: sum over i of (1 - C_ii)^2 plus `off_diagonal` times
    the sum over i != j of C_ij^2, C being the correlation over the batch. Needs no annotation.

    Args:
        first: (N, D), codes of one view of each image, N at least 2.
        second: (N, D), codes of the other view of the same images.
        off_diagonal: Weight of the second sum.
        eps: Added to variances.

    Returns:
        Scalar.
    """
    correlation = _standardised(first, eps).T @ _standardised(second, eps) / len(first)
    diagonal = correlation.diagonal()
    same = (1 - diagonal).square().sum()
    return same + off_diagonal * (correlation.square().sum() - diagonal.square().sum())


def _standardised(codes: Tensor, eps: float) -> Tensor:
    codes = codes.float() - codes.float().mean(dim=0)
    return codes / torch.sqrt(codes.square().mean(dim=0) + eps)
