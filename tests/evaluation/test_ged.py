"""Generalised energy distance, against a loop over pairs and pixels written from the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.evaluation.ged import generalised_energy_distance, iou_distance


def slow_distance(first: np.ndarray, second: np.ndarray, classes: int) -> float:
    """1 - IoU, pixel by pixel."""
    total = 0.0
    for c in range(1, classes):
        shared = either = 0
        for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            if UNLABELLED in (a, b):
                continue
            shared += a == c and b == c
            either += a == c or b == c
        total += 1 - shared / either if either else 0.0
    return total / (classes - 1)


def slow_ged(sampled: list[np.ndarray], raters: list[np.ndarray], classes: int) -> float:
    def mean(xs: list[np.ndarray], ys: list[np.ndarray]) -> float:
        return sum(slow_distance(x, y, classes) for x in xs for y in ys) / (len(xs) * len(ys))

    return 2 * mean(sampled, raters) - mean(sampled, sampled) - mean(raters, raters)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), classes=st.integers(2, 4), samples=st.integers(1, 4), people=st.integers(1, 3))
def test_equals_the_formula(seed: int, classes: int, samples: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    sampled = [rng.integers(0, classes, (1, 3, 4)) for _ in range(samples)]
    raters = [rng.integers(-1, classes, (1, 3, 4)) for _ in range(people)]
    raters = [np.where(np.arange(12).reshape(1, 3, 4) == 0, 0, one) for one in raters]
    found = generalised_energy_distance(sampled, raters, classes)
    assert found.ged == pytest.approx(slow_ged(sampled, raters, classes), abs=1e-9)


def test_by_hand() -> None:
    one, two = np.array([[[1, 1, 0, 0]]]), np.array([[[1, 0, 0, 0]]])
    assert iou_distance(one, two, 2) == 0.5
    assert iou_distance(np.zeros((1, 1, 4), int), np.zeros((1, 1, 4), int), 2) == 0  # neither holds the structure
    same = generalised_energy_distance([one, two], [one, two], 2)
    assert (same.ged, same.between, same.sampled, same.raters) == (0.0, 0.25, 0.25, 0.25)
    alone = generalised_energy_distance([one, one], [one, two], 2)
    assert alone.ged == pytest.approx(2 * 0.25 - 0 - 0.25)


def test_unlabelled_is_not_background() -> None:
    mask = np.array([[[1, 1, 0, 0]]])
    rater = np.array([[[1, UNLABELLED, 0, 0]]])
    assert iou_distance(mask, rater, 2) == 0
    silent = np.full((1, 1, 4), UNLABELLED)
    assert generalised_energy_distance([mask], [rater, silent], 2).ged == 0


def test_both_sides_are_needed() -> None:
    mask = np.zeros((1, 2, 2), int)
    with pytest.raises(DataError, match="1 sampled and 0 of raters"):
        generalised_energy_distance([mask], [np.full((1, 2, 2), UNLABELLED)], 2)
    with pytest.raises(DataError, match="one shape"):
        generalised_energy_distance([mask], [np.zeros((1, 2, 3), int)], 2)
