from __future__ import annotations

import math

import torch

from medcl.backbones import build_backbone
from medcl.losses.partial import partial_cross_entropy
from medcl.losses.query_distribution import query_distribution_loss


def test_by_hand() -> None:
    """Three queries, the first two of class 0; answers log 1, log 2, log 5: class 1 has 5 of 8."""
    answers = torch.log(torch.tensor([1.0, 2.0, 5.0])).reshape(1, 3, 1, 1)
    target = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
    assert math.isclose(float(query_distribution_loss(answers, (2, 1), target)), -math.log(5 / 8), rel_tol=1e-6)


def test_unlabelled_pixels_do_not_count_and_none_is_zero() -> None:
    torch.manual_seed(0)
    answers = torch.randn(2, 5, 4, 4)
    target = torch.zeros(2, 2, 4, 4)
    assert float(query_distribution_loss(answers, (3, 2), target)) == 0
    target[0, 1, 2, 2] = 1
    before = query_distribution_loss(answers, (3, 2), target)
    answers[1], answers[0, :, 0] = 100, -7
    assert torch.equal(before, query_distribution_loss(answers, (3, 2), target))


def test_equal_groups_make_it_the_cross_entropy_of_the_logits() -> None:
    """So any method trains the clusters of the backbone max-query."""
    torch.manual_seed(0)
    settings = {"base": 2, "levels": 2, "width": 4, "queries": 3, "background_queries": 3}
    network = build_backbone("max-query", in_channels=1, classes=3, ndim=2, **settings).eval()
    image, target = torch.randn(2, 1, 9, 8), torch.zeros(2, 3, 9, 8)
    target[:, 0, :3], target[:, 2, 5:] = 1, 1
    own = query_distribution_loss(network.answers(image), network.centres.counts, target)
    torch.testing.assert_close(own, partial_cross_entropy(network(image), target))
