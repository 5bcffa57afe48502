from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from medcl.errors import DataError
from medcl.evaluation.frechet import frechet_distance, set_distance, standardise


@given(st.integers(0, 1000), st.integers(2, 5))
def test_as_written_in_the_paper(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(20, width)), rng.normal(1, 2, size=(15, width)) @ rng.normal(size=(width, width))
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    judge = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert frechet_distance(a, b) == pytest.approx(judge, rel=1e-5, abs=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-6, abs=1e-8)


def test_one_feature_by_hand() -> None:
    """Means 0 and 3, standard deviations sqrt(2) and sqrt(2): only the shift counts."""
    assert frechet_distance(np.array([[-1.0], [1.0]]), np.array([[2.0], [4.0]])) == pytest.approx(9)


def test_more_features_than_scans_is_finite() -> None:
    rng = np.random.default_rng(0)
    assert np.isfinite(frechet_distance(rng.normal(size=(4, 30)), rng.normal(size=(3, 30))))


def test_a_set_of_the_same_kind_is_usual_and_a_shifted_one_is_not() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 6))
    like, unlike = (set_distance(a, rng.normal(shift, 1, size=(12, 6)), draws=50) for shift in (0.0, 2.0))
    assert like.share > 0.05
    assert unlike.share == pytest.approx(1 / 51)
    assert unlike.distance > like.distance
    assert like.sizes == (18, 12)
    assert (np.diff(like.usual) >= 0).all()
    assert set_distance(a, a[:5], draws=20, seed=1).distance == set_distance(a, a[:5], draws=20, seed=1).distance


def test_a_feature_that_never_changes_does_not_blow_up() -> None:
    a = np.ones((5, 1)) * 10
    assert np.abs(standardise(np.array([[11.0]]), a)).max() == pytest.approx(2)


def test_too_few_scans_are_told() -> None:
    with pytest.raises(DataError, match="at least 6 scans in A"):
        set_distance(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(DataError, match="at least 2 finite vectors"):
        frechet_distance(np.zeros((1, 2)), np.zeros((3, 2)))
