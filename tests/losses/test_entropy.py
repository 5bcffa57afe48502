"""Entropy off the strokes by hand and against torch's distributions."""

from __future__ import annotations

import math

import pytest
import torch

from medcl.losses.entropy import unlabelled_entropy


def test_only_pixels_without_annotation_count() -> None:
    # Pixel 0 is drawn, pixel 1 has even odds, pixel 2 is 1 : 3.
    probabilities = torch.tensor([[0.9, 0.5, 0.25], [0.1, 0.5, 0.75]])[None]
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])[None]
    one_to_three = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert unlabelled_entropy(probabilities.log(), target).item() == pytest.approx((math.log(2) + one_to_three) / 2)


def test_half_annotated_pixels_count_half() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0]])[None]
    target = torch.tensor([[0.5, 0.0], [0.0, 0.0]])[None]
    p = torch.tensor([0.0, 3.0]).softmax(0)
    sure = -(p * p.log()).sum().item()
    assert unlabelled_entropy(logits, target).item() == pytest.approx((0.5 * math.log(2) + sure) / 1.5)


@pytest.mark.parametrize("size", [(6, 5), (2, 4, 3)])
def test_agrees_with_torch(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, *size, generator=generator)
    drawn = torch.rand(2, 1, *size, generator=generator) < 0.3
    target = drawn * torch.nn.functional.one_hot(torch.randint(4, (2, *size), generator=generator), 4).movedim(-1, 1)
    judge = torch.distributions.Categorical(logits=logits.movedim(1, -1)).entropy()[~drawn[:, 0]].mean()
    torch.testing.assert_close(unlabelled_entropy(logits, target), judge)


def test_everything_annotated_costs_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    target = torch.nn.functional.one_hot(torch.zeros(1, 4, 4, dtype=torch.long), 3).movedim(-1, 1)
    loss = unlabelled_entropy(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_certain_predictions_have_a_finite_gradient() -> None:
    logits = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 3, 1).requires_grad_()
    loss = unlabelled_entropy(logits, torch.zeros(1, 3, 1))
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert logits.grad.isfinite().all()
