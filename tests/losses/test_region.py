"""Intensity variance and Mumford-Shah energy by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medcl.losses.region import intensity_variance, mumford_shah, standardised


def random_case(size: tuple[int, ...], channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(2, 3, *size, generator=generator).softmax(1)
    return probabilities, torch.randn(2, channels, *size, generator=generator)


# Class 0 holds intensities 0 and 2 (mean 1), class 1 holds 5 and 5.
HARD = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])[None, :, None]
ROW = torch.tensor([0.0, 2, 5, 5]).reshape(1, 1, 1, 4)


def test_variance_by_hand() -> None:
    assert intensity_variance(HARD, ROW, eps=0).item() == pytest.approx((1 + 0) / 2)
    assert intensity_variance(HARD, ROW).item() == pytest.approx((2 / 3 + 0) / 2)  # two pixels, one added


def test_energy_by_hand() -> None:
    # Squared distances 1 + 1 + 0 + 0 over four pixels, and one edge between two classes.
    assert mumford_shah(HARD, ROW, length=0).item() == pytest.approx(2 / 4)
    assert mumford_shah(HARD, ROW, length=3).item() == pytest.approx(2 / 4 + 3 * 2 / 4)


@pytest.mark.parametrize("size", [(6, 5), (2, 4, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_variance_agrees_with_numpy(size: tuple[int, ...], channels: int) -> None:
    probabilities, image = random_case(size, channels)
    judge = [
        sum(np.cov(channel.ravel(), aweights=weights.ravel(), ddof=0) for channel in values)
        for sample, values in zip(probabilities.double().numpy(), image.double().numpy(), strict=True)
        for weights in sample
    ]
    assert intensity_variance(probabilities, image, eps=0).item() == pytest.approx(np.mean(judge), rel=1e-4)


@pytest.mark.parametrize("size", [(6, 5), (2, 4, 3)])
@pytest.mark.parametrize("channels", [1, 2])
def test_energy_and_its_gradient_agree_with_the_formula(size: tuple[int, ...], channels: int) -> None:
    probabilities, image = random_case(size, channels)
    ours, judge = probabilities.clone().requires_grad_(), probabilities.double().requires_grad_()
    energy = torch.zeros((), dtype=torch.float64)
    for n in range(2):
        for c in range(3):
            y = judge[n, c]
            for x in image[n].double():
                mean = (x * y).sum() / y.sum()  # the gradient flows through the mean here, and must not matter
                energy = energy + ((x - mean) ** 2 * y).sum()
            for axis in range(y.ndim):
                last = y.shape[axis] - 1
                steps = y.narrow(axis, 1, last) - y.narrow(axis, 0, last)
                energy = energy + 0.7 * steps.abs().sum()
    energy = energy / (2 * np.prod(size))
    loss = mumford_shah(ours, image, length=0.7)
    assert loss.item() == pytest.approx(energy.item(), rel=1e-5)
    loss.backward()
    energy.backward()
    torch.testing.assert_close(ours.grad, judge.grad.float(), rtol=1e-3, atol=1e-5)


def test_a_class_without_pixels_does_no_harm() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 2] = -1e4
    logits.requires_grad_()
    image = torch.randn(1, 1, 4, 4)
    loss = intensity_variance(logits.softmax(1), image) + mumford_shah(logits.softmax(1), image)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_standardised_images_forget_scale_and_offset() -> None:
    image = torch.randn(2, 2, 5, 6)
    scaled = image * torch.tensor([2.0, 0.01]).reshape(1, 2, 1, 1) + 7
    torch.testing.assert_close(standardised(scaled), standardised(image), rtol=1e-3, atol=1e-3)
    assert standardised(image).square().mean(dim=(2, 3)).allclose(torch.ones(2, 2), atol=1e-4)
    assert standardised(torch.full((1, 1, 3, 3), 4.0)).abs().sum() == 0
