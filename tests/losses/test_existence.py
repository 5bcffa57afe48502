"""Class existence and mix consistency by hand and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from medcl.losses.consistency import mix_consistency
from medcl.losses.existence import class_existence


def test_mass_on_absent_classes_by_hand() -> None:
    # Two pixels, three classes; class 2 is not in the image. Allowed mass: 0.7 and 0.4.
    probabilities = torch.tensor([[0.5, 0.1], [0.2, 0.3], [0.3, 0.6]])[None]
    present = torch.tensor([[True, True, False]])
    expected = -(math.log(0.7) + math.log(0.4)) / 2
    assert class_existence(probabilities, present).item() == pytest.approx(expected, rel=1e-5)


def test_all_classes_possible_costs_nothing() -> None:
    probabilities = torch.randn(2, 4, 3, 3).softmax(1)
    assert class_existence(probabilities, torch.ones(2, 4, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)


def test_places_far_from_strokes_by_hand() -> None:
    # Class 1 cannot be at the second pixel: only its background mass of 0.25 is allowed there.
    probabilities = torch.tensor([[0.5, 0.25], [0.5, 0.75]])[None]
    absent = torch.tensor([[0.0, 0.0], [0.0, 1.0]])[None]
    loss = class_existence(probabilities, torch.tensor([[True, True]]), absent)
    assert loss.item() == pytest.approx(-(math.log(1) + math.log(0.25)) / 2)


def test_partly_absent_place_allows_part_of_the_mass() -> None:
    probabilities = torch.tensor([0.5, 0.5]).reshape(1, 2, 1)
    absent = torch.tensor([0.0, 0.4]).reshape(1, 2, 1)
    loss = class_existence(probabilities, torch.tensor([[True, True]]), absent)
    assert loss.item() == pytest.approx(-math.log(0.5 + 0.5 * 0.6))


def test_samples_and_places_that_say_nothing_are_left_out() -> None:
    # Sample 1 holds no class at all, and at pixel 1 of sample 0 every class is ruled out: only pixel 0 counts.
    probabilities = torch.full((2, 2, 2), 0.5)
    present = torch.tensor([[True, False], [False, False]])
    absent = torch.zeros(2, 2, 2)
    absent[0, :, 1] = 1
    assert class_existence(probabilities, present, absent).item() == pytest.approx(math.log(2))
    nothing = class_existence(probabilities, torch.zeros(2, 2, dtype=torch.bool))
    assert nothing.item() == 0


def test_certainty_about_an_absent_class_has_a_finite_gradient() -> None:
    logits = torch.tensor([-200.0, 200.0]).reshape(1, 2, 1).requires_grad_()
    loss = class_existence(logits.softmax(1), torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-10), rel=1e-4)
    assert logits.grad.isfinite().all()


def test_existence_ignores_the_order_of_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(3, 5, 4, 4, generator=generator).softmax(1)
    present = torch.rand(3, 5, generator=generator) > 0.4
    absent = (torch.rand(3, 5, 4, 4, generator=generator) > 0.7).float()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        class_existence(probabilities[:, order], present[:, order], absent[:, order]),
        class_existence(probabilities, present, absent),
    )


# --- mix consistency ---


def test_consistency_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 3, 4, 5, 6))
    judge = np.mean([cosine(first[n, c].ravel(), second[n, c].ravel()) for n in range(3) for c in range(4)])
    loss = mix_consistency(torch.from_numpy(first), torch.from_numpy(second))
    assert loss.item() == pytest.approx(judge)


def test_consistency_of_equal_proportional_and_disjoint_maps() -> None:
    maps = torch.rand(2, 3, 4, 4)
    assert mix_consistency(maps, maps).item() == pytest.approx(0, abs=1e-6)
    assert mix_consistency(maps, 0.3 * maps).item() == pytest.approx(0, abs=1e-6)  # a cosine knows no scale
    left, right = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
    left[..., :2], right[..., 2:] = 1, 1
    assert mix_consistency(left, right).item() == 1


def test_consistency_changes_both_sides_and_survives_empty_maps() -> None:
    first = torch.rand(1, 2, 3, 3, requires_grad=True)
    second = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = mix_consistency(first, second)
    loss.backward()
    assert loss.item() == 1
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()
    assert second.grad.abs().sum() > 0
