from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, mahalanobis

from medcl.errors import DataError
from medcl.inference.familiarity.clouds import NEIGHBOURS, Cloud, Places, Sums, ledoit_wolf


@given(st.integers(0, 500), st.integers(1, 6), st.integers(3, 30))
def test_shrinkage_as_written_in_the_paper(seed: int, width: int, count: int) -> None:
    """Ledoit and Wolf 2004, with sums over samples written out; the small ridge is taken off."""
    points = np.random.default_rng(seed).normal(size=(count, width)) @ np.diag(np.arange(1, width + 1))
    sample = sum(np.outer(x, x) for x in points) / count
    level = np.trace(sample) / width
    d2 = np.square(sample - level * np.eye(width)).sum() / width
    b2 = sum(np.square(np.outer(x, x) - sample).sum() for x in points) / width / count**2
    share = min(b2, d2) / d2 if d2 > 1e-12 else 1.0
    judge = share * level * np.eye(width) + (1 - share) * sample
    np.testing.assert_allclose(ledoit_wolf(points) - 1e-3 * np.eye(width), judge, rtol=1e-6, atol=1e-8)


def test_distances_against_scipy() -> None:
    rng = np.random.default_rng(0)
    vectors, new = rng.normal(3, 2, (60, 4)), rng.normal(3, 4, (7, 4))
    cloud = Cloud.fit(vectors)
    z = (new - vectors.mean(0)) / vectors.std(0)
    judge = [mahalanobis(row, np.zeros(4), cloud.precision) / 2 for row in z]
    np.testing.assert_allclose(cloud.distance(new), judge, rtol=1e-6)
    points = (vectors - vectors.mean(0)) / vectors.std(0)
    nearest = np.sort(cdist(z, points, "sqeuclidean"), axis=1)[:, :NEIGHBOURS].mean(1) / 4
    np.testing.assert_allclose(cloud.distance(new, "knn"), np.sqrt(nearest), rtol=1e-4)


def test_training_vectors_lie_at_about_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 5)) * [1, 10, 0.1, 5, 2] + 7
    assert np.square(Cloud.fit(vectors).distance(vectors)).mean() == pytest.approx(1, rel=0.1)


def test_a_feature_that_never_changed_counts_when_it_does() -> None:
    vectors = np.column_stack([np.ones(20) * 4, np.arange(20.0)])
    cloud = Cloud.fit(vectors)
    assert cloud.distance(np.array([[5.0, 10.0]]))[0] > 5 * cloud.distance(np.array([[4.0, 10.0]]))[0]


def test_one_vector_is_too_few() -> None:
    with pytest.raises(DataError, match="at least 2 vectors"):
        Cloud.fit(np.zeros((1, 3)))


def test_places_are_measured_from_their_nearest_class() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (500, 2)), rng.normal([20, 0], 3, (500, 2))
    labels = np.repeat([0, 2], 500)
    sums = Sums.of([np.concatenate([first, second])], [labels], classes=3)
    places = Places.fit(sums)
    own = np.cov(second, rowvar=False, bias=True)
    both = 0.9 * own + 0.1 * (np.cov(first, rowvar=False, bias=True) + own) / 2
    point = np.array([[24.0, 1.0]])
    judge = mahalanobis(point[0], second.mean(0), np.linalg.inv(both)) / np.sqrt(2)
    assert places.distance(point)[0] == pytest.approx(judge, rel=1e-2)
    assert len(places.means) == 2  # a class that was nowhere predicted has no centre
    far = places.distance(np.array([[0.0, 0.0], [20.0, 0.0], [10.0, 0.0]]))
    assert far[2] > 3 * max(far[:2])


def test_sums_of_scans_add_up() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    whole = Sums.of([features], [labels], 2)
    second = Sums.of([features[10:30], features[30:]], [labels[10:30], labels[30:]], 2)
    parts = Sums.of([features[:10]], [labels[:10]], 2) + second
    for name in ("count", "total", "product"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name))
