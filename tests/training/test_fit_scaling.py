"""What is fitted, from voxels whose right temperature is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medcl.training.fit_scaling import (
    Voxels,
    fit,
    fit_temperature,
    fit_vector,
    log_loss,
    mean_confidence,
    probabilities,
)


def _voxels(truth_scale: float | np.ndarray, bias: float | np.ndarray = 0.0, count: int = 20_000) -> Voxels:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2.5, (count, 3))
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    shares = probabilities(logits, truth_scale, bias)
    drawn = (random.uniform(size=(count, 1)) > shares.cumsum(1)).sum(1)
    return Voxels(logits, np.eye(3)[np.minimum(drawn, 2)], np.ones(count))


def test_the_temperature_that_made_the_labels_is_found() -> None:
    assert fit_temperature(_voxels(0.5)) == pytest.approx(2.0, rel=0.03)
    assert fit_temperature(_voxels(1.25)) == pytest.approx(0.8, rel=0.03)


def test_log_loss_is_torchs() -> None:
    voxels = _voxels(1.0, count=50)
    theirs = torch.nn.functional.cross_entropy(torch.from_numpy(voxels.logits) / 1.7, torch.from_numpy(voxels.target))
    assert log_loss(voxels, 1 / 1.7) == pytest.approx(theirs.item())


def test_vector_scaling_finds_biases_up_to_a_number_for_all() -> None:
    scale, bias = np.array([0.5, 0.8, 0.6]), np.array([0.0, 1.0, -0.5])
    voxels = _voxels(scale, bias)
    found_scale, found_bias = fit_vector(voxels, fit_temperature(voxels))
    assert log_loss(voxels, found_scale, found_bias) <= log_loss(voxels, scale, bias) + 1e-3
    np.testing.assert_allclose(
        probabilities(voxels.logits, found_scale, found_bias), probabilities(voxels.logits, scale, bias), atol=0.06
    )


def test_nothing_is_kept_that_is_worse_where_it_was_fitted() -> None:
    for truth in (0.5, 1.0, 1.6):
        voxels = _voxels(truth)
        for kind in ("temperature", "vector"):
            fitted = fit(voxels, voxels, kind)  # type: ignore[arg-type]
            for score in ("ece", "log_loss"):
                assert fitted.facts[score]["after"] <= fitted.facts[score]["before"]


def test_where_nothing_helps_probabilities_stay() -> None:
    """Every voxel at 0.6 and three of five right: calibrated, and one temperature can only break it."""
    logits = np.log(np.tile([[0.6, 0.4]], (500, 1)))
    target = np.tile(np.eye(2)[[0, 0, 0, 1, 1]], (100, 1))
    fitted = fit(Voxels(logits, target, np.ones(500)), None, "temperature")
    assert fitted.temperature == pytest.approx(1.0, abs=0.01)
    assert fitted.far == 1.0


def test_what_is_no_label_never_makes_a_model_surer() -> None:
    voxels = _voxels(1.6)
    assert fit(voxels, None, "vector", surer=False).temperature == 1.0
    assert fit(voxels, None, "temperature").temperature < 0.7
    assert fit(_voxels(0.5), None, "temperature", surer=False).temperature == pytest.approx(2.0, rel=0.03)


def test_biases_do_not_make_surer_on_the_quiet() -> None:
    """The scales asked for are below 1, but nearly all is called the middle class: without labels that is not kept."""
    voxels = _voxels(0.8, np.array([0.0, 8.0, 0.0]))
    scale, bias = fit_vector(voxels, fit_temperature(voxels))
    assert scale.mean() < 1
    assert mean_confidence(voxels, scale, bias) > mean_confidence(voxels, 1.0) + 0.01
    fitted = fit(voxels, None, "vector", surer=False)
    assert fitted.kind == "temperature"
    after = mean_confidence(voxels, np.array(fitted.scale), np.array(fitted.bias))
    assert after <= mean_confidence(voxels, 1.0)
    assert fit(voxels, None, "vector").kind == "vector"


def test_a_vector_is_kept_where_it_is_less_sure_in_the_mean() -> None:
    voxels = _voxels(np.array([0.4, 0.6, 0.5]), np.array([0.0, 0.5, 0.0]))
    fitted = fit(voxels, None, "vector", surer=False)
    assert fitted.kind == "vector"
    after = mean_confidence(voxels, np.array(fitted.scale), np.array(fitted.bias))
    assert after < mean_confidence(voxels, 1.0)


def test_balancing_lets_every_class_count_alike() -> None:
    target = np.eye(2)[[0] * 9 + [1]]
    weight = Voxels(np.zeros((10, 2)), target, np.ones(10)).balanced().weight
    assert weight[:9].sum() == pytest.approx(weight[9])
    assert weight.mean() == pytest.approx(1)
