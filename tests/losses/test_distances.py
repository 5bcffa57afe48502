"""Statistical distances between sets of masks, against SciPy and loops written from the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import energy_distance as scipy_energy
from torch import Tensor

from medcl.losses.distances import (
    DISTANCES,
    Pairs,
    energy_distance,
    hausdorff_divergence,
    kernel_distance,
    mask_distances,
    sinkhorn_divergence,
)

every_distance = pytest.mark.parametrize("name", DISTANCES)


def on_a_line(x: list[float], y: list[float]) -> Pairs:
    a, b = torch.tensor([x], dtype=torch.float32), torch.tensor([y], dtype=torch.float32)
    weight = torch.full(b.shape, 1 / b.shape[1])

    def apart(p: Tensor, q: Tensor) -> Tensor:
        return (p[:, :, None] - q[:, None]).abs()

    return Pairs(apart(a, a), apart(a, b), apart(b, b), weight)


def masks(samples: int, people: int, *, seed: int = 0, side: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sampled = torch.randn(2, samples, 3, side, side, generator=generator).softmax(dim=2).requires_grad_()
    labels = torch.randint(0, 3, (2, people, side, side), generator=generator)
    return sampled, torch.stack([labels == c for c in range(3)], dim=2).float()


def test_energy_distance_is_scipys_up_to_the_pairs_of_a_sample_with_itself() -> None:
    x, y = [0.0, 0.3, 2.0, 1.0], [1.0, 1.5, 0.2]
    pairs = on_a_line(x, y)
    within = float(pairs.xx.mean())
    expected = scipy_energy(x, y) ** 2  # counts all pairs
    assert float(energy_distance(pairs)) == pytest.approx(expected + within - within * 4 / 3, abs=1e-5)


def test_kernel_distance_by_a_loop() -> None:
    x, y, h = [0.0, 0.4, 1.0], [0.5, 2.0], 0.5

    def k(a: float, b: float) -> float:
        return float(np.exp(-((a - b) ** 2) / (2 * h * h)))

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    expected = xx + np.mean([k(a, b) for a in y for b in y]) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert float(kernel_distance(on_a_line(x, y), width=h)) == pytest.approx(expected, abs=1e-5)


def test_sinkhorn_without_blur_is_optimal_transport() -> None:
    x, y = [0.0, 1.0, 3.0], [0.5, 2.0, 2.5]
    cost = np.subtract.outer(x, y) ** 2 / 2
    expected = cost[linear_sum_assignment(cost)].mean()
    assert float(sinkhorn_divergence(on_a_line(x, y), blur=0.05, steps=200)) == pytest.approx(expected, abs=0.02)


def test_hausdorff_without_blur_is_the_mean_distance_to_the_other_set() -> None:
    x, y = [0.0, 4.0], [0.1, 9.0]
    to_y = np.mean([min((a - b) ** 2 / 2 for b in y) for a in x])
    to_x = np.mean([min((a - b) ** 2 / 2 for a in x) for b in y])
    assert float(hausdorff_divergence(on_a_line(x, y), blur=0.01)) == pytest.approx((to_x + to_y) / 2, abs=1e-3)


def test_mask_distances_by_a_loop_over_annotated_voxels() -> None:
    sampled, drawn = masks(3, 2)
    drawn[0, 1, :, 0] = 0  # the second person left the first line unlabelled
    sampled = sampled.detach()
    pairs = mask_distances(sampled, drawn)
    seen = drawn[0].sum(dim=1).bool().all(dim=0)
    size = [float(drawn[0][:, c][:, seen].sum() / 2) + 1 for c in range(3)]
    for k in range(3):
        for r in range(2):
            total = sum(float(((sampled[0, k, c] - drawn[0, r, c])[seen] ** 2).sum()) / (3 * size[c]) for c in range(3))
            assert float(pairs.xy[0, k, r]) == pytest.approx(total**0.5, rel=1e-4)
    assert pairs.weight.tolist() == [[0.5, 0.5], [0.5, 0.5]]


@every_distance
def test_small_for_equal_sets_and_larger_for_others(name: str) -> None:
    _, drawn = masks(4, 4)
    others = drawn.roll(1, dims=2)
    same, different = (DISTANCES[name](mask_distances(s, drawn)) for s in (drawn, others))
    assert same < 0.3 * different  # unbiased estimates of 0 may lie below it
    assert different > 0


@every_distance
def test_order_of_masks_and_people_does_not_matter(name: str) -> None:
    sampled, drawn = masks(4, 3)
    first = DISTANCES[name](mask_distances(sampled, drawn))
    second = DISTANCES[name](mask_distances(sampled[:, [2, 0, 3, 1]], drawn[:, [1, 2, 0]]))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@every_distance
def test_unlabelled_is_not_background(name: str) -> None:
    sampled, drawn = masks(3, 2)
    drawn[:, :, :, 3:] = 0
    changed = sampled.detach().clone()
    changed[:, :, :, 3:] = changed[:, :, :, 3:].flip(2)
    first, second = (DISTANCES[name](mask_distances(s, drawn)) for s in (sampled.detach(), changed))
    assert torch.equal(first, second)


@every_distance
def test_who_said_nothing_takes_no_part(name: str) -> None:
    sampled, drawn = masks(3, 2)
    silent = torch.cat((drawn, torch.zeros_like(drawn[:, :1])), dim=1)
    first, second = (DISTANCES[name](mask_distances(sampled, one)) for one in (drawn, silent))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@every_distance
def test_nothing_annotated_gives_zero_and_finite_gradients(name: str) -> None:
    sampled, drawn = masks(3, 2)
    loss = DISTANCES[name](mask_distances(sampled, torch.zeros_like(drawn)))
    loss.backward()
    assert loss == 0
    assert sampled.grad is not None
    assert sampled.grad.isfinite().all()


@every_distance
def test_descending_brings_samples_to_people(name: str) -> None:
    _, drawn = masks(4, 2, seed=1)
    logits = (0.1 * torch.randn(2, 4, 3, 6, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.2)
    course = []
    for _ in range(40):
        loss = DISTANCES[name](mask_distances(logits.softmax(dim=2), drawn))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(loss.item())
    assert course[-1] < 0.5 * course[0]
    nearest = mask_distances(logits.softmax(dim=2).detach(), drawn).xy.min(dim=2).values
    start = mask_distances(torch.full_like(logits, 1 / 3), drawn).xy.min(dim=2).values
    assert nearest.mean() < 0.8 * start.mean()
