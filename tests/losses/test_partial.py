"""Losses on annotated pixels: numbers by hand, and torch and MONAI as second implementations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from medcl.losses.partial import balanced, faithful_dice, labelled_dice, partial_cross_entropy

UNLABELLED = -1


def strokes(labels: Tensor, classes: int) -> Tensor:
    """One-hot (N, C, *S) of class indices, zero where unlabelled."""
    return torch.stack([labels == c for c in range(classes)], dim=1).float()


def random_case(seed: int, classes: int = 4, size: tuple[int, ...] = (6, 5)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, *size, generator=generator)
    labels = torch.randint(UNLABELLED, classes, (3, *size), generator=generator)
    return logits, labels


# --- weights of unequal classes ---


@given(seed=st.integers(0, 99), balance=st.floats(0, 1))
def test_balance_moves_weight_between_classes_and_nothing_else(seed: int, balance: float) -> None:
    target = strokes(random_case(seed)[1], 4)
    target[:, 3] = 0  # never drawn
    weighted = balanced(target, balance)
    torch.testing.assert_close(weighted.sum(), target.sum())
    assert torch.equal(weighted > 0, target > 0)  # unlabelled stays unlabelled
    sums, before = (values.sum(dim=(0, 2, 3))[:3] for values in (weighted, target))
    expected = before ** (1 - balance)
    torch.testing.assert_close(sums / sums.sum(), expected / expected.sum())


def test_balanced_cross_entropy_by_hand() -> None:
    # Three pixels of class 0 predicted at 0.9, one of class 1 at 0.2: the mean over classes, not over pixels.
    probabilities = torch.tensor([[0.9, 0.9, 0.9, 0.8, 0.5], [0.1, 0.1, 0.1, 0.2, 0.5]])[None]
    target = strokes(torch.tensor([[0, 0, 0, 1, UNLABELLED]]), 2)
    loss = partial_cross_entropy(probabilities.log(), balanced(target, 1.0))
    assert loss.item() == pytest.approx(-(math.log(0.9) + math.log(0.2)) / 2)
    assert balanced(torch.zeros_like(target), 1.0).sum() == 0


# --- partial cross-entropy ---


def test_cross_entropy_by_hand() -> None:
    # Four pixels in a row. Two are drawn: class 0 predicted at 0.8, class 1 predicted at 0.5.
    probabilities = torch.tensor([[0.8, 0.5, 0.9, 0.1], [0.2, 0.5, 0.1, 0.9]])[None]
    target = strokes(torch.tensor([[0, 1, UNLABELLED, UNLABELLED]]), 2)
    loss = partial_cross_entropy(probabilities.log(), target)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)


@pytest.mark.parametrize("size", [(6, 5), (2, 4, 3)])
def test_cross_entropy_agrees_with_torch(size: tuple[int, ...]) -> None:
    logits, labels = random_case(0, size=size)
    judge = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED)
    torch.testing.assert_close(partial_cross_entropy(logits, strokes(labels, 4)), judge)


def test_soft_strokes_weigh_as_much_as_they_are() -> None:
    # A pixel mixed 3 : 1 of classes 0 and 1 counts as a three-quarter and a quarter pixel.
    logits = torch.tensor([[1.0, 3.0]]).reshape(1, 2, 1)
    target = torch.tensor([0.75, 0.25]).reshape(1, 2, 1)
    log_p = logits.flatten().log_softmax(0)
    assert partial_cross_entropy(logits, target).item() == pytest.approx(float(-(0.75 * log_p[0] + 0.25 * log_p[1])))
    # Half the weight everywhere is the same ratio.
    torch.testing.assert_close(partial_cross_entropy(logits, target / 2), partial_cross_entropy(logits, target))


def test_one_ratio_over_the_batch() -> None:
    # Image 0 has one stroke pixel, image 1 has three: every pixel counts the same, not every image.
    logits = torch.zeros(2, 2, 3)
    logits[1, 0] = 2.0
    target = strokes(torch.tensor([[0, UNLABELLED, UNLABELLED], [0, 0, 0]]), 2)
    expected = (math.log(2) + 3 * math.log(1 + math.exp(-2))) / 4
    assert partial_cross_entropy(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_has_no_gradient_where_nothing_is_annotated() -> None:
    logits, labels = random_case(1)
    logits.requires_grad_()
    partial_cross_entropy(logits, strokes(labels, 4)).backward()
    moved = logits.grad.abs().sum(dim=1) > 0
    assert torch.equal(moved, labels != UNLABELLED)


def test_huge_logits_stay_finite() -> None:
    logits = torch.tensor([1e4, -1e4]).reshape(1, 2, 1).requires_grad_()
    loss = partial_cross_entropy(logits, torch.tensor([0.0, 1.0]).reshape(1, 2, 1))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert logits.grad.isfinite().all()


# --- Dice on strokes ---


def test_labelled_dice_by_hand() -> None:
    # Drawn pixels 0 and 1 only. Class 0: overlap 0.8, sizes 0.8 + 0.5 and 1. Class 1: overlap 0.5, sizes 0.7 and 1.
    probabilities = torch.tensor([[0.8, 0.5, 0.9, 0.1], [0.2, 0.5, 0.1, 0.9]])[None]
    target = strokes(torch.tensor([[0, 1, UNLABELLED, UNLABELLED]]), 2)
    expected = 1 - (2 * 0.8 / (1.3 + 1) + 2 * 0.5 / (0.7 + 1)) / 2
    assert labelled_dice(probabilities, target).item() == pytest.approx(expected, rel=1e-4)


def test_labelled_dice_agrees_with_monai() -> None:
    from monai.losses import DiceLoss

    logits, labels = random_case(2)
    probabilities, target = logits.softmax(1), strokes(labels, 4)
    judge = DiceLoss(batch=True, smooth_nr=1e-5, smooth_dr=1e-5)  # one Dice per class over the batch, then the mean
    mask = target.sum(dim=1, keepdim=True)
    torch.testing.assert_close(labelled_dice(probabilities, target), judge(probabilities * mask, target))


def test_classes_without_a_stroke_are_left_out() -> None:
    logits, labels = random_case(3)
    labels[labels == 2] = UNLABELLED
    probabilities, target = logits.softmax(1), strokes(labels, 4)
    per_class = []
    for c in (0, 1, 3):
        p = probabilities[:, c][labels != UNLABELLED]
        y = target[:, c][labels != UNLABELLED]
        per_class.append(1 - 2 * (p * y).sum() / (p.sum() + y.sum()))
    assert labelled_dice(probabilities, target).item() == pytest.approx(torch.stack(per_class).mean().item(), rel=1e-4)


def test_perfect_and_opposite_predictions() -> None:
    target = strokes(torch.tensor([[0, 0, 1, UNLABELLED]]), 2)
    right = torch.tensor([[1.0, 1, 0, 0.5], [0, 0, 1, 0.5]])[None]
    assert labelled_dice(right, target).item() == pytest.approx(0, abs=1e-4)
    assert labelled_dice(right.flip(1), target).item() == pytest.approx(1, abs=1e-4)


# --- the reference code's Dice ---


def test_faithful_dice_is_linear_in_the_mean_probability_at_strokes() -> None:
    # Probabilities sum to 1 everywhere, so that the ratio is 1 - 2 * (sum of p at strokes) / (pixels + stroke pixels).
    logits, labels = random_case(4)
    probabilities = logits.softmax(1)
    drawn = labels != UNLABELLED
    at_strokes = (probabilities * strokes(labels, 4)).sum()
    expected = 1 - 2 * at_strokes / (labels.numel() + drawn.sum())
    torch.testing.assert_close(faithful_dice(probabilities, strokes(labels, 4)), expected)


def test_faithful_dice_never_falls_below_its_floor() -> None:
    # A perfect prediction with 2 of 10 pixels drawn still scores 1 - 4 / 12: the flat curve of the reference log.
    labels = torch.full((1, 10), UNLABELLED)
    labels[0, 0], labels[0, 1] = 0, 1
    probabilities = torch.tensor([1.0, 0.0]).reshape(1, 2, 1).repeat(1, 1, 10)
    probabilities[0, :, 1] = torch.tensor([0.0, 1.0])
    assert faithful_dice(probabilities, strokes(labels, 2)).item() == pytest.approx(1 - 4 / 12)


def test_faithful_dice_counts_a_mixed_pixel_for_its_largest_share() -> None:
    # Shares of (class 0, class 1, unlabelled): the first two pixels count for class 0 and for nothing.
    target = torch.tensor([[0.6, 0.3], [0.1, 0.1]])[None]
    probabilities = torch.tensor([[0.7, 0.2], [0.3, 0.8]])[None]
    assert faithful_dice(probabilities, target).item() == pytest.approx(1 - 2 * 0.7 / (2 + 1))


# --- all of them ---

ON_PROBABILITIES = {"labelled_dice": labelled_dice, "faithful_dice": faithful_dice}
ALL = {
    "partial_cross_entropy": partial_cross_entropy,
    **{name: lambda logits, target, f=f: f(logits.softmax(1), target) for name, f in ON_PROBABILITIES.items()},
}


@pytest.mark.parametrize("name", ALL)
def test_no_stroke_gives_a_finite_loss_and_gradient(name: str) -> None:
    logits, _ = random_case(5)
    logits.requires_grad_()
    loss = ALL[name](logits, torch.zeros_like(logits))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.abs().sum() == pytest.approx(0, abs=1e-5)
    if name != "faithful_dice":  # its floor is 1 without strokes
        assert loss.item() == 0


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 7), size=st.sampled_from([(1, 9), (7, 5), (1, 1), (2, 3, 5)]))
def test_order_of_classes_does_not_matter(name: str, seed: int, classes: int, size: tuple[int, ...]) -> None:
    logits, labels = random_case(seed, classes, size)
    target = strokes(labels, classes)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ALL[name](logits[:, order], target[:, order]), ALL[name](logits, target))


@pytest.mark.parametrize("name", ["partial_cross_entropy", "labelled_dice"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), size=st.sampled_from([(1, 9), (7, 5), (2, 3, 5)]))
def test_predictions_at_unlabelled_pixels_do_not_matter(name: str, seed: int, size: tuple[int, ...]) -> None:
    logits, labels = random_case(seed, 3, size)
    other = logits + 5 * torch.randn_like(logits) * (labels == UNLABELLED)[:, None]
    target = strokes(labels, 3)
    torch.testing.assert_close(ALL[name](other, target), ALL[name](logits, target))
