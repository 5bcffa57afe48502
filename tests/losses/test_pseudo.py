"""Pseudo labels and trust in a teacher: values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from medcl.losses.pseudo import certainty_limit, entropy_map, hard_labels, reliable_labels, trusted_distance

# Two classes over six pixels: probabilities of class 0.
SURE = torch.tensor([0.95, 0.85, 0.55, 0.45, 0.15, 0.05])
MAPS = torch.stack((SURE, 1 - SURE))[None]


def test_hard_labels_name_the_most_likely_class() -> None:
    assert hard_labels(MAPS)[0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert hard_labels(MAPS).sum(dim=1).eq(1).all()
    assert hard_labels(torch.rand(2, 4, 3, 5, 6)).shape == (2, 4, 3, 5, 6)


def test_reliable_labels_need_certainty_and_no_stroke() -> None:
    target = torch.zeros(1, 2, 6)
    target[0, 1, 0] = 1.0  # somebody drew class 1 where the network believes in class 0
    target[0, 0, 5] = 0.3  # a mixed stroke counts as drawn too
    labels = reliable_labels(MAPS, target, 0.8)
    assert labels[0, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert labels[0, 1].tolist() == [0, 0, 0, 0, 1, 0]
    assert reliable_labels(MAPS, torch.ones(1, 2, 6), 0.0).sum() == 0, "nothing is unlabelled"
    assert reliable_labels(MAPS, torch.zeros(1, 2, 6), 0.96).sum() == 0


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_entropy_agrees_with_scipy(values: list[float]) -> None:
    p = torch.tensor(values, dtype=torch.float64)
    p = p / p.sum()
    assert entropy_map(p.reshape(1, -1, 1)).item() == pytest.approx(entropy(p.numpy()), abs=1e-4)


def test_the_teacher_is_trusted_more_and_more() -> None:
    assert certainty_limit(1.0) == pytest.approx(math.log(2))
    assert certainty_limit(0.0) == pytest.approx(0.75 * math.log(2), rel=5e-3)
    assert certainty_limit(0.5) == pytest.approx(math.log(2) * (0.75 + 0.25 * math.exp(-1.25)))


def test_distance_counts_trusted_pixels_alone() -> None:
    student = torch.tensor([[[1.0, 0.5, 0.0]], [[0.0, 0.5, 1.0]]]).movedim(0, 1).reshape(1, 2, 3)
    teacher = torch.tensor([[0.8, 0.5, 1.0], [0.2, 0.5, 0.0]])[None].requires_grad_()
    # pixel 0: 2 x 0.04, pixel 1: 0, pixel 2 (not trusted): 2
    loss = trusted_distance(student.requires_grad_(), teacher, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert loss.item() == pytest.approx(0.08 / 2)
    loss.backward()
    assert teacher.grad is None
    nowhere = trusted_distance(student, teacher, torch.zeros(1, 1, 3))
    assert nowhere.item() == 0
