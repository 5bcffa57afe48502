"""Random walks by hand, and against a dense solution of Grady's equations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from medcl.data.labels import UNLABELLED
from medcl.scribbles.random_walker import random_walk


def dense_solution(image: np.ndarray, seeds: np.ndarray, classes: int, beta: float) -> np.ndarray:
    """Return (C, *S) from the whole graph Laplacian: L_U X = -B^T M (Grady 2006)."""
    size = seeds.shape
    number = np.arange(seeds.size).reshape(size)
    laplacian = np.zeros((seeds.size, seeds.size))
    for place in product(*map(range, size)):
        for axis in range(seeds.ndim):
            if place[axis] + 1 == size[axis]:
                continue
            there = tuple(p + (a == axis) for a, p in enumerate(place))
            unlike = ((image[(slice(None), *place)] - image[(slice(None), *there)]) ** 2).sum()
            weight = np.exp(-beta * unlike / (10 * image.std() * np.sqrt(len(image)))) + 1e-10
            i, j = number[place], number[there]
            laplacian[[i, j], [j, i]] -= weight
            laplacian[[i, j], [i, j]] += weight
    drawn = seeds.ravel() != UNLABELLED
    marks = np.eye(classes)[seeds.ravel()[drawn]]
    result = np.zeros((seeds.size, classes))
    result[drawn] = marks
    result[~drawn] = np.linalg.solve(laplacian[~drawn][:, ~drawn], -laplacian[~drawn][:, drawn] @ marks)
    return result.T.reshape(classes, *size)


def row(length: int, **at: int) -> np.ndarray:
    seeds = np.full((1, length), UNLABELLED)
    for place, c in at.items():
        seeds[0, int(place[1:])] = c
    return seeds


def test_gambler_on_a_line() -> None:
    # Without edges a walker between two strokes meets each with a chance that falls in a straight line.
    image = np.arange(5.0).reshape(1, 1, 5)
    chances = random_walk(image, row(5, x0=0, x4=1), classes=2, beta=0)
    np.testing.assert_allclose(chances[:, 0], [[1, 0.75, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.75, 1]], atol=1e-6)


def test_walkers_do_not_cross_edges() -> None:
    image = np.array([0, 0, 0, 0, 0, 0, 3, 3.0]).reshape(1, 1, 8)
    chances = random_walk(image, row(8, x0=0, x7=1), classes=2)
    assert (chances.argmax(axis=0)[0] == [0, 0, 0, 0, 0, 0, 1, 1]).all()
    assert chances.max(axis=0).min() > 0.99


@pytest.mark.parametrize("size", [(6, 7), (3, 5, 4)], ids=["2d-direct", "3d-iterative"])
@pytest.mark.parametrize("channels", [1, 3])
def test_agrees_with_a_dense_solution(size: tuple[int, ...], channels: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(channels, *size))
    seeds = np.where(rng.random(size) < 0.25, rng.integers(0, 3, size), UNLABELLED)
    chances = random_walk(image, seeds, classes=3, beta=20)
    np.testing.assert_allclose(chances, dense_solution(image, seeds, 3, 20), atol=1e-4 if len(size) == 2 else 1e-3)
    np.testing.assert_allclose(chances.sum(axis=0), 1, atol=1e-3)


def test_a_class_without_strokes_does_not_compete() -> None:
    image = np.arange(5.0).reshape(1, 1, 5)
    chances = random_walk(image, row(5, x0=3, x4=1), classes=5, beta=0)
    np.testing.assert_allclose(chances[3, 0], [1, 0.75, 0.5, 0.25, 0], atol=1e-6)
    assert chances[[0, 2, 4]].sum() == 0


@pytest.mark.parametrize("drawn", [{}, {"x1": 1}], ids=["nothing", "one-class"])
def test_no_answer_without_two_classes(drawn: dict[str, int]) -> None:
    chances = random_walk(np.arange(5.0).reshape(1, 1, 5), row(5, **drawn), classes=2)
    assert chances.sum() == len(drawn)


def test_no_answer_without_contrast_and_nothing_to_ask() -> None:
    seeds = row(4, x0=0, x3=1)
    assert random_walk(np.ones((1, 1, 4)), seeds, classes=2).sum() == 2
    full = np.array([[0, 0, 1, 1]])
    chances = random_walk(np.arange(4.0).reshape(1, 1, 4), full, classes=2)
    assert (chances.argmax(axis=0) == full).all()
