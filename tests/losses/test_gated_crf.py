"""The gated CRF by hand and against plain loops over the formula."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from medcl.losses.gated_crf import gated_crf


def loops(
    p: Tensor,
    image: Tensor,
    radius: tuple[int, ...],
    sigma_distance: float,
    sigma_intensity: float,
    send: Tensor | None,
    receive: Tensor | None,
) -> Tensor:
    """Return the energy pair by pair, as the paper writes it; gradient by autograd."""
    size = p.shape[2:]
    everywhere = torch.ones(p.shape[0], 1, *size)
    send = everywhere if send is None else send
    receive = everywhere if receive is None else receive
    total = p.new_zeros(())
    for n in range(p.shape[0]):
        for i in product(*map(range, size)):
            for j in product(*map(range, size)):
                if i == j or any(abs(a - b) > r for a, b, r in zip(i, j, radius, strict=True)):
                    continue
                here, there = (n, slice(None), *i), (n, slice(None), *j)
                far = sum((a - b) ** 2 for a, b in zip(i, j, strict=True)) / (2 * sigma_distance**2)
                unlike = ((image[here] - image[there]) ** 2).sum().item() / (2 * sigma_intensity**2)
                gate = receive[(n, 0, *i)].item() * send[(n, 0, *j)].item()
                total = total + gate * math.exp(-far - unlike) * (1 - (p[here] * p[there]).sum())
    return total / receive.sum().clamp(min=1)


def random_case(size: tuple[int, ...], channels: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(2, 3, *size, generator=generator).softmax(1)
    image = torch.randn(2, channels, *size, generator=generator)
    send, receive = (torch.rand(2, 1, *size, generator=generator) for _ in range(2))
    return p, image, send, receive


def test_two_pixels_by_hand() -> None:
    # Alike, one pixel apart: kernel exp(-1/2). They agree with 0.8 * 0.4 + 0.2 * 0.6 = 0.44; each hears the other.
    p = torch.tensor([[0.8, 0.4], [0.2, 0.6]]).reshape(1, 2, 1, 2)
    same = torch.zeros(1, 1, 1, 2)
    energy = gated_crf(p, same, radius=(1, 1), sigma_distance=1.0)
    assert energy.item() == pytest.approx(2 * math.exp(-0.5) * 0.56 / 2)
    # Two standard deviations apart in intensity: the kernel falls by exp(-2).
    unlike = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    energy = gated_crf(p, unlike, radius=(1, 1), sigma_distance=1.0, sigma_intensity=0.5)
    assert energy.item() == pytest.approx(2 * math.exp(-2.5) * 0.56 / 2)
    # Only the second pixel receives, and it hears nothing if only it may send.
    second = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    energy = gated_crf(p, same, radius=(1, 1), sigma_distance=1.0, destination=second)
    assert energy.item() == pytest.approx(math.exp(-0.5) * 0.56)
    assert gated_crf(p, same, radius=(1, 1), source=second, destination=second).item() == 0


@pytest.mark.parametrize(
    ("size", "radius", "channels", "gates"),
    [
        ((5, 6), (2, 2), 1, False),
        ((5, 4), (1, 3), 2, True),
        ((3, 4, 3), (1, 2, 1), 1, True),
        ((1, 5), (5, 5), 1, False),
    ],
    ids=["2d", "gates-and-channels", "3d", "window-beyond-the-image"],
)
def test_value_and_gradient_agree_with_loops(
    size: tuple[int, ...], radius: tuple[int, ...], channels: int, gates: bool
) -> None:
    p, image, send, receive = random_case(size, channels)
    gate = {"source": send, "destination": receive} if gates else {"source": None, "destination": None}
    ours, judge = p.clone().requires_grad_(), p.clone().requires_grad_()
    energy = gated_crf(ours, image, radius=radius, sigma_distance=2.0, sigma_intensity=0.8, **gate)
    expected = loops(judge, image, radius, 2.0, 0.8, gate["source"], gate["destination"])
    torch.testing.assert_close(energy, expected, rtol=1e-4, atol=1e-5)
    energy.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, judge.grad, rtol=1e-4, atol=1e-5)


def test_hard_and_even_maps_cost_nothing() -> None:
    p = torch.zeros(1, 3, 6, 6)
    p[:, 2] = 1
    assert gated_crf(p, torch.randn(1, 1, 6, 6), radius=(2, 2)).item() == pytest.approx(0, abs=1e-5)


def test_outlines_are_cheaper_along_edges_of_the_image() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 2
    along, across = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    along[:, 0, :, :4], along[:, 1, :, 4:] = 1, 1
    across[:, 0, :4], across[:, 1, 4:] = 1, 1
    assert gated_crf(along, image, radius=(2, 2)) < 0.1 * gated_crf(across, image, radius=(2, 2))


def test_nobody_receives() -> None:
    p, image, _, receive = random_case((4, 4))
    p.requires_grad_()
    energy = gated_crf(p, image, radius=(1, 1), destination=torch.zeros_like(receive))
    energy.backward()
    assert energy.item() == 0
    assert p.grad.abs().sum() == 0


def test_radius_has_one_number_per_axis() -> None:
    p, image, *_ = random_case((4, 4))
    with pytest.raises(ValueError, match="radius: expected 2 numbers, one per axis"):
        gated_crf(p, image, radius=(1, 2, 2))
