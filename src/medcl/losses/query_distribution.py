"""The loss that divides a mask transformer's queries between the classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def query_distribution_loss(answers: Tensor, counts: Sequence[int], target: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Negative log-likelihood of the class's group of queries, on annotated pixels only.

    The softmax over all queries says which cluster a pixel belongs to; summed over the queries of a class it is the
    probability of the class.

    Source: query-distribution loss of Yuan et al., CVPR 2023 (queries are divided between background and structures
    beforehand, and a pixel is drawn to the group of its class); on annotated pixels as in `partial_cross_entropy`
    (derived).

    Args:
        answers: (N, queries, *S) products of queries and pixels; the queries of a class follow each other.
        counts: Queries per class; sums to the number of queries.
        target: (N, len(counts), *S) non-negative weights, all zero where nothing is annotated.
        eps: Added to the denominator, so that a batch without any stroke gives 0.

    Returns:
        Scalar.
    """
    all_queries = answers.float().logsumexp(dim=1)
    groups = answers.float().split(list(counts), dim=1)
    log_shares = [group.logsumexp(dim=1) - all_queries for group in groups]
    total = sum((target[:, c] * share).sum() for c, share in enumerate(log_shares))
    return -total / (target.sum() + eps)
