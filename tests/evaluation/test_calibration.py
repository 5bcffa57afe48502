"""Calibration scores, each against a second form of its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from medcl.errors import DataError
from medcl.evaluation.calibration import (
    BINS,
    CalibrationSums,
    calibration_scores,
    correlation,
    reliability,
    risk_coverage,
)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3, 2, 8, 9))
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    label = random.integers(-1, 3, (2, 8, 9))
    return probabilities, label


def _slow_ece(confidence: np.ndarray, right: np.ndarray) -> float:
    """The definition, bin by bin and voxel by voxel."""
    total, error = len(confidence), 0.0
    for number in range(BINS):
        inside = [i for i, c in enumerate(confidence) if number / BINS <= c < (number + 1) / BINS]
        if inside:
            accuracy = sum(bool(right[i]) for i in inside) / len(inside)
            error += len(inside) / total * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return error


def test_four_voxels_by_hand() -> None:
    # two at 0.9, one of them right: |0.5 - 0.9|; two at 0.6, both right: |1 - 0.6|
    assert reliability(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 0, 1, 1])).ece == pytest.approx(0.4)
    assert reliability(np.array([0.9, 0.9]), np.array([1, 0])).gap == pytest.approx(0.4)
    assert reliability(np.array([1.0]), np.array([1])).ece == 0


def test_scores_agree_with_slow_loops_and_torch(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, label = case
    scores = calibration_scores(probabilities, label)
    known = label >= 0
    p, y = probabilities[:, known], label[known]
    confidence, right = p.max(0), p.argmax(0) == y
    called = p.argmax(0) > 0
    assert scores["ece"] == pytest.approx(_slow_ece(confidence, right))
    assert scores["ece_foreground"] == pytest.approx(_slow_ece(confidence[called], right[called]))
    slow = np.mean([_slow_ece(p[i], y == i) for i in (1, 2)])
    assert scores["ece_classwise"] == pytest.approx(slow)
    log_p, truth = torch.from_numpy(np.log(p.T)), torch.from_numpy(y)
    assert scores["nll"] == pytest.approx(functional.nll_loss(log_p, truth).item())
    brier = (torch.from_numpy(p.T) - functional.one_hot(truth, 3)).square().sum(1).mean().item()
    assert scores["brier"] == pytest.approx(brier)


def test_unlabelled_voxels_change_nothing(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, label = case
    other = probabilities.copy()
    hidden = (label < 0) & (probabilities.argmax(0) == 0)  # the region itself is chosen by the prediction
    other[:, hidden] = [[0.98], [0.01], [0.01]]
    assert calibration_scores(other, label) == calibration_scores(probabilities, label)
    assert np.isnan(calibration_scores(probabilities, np.full_like(label, -1))["ece"])


def test_cases_add_up(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, label = case
    parts = CalibrationSums()
    for z in range(2):
        parts.add(probabilities[:, z : z + 1], label[z : z + 1])
    assert parts.scores() == pytest.approx(calibration_scores(probabilities, label))


def test_a_calibrated_model_scores_zero_and_a_sharper_one_does_not() -> None:
    random = np.random.default_rng(1)
    p = random.uniform(0, 1, 200_000)
    label = (random.uniform(0, 1, p.size) < p).astype(int)
    sharper = p**2 / (p**2 + (1 - p) ** 2)
    assert calibration_scores(np.stack([1 - p, p]), label)["ece"] < 0.01
    worse = calibration_scores(np.stack([1 - sharper, sharper]), label)
    assert worse["ece"] > 0.05
    assert worse["gap_foreground"] > 0.05


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="grid of the label"):
        calibration_scores(np.ones((2, 3)), np.zeros(4, int))
    with pytest.raises(DataError, match="below 2"):
        calibration_scores(np.ones((2, 3)), np.array([0, 1, 2]))


def test_risk_coverage_by_hand() -> None:
    coverage, risk = risk_coverage(np.array([0.2, 0.9, np.nan, 0.5]), np.array([0.6, 0.0, 1.0, 0.3]))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 0.15, 0.3])


def test_correlation_agrees_with_scipy() -> None:
    from scipy import stats

    x, y = np.random.default_rng(2).normal(size=(2, 20))
    assert correlation(x, x + y) == pytest.approx(stats.pearsonr(x, x + y).statistic)
    assert np.isnan(correlation(x[:2], y[:2]))
    assert np.isnan(correlation(np.ones(5), y[:5]))
