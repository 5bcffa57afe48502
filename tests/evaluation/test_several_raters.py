"""CURVAS scores against MONAI, SciPy and loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from medcl.errors import DataError
from medcl.evaluation.several_raters import (
    consensus_dice,
    crps_draws,
    crps_normal,
    multi_rater_ece,
    several_rater_sums,
    volume_crps,
)


def test_consensus_and_dissensus_by_hand() -> None:
    one, two = np.array([[[1, 1, 0, 0, 1]]]), np.array([[[1, 0, 0, 0, -1]]])
    scores = consensus_dice(np.array([[[1, 1, 1, 0, 0]]]), [one, two], classes=2)
    # agreed: voxels 0, 2, 3; called 1, 1, 0 against 1, 0, 0. Open: voxel 1; the last one is unlabelled for one rater
    assert scores["consensus"] == [pytest.approx(2 / 3)]
    assert scores["dissensus"] == [pytest.approx((1 + 0) / 2)]


def test_dissensus_is_over_raters_with_anything_there() -> None:
    drew, never = np.array([[[1, 0]]]), np.array([[[0, 0]]])
    # all that is open is voxel 0, and the mask misses it: Dice 0 with the first rater, undefined with the second
    assert consensus_dice(never, [drew, never], 2)["dissensus"] == [0]
    assert np.isnan(consensus_dice(never, [never, never], 2)["dissensus"]).all()


def test_who_said_nothing_is_no_rater() -> None:
    one, two, silent = np.array([[[1, 1, 0, 0]]]), np.array([[[1, 0, 0, -1]]]), np.full((1, 1, 4), -1)
    probabilities = np.array([[[[0.2, 0.2, 0.9, 0.9]]], [[[0.8, 0.8, 0.1, 0.1]]]])
    mask = probabilities.argmax(0)
    for score in (
        lambda labels: volume_crps(probabilities, labels),
        lambda labels: multi_rater_ece(probabilities, labels),
        lambda labels: consensus_dice(mask, labels, 2),
        lambda labels: several_rater_sums(probabilities, labels).voxels,
    ):
        assert score([one, silent, two]) == score([one, two])
        with pytest.raises(DataError, match="two raters who labelled anything, got 1 of 2"):
            score([one, silent])


def test_volumes_of_nothing_have_no_score() -> None:
    left, right = np.array([[[1, -1]]]), np.array([[[-1, 1]]])
    assert np.isnan(volume_crps(np.full((2, 1, 1, 2), 0.5), [left, right])).all()


def test_crps_of_a_normal_is_its_integral() -> None:
    for value in (2.0, 9.5, 14.0):
        slow, _ = integrate.quad(
            lambda y, v=value: (stats.norm.cdf(y, 10, 1.5) - (y >= v)) ** 2, -5, 30, points=[value], limit=200
        )
        assert crps_normal(value, 10, 1.5) == pytest.approx(slow, abs=1e-6)
    assert crps_normal(3, 5, 0) == 2


def test_crps_of_draws_is_the_sum_over_pairs() -> None:
    draws = np.random.default_rng(0).normal(10, 2, 40)
    pairs = np.abs(draws[:, None] - draws[None]).mean()
    assert crps_draws(draws, 9) == pytest.approx(np.abs(draws - 9).mean() - pairs / 2)
    assert crps_draws(np.array([4.0]), 7) == 3
    with pytest.raises(DataError, match="at least one draw"):
        crps_draws(np.array([]), 1)


def test_volume_counts_probabilities_in_ml() -> None:
    probabilities = np.full((2, 1, 1, 4), 0.5)
    raters = [np.array([[[1, 1, 0, 0]]]), np.array([[[1, 1, 1, 1]]])]
    # 4 x 0.5 voxels of 0.5 ml = 1 ml; raters: 1 and 2 ml, mean 1.5, deviation 0.5
    assert volume_crps(probabilities, raters, 0.5) == [pytest.approx(crps_normal(1, 1.5, 0.5))]


def test_multi_rater_ece_is_the_mean_over_raters() -> None:
    probabilities = np.array([[[[0.1, 0.1, 0.9]]], [[[0.9, 0.9, 0.1]]]])
    raters = [np.array([[[1, 1, 0]]]), np.array([[[1, 0, -1]]])]
    assert multi_rater_ece(probabilities, raters) == pytest.approx((0.1 + 0.4) / 2)
    assert several_rater_sums(probabilities, raters).voxels == 5
    with pytest.raises(DataError, match="at least two raters"):
        multi_rater_ece(probabilities, raters[:1])
    with pytest.raises(DataError, match="rater 2"):
        multi_rater_ece(probabilities, [raters[0], np.zeros((1, 1, 2), int)])
