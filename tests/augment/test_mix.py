"""Mixing: its arithmetic by hand, its draws against the statistics of the reference code."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.augment.mix import beta, inter_mix, intra_mix, random_boxes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- boxes ---


def test_boxes_leave_out_what_the_reference_code_leaves_out() -> None:
    # Sides are 190..212 of 212 pixels, equally likely: 10.0 % outside on average, at most 19.7 %, none in 1 of 23.
    outside = 1 - random_boxes(2000, (212, 212), (0.9, 1.0), seeded()).mean(dim=(1, 2, 3))
    assert outside.mean().item() == pytest.approx(0.100, abs=0.005)
    assert outside.max().item() == pytest.approx(1 - (190 / 212) ** 2, abs=1e-5)  # 19.7 %
    assert (outside == 0).float().mean().item() == pytest.approx(0.044, abs=0.015)


@settings(max_examples=15)
@given(
    size=st.lists(st.integers(1, 20), min_size=2, max_size=3).map(tuple),
    low=st.floats(0.05, 1.0),
    width=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_box_is_one_box_inside_the_image(size: tuple[int, ...], low: float, width: float, seed: int) -> None:
    high = low + width * (1 - low)
    boxes = random_boxes(4, size, (low, high), seeded(seed))
    assert boxes.shape == (4, 1, *size)
    assert set(boxes.unique().tolist()) <= {0.0, 1.0}
    for box in boxes[:, 0]:
        inside = box.nonzero()
        sides = inside.max(dim=0).values - inside.min(dim=0).values + 1
        assert math.prod(sides.tolist()) == box.sum()  # no holes, nothing elsewhere
        for side, length in zip(sides.tolist(), size, strict=True):
            assert max(1, math.floor(low * length)) <= side <= max(1, math.floor(high * length))


def test_boxes_are_square_on_square_images_and_lie_anywhere() -> None:
    boxes = random_boxes(200, (10, 10), (0.5, 0.5), seeded())[:, 0]
    assert (boxes.sum(dim=(1, 2)) == 25).all()
    assert (boxes.sum(dim=0) > 0).all()  # every pixel was inside once
    assert (boxes.sum(dim=0) < 200).all()


# --- weights ---


def test_mixing_weights_follow_beta() -> None:
    draws = beta((20_000,), 0.5, seeded())
    extreme = ((draws < 0.1) | (draws > 0.9)).float().mean().item()
    assert extreme == pytest.approx(4 / math.pi * math.asin(math.sqrt(0.1)), abs=0.015)  # 41 %
    assert draws.mean().item() == pytest.approx(0.5, abs=0.01)
    assert draws.dtype == torch.float32


def test_draws_repeat_with_their_seed_and_change_along_the_stream() -> None:
    generator = seeded(3)
    first, second = beta((5,), 0.5, generator), beta((5,), 0.5, generator)
    assert torch.equal(first, beta((5,), 0.5, seeded(3)))
    assert not torch.equal(first, second)


# --- the two mixes ---


def test_intra_mix_by_hand() -> None:
    first, second = torch.tensor([[[10.0, 10.0, 10.0]]]), torch.tensor([[[20.0, 20.0, 20.0]]])
    box = torch.tensor([[[0.0, 1.0, 0.0]]])
    mixed = intra_mix(first, second, box, torch.tensor([0.25]))
    assert mixed.tolist() == [[[17.5, 10.0, 17.5]]]  # a quarter of the first outside, all of it inside


def test_inter_mix_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1)
    mixed = inter_mix(values, torch.tensor([0.75, 0.1, 0.5])).flatten()
    assert mixed.tolist() == pytest.approx([0.75 * 1 + 0.25 * 4, 2.0, 0.5 * 4 + 0.5 * 1])  # the middle one stays


@pytest.mark.parametrize("size", [(6, 5), (3, 4, 5)])
@pytest.mark.parametrize("count", [2, 5])
def test_mixed_strokes_never_weigh_more_than_one_pixel(size: tuple[int, ...], count: int) -> None:
    generator = seeded()
    labels = torch.randint(-1, 3, (2, count, *size), generator=generator)
    first, second = (torch.stack([part == c for c in range(3)], dim=1).float() for part in labels)
    box, weight = random_boxes(count, size, (0.5, 0.9), generator), beta((count,), 0.5, generator)
    for mixed in (intra_mix(first, second, box, weight), inter_mix(first, weight)):
        total = mixed.sum(dim=1)
        assert mixed.min() >= 0
        assert total.max() <= 1 + 1e-6
    # What is drawn in neither view stays unlabelled; what is drawn in both weighs one.
    total = intra_mix(first, second, box, weight).sum(dim=1)
    assert (total[(labels[0] < 0) & (labels[1] < 0)] == 0).all()
    torch.testing.assert_close(total[(labels >= 0).all(dim=0)], torch.ones(int((labels >= 0).all(dim=0).sum())))


def test_mixing_is_linear() -> None:
    a, b = torch.randn(2, 4, 3, 5, 5)
    weight = torch.rand(4)
    torch.testing.assert_close(inter_mix(2 * a + b, weight), 2 * inter_mix(a, weight) + inter_mix(b, weight))
    torch.testing.assert_close(inter_mix(a, torch.ones(4)), a)
    torch.testing.assert_close(inter_mix(a, torch.zeros(4)), a.flip(0))
