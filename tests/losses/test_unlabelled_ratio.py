"""Class ratios by expectation maximisation, and what follows from them: by hand, and against a loop in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medcl.losses.unlabelled_ratio import class_ratios, negative_loss, ruled_out


def em_by_loops(posteriors: np.ndarray, prior: np.ndarray, steps: int) -> np.ndarray:
    """Second implementation: Saerens et al. 2002, pixel by pixel."""
    ratio = prior.astype(float)
    for _ in range(steps):
        total = np.zeros_like(ratio)
        for p in posteriors:
            joint = [ratio[c] * p[c] / prior[c] if prior[c] else 0.0 for c in range(len(prior))]
            total += np.array(joint) / sum(joint)
        ratio = total / len(posteriors)
    return ratio


def mixture(ratios: list[float], prior: list[float], count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey values of classes at 0, 2, 4 with deviation 1, and the posteriors of one who learnt with `prior`."""
    rng = np.random.default_rng(0)
    labels = rng.choice(len(ratios), size=count, p=ratios)
    grey = rng.normal(2.0 * labels, 1.0)
    joint = np.stack([share * norm.pdf(grey, 2.0 * c) for c, share in enumerate(prior)], axis=1)
    return torch.from_numpy(joint / joint.sum(axis=1, keepdims=True)), torch.tensor(prior, dtype=torch.float64)


def test_two_steps_by_hand() -> None:
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    prior = torch.tensor([0.5, 0.5])
    # Step 1: ratios equal the prior, so r = mean p = (0.7, 0.3). Step 2: weights 1.4 and 0.6 give
    # 1.12 / (1.12 + 0.12) = 0.9032 and 0.84 / (0.84 + 0.24) = 0.7778, mean 0.8405.
    assert class_ratios(p, prior, most_steps=1).tolist() == pytest.approx([0.7, 0.3])
    assert class_ratios(p, prior, most_steps=2).tolist() == pytest.approx([0.8405, 0.1595], abs=1e-4)


def test_certain_pixels_are_counted() -> None:
    p = torch.eye(3)[[0, 0, 0, 1]]
    assert class_ratios(p, torch.tensor([0.2, 0.4, 0.4])).tolist() == [0.75, 0.25, 0.0]


def test_pixels_that_say_nothing_keep_the_prior() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2])
    torch.testing.assert_close(class_ratios(prior.expand(7, 3), prior), prior)


@pytest.mark.parametrize("truth", [[0.9, 0.07, 0.03], [0.2, 0.5, 0.3]])
def test_a_known_mixture_is_found(truth: list[float]) -> None:
    posteriors, prior = mixture(truth, [0.5, 0.3, 0.2])
    found = class_ratios(posteriors, prior)
    assert found.tolist() == pytest.approx(truth, abs=0.02)
    few = posteriors[:200]
    judge = em_by_loops(few.numpy(), prior.numpy(), 10)
    np.testing.assert_allclose(class_ratios(few, prior, most_steps=10, tolerance=0.0), judge, atol=1e-9)


def test_a_class_that_nobody_drew_takes_no_part() -> None:
    posteriors, _ = mixture([0.6, 0.4, 0.0], [0.5, 0.3, 0.2], count=200)
    prior = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    found = class_ratios(posteriors, prior, most_steps=5, tolerance=0.0)
    assert found[2] == 0
    np.testing.assert_allclose(found, em_by_loops(posteriors.numpy(), prior.numpy(), 5), atol=1e-9)


# --- negative labels ---


def sure_maps(labels: torch.Tensor, classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_as_many_pixels_as_the_ratio_says_stay_possible() -> None:
    # One row of ten: the first two are drawn (background, class 1). Of the eight others the network is sure of two of
    # class 1 and of one of class 2, which nobody drew.
    labels = torch.tensor([[0, 1, 1, 1, 0, 0, 2, 0, 0, 0]])
    target = torch.zeros(1, 3, 10)
    target[0, 0, 0] = target[0, 1, 1] = 1
    excluded = ruled_out(sure_maps(labels), target)
    assert excluded[0, 1].tolist() == [False] * 4 + [True] * 6
    assert not excluded[0, 0].any(), "background is never ruled out"
    assert not excluded[0, 2].any(), "not drawn in the batch is not absent"
    assert not excluded[:, :, :2].any(), "annotated pixels are learnt from their strokes"


def test_ranks_follow_the_probability_of_the_class() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(2, 3, 20, 20, generator=generator).mul(2).softmax(1)
    target = sure_maps(torch.randint(0, 3, (2, 20, 20), generator=generator))
    target *= (torch.rand(2, 1, 20, 20, generator=generator) < 0.2).float()
    drawn = target.sum(1) > 0
    excluded = ruled_out(probabilities, target)
    free = probabilities.movedim(1, -1)[~drawn]
    ratios = class_ratios(free, target.sum((0, 2, 3)) / target.sum())
    for c in (1, 2):
        out = excluded[:, c][~drawn]
        assert out.sum().item() == pytest.approx((1 - ratios[c].item()) * len(free), abs=1)
        assert free[:, c][out].max() < free[:, c][~out].min()


def test_pixels_that_cannot_be_told_apart_stay_possible() -> None:
    target = torch.zeros(1, 2, 5)
    target[0, 0, 0] = target[0, 1, 1] = 1
    assert not ruled_out(torch.full((1, 2, 5), 0.5), target).any()


def test_nothing_drawn_or_nothing_left_rules_nothing_out() -> None:
    maps = sure_maps(torch.tensor([[0, 1, 2, 1]]))
    assert not ruled_out(maps, torch.zeros(1, 3, 4)).any()
    assert not ruled_out(maps, maps).any()


def test_negative_loss_by_hand() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]).T[None]
    excluded = torch.tensor([[False, True, False], [False, True, True], [False, False, False]]).T[None]
    # pixel 0: not class 1, 0.7 is left; pixel 1: background alone, 0.1; pixel 2 says nothing
    assert negative_loss(p, excluded).item() == pytest.approx(-(np.log(0.7) + np.log(0.1)) / 2, rel=1e-5)
    assert negative_loss(p, torch.zeros_like(excluded)).item() == 0
    sure = sure_maps(torch.tensor([[1]])).requires_grad_()
    loss = negative_loss(sure, torch.tensor([False, True, True]).reshape(1, 3, 1))
    loss.backward()
    assert loss.isfinite()
    assert sure.grad.isfinite().all()
