from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from medcl.losses.class_ratio import inverse_ratio_weights, mean_ratio, ratio_divergence, weighted_entropy


def test_rare_classes_weigh_more_by_hand() -> None:
    # 1/0.8 : 1/0.2 = 1.25 : 5 = 1 : 4
    assert inverse_ratio_weights(torch.tensor([0.8, 0.2])).tolist() == pytest.approx([0.2, 0.8])


def test_entropy_by_hand() -> None:
    logits = torch.zeros(1, 2, 2, 2)  # undecided everywhere: p = 1/2, -p log p = log(2) / 2 for each class
    assert float(weighted_entropy(logits, torch.tensor([1.0, 3.0]))) == pytest.approx(2 * math.log(2))
    logits[:, 0] = 100.0
    assert float(weighted_entropy(logits, torch.tensor([1.0, 3.0]))) == pytest.approx(0.0, abs=1e-6)


def test_entropy_is_that_of_the_paper_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(2, 3, 4, 5), torch.tensor([0.1, 0.3, 0.6])
    p = logits.softmax(1)
    total = sum(
        -float(weights[k] * p[n, k, y, x] * p[n, k, y, x].log())
        for n in range(2)
        for k in range(3)
        for y in range(4)
        for x in range(5)
    )
    assert float(weighted_entropy(logits, weights)) == pytest.approx(total / 40, rel=1e-5)


def test_certain_logits_have_a_finite_gradient() -> None:
    logits = torch.tensor([[[[1e4]], [[-1e4]]]], requires_grad=True)
    weighted_entropy(logits, torch.ones(2)).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_divergence_against_torch() -> None:
    predicted, prior = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])
    judge = functional.kl_div(prior.log(), predicted, reduction="sum")
    assert float(ratio_divergence(predicted, prior, first="prediction")) == pytest.approx(float(judge), rel=1e-5)
    judge = functional.kl_div(predicted.log(), prior, reduction="sum")
    assert float(ratio_divergence(predicted, prior)) == pytest.approx(float(judge), rel=1e-5)
    assert float(ratio_divergence(prior, prior)) == pytest.approx(0.0, abs=1e-7)
    assert float(ratio_divergence(predicted, torch.tensor([1.0, 0.0, 0.0]))) < 20  # never there: finite


def test_a_vanished_class_costs_much_with_the_prior_first() -> None:
    prior, gone = torch.tensor([0.98, 0.02]), torch.tensor([1.0, 0.0])
    assert float(ratio_divergence(gone, prior, first="prediction")) < 0.03
    assert float(ratio_divergence(gone, prior)) > 0.3


def test_mean_ratio_sums_to_one() -> None:
    ratio = mean_ratio(torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert ratio.shape == (3,)
    assert float(ratio.sum()) == pytest.approx(1.0)
