"""The scanner's share: texture, coil, resolution and noise have the sizes asked for."""

from __future__ import annotations

import numpy as np
import pytest

from medcl.phantom.appearance import bias_field, ct_acquisition, mr_acquisition, texture
from medcl.phantom.canvas import Canvas


def test_noise_in_air_is_rayleigh_of_the_size_asked_for():
    air = np.zeros((4, 128, 128), np.float32)
    image = mr_acquisition(np.random.default_rng(0), air, noise=0.05, resolution=1.0)
    # Magnitude of complex Gaussian noise in air: mean sigma * sqrt(pi / 2).
    assert image.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_keeps_its_size_when_resolution_falls():
    bright = np.ones((4, 128, 128), np.float32)
    image = mr_acquisition(np.random.default_rng(0), bright, noise=0.02, resolution=0.6)
    assert image.mean() == pytest.approx(1.0, abs=2e-3)
    assert image.std() == pytest.approx(0.02, rel=0.05)


def test_cut_k_space_blurs_edges_and_rings():
    edge = np.zeros((1, 64, 64), np.float32)
    edge[:, :, 32:] = 1.0
    image = mr_acquisition(np.random.default_rng(0), edge, noise=0.0, resolution=0.5)
    assert image.max() > 1.04  # Gibbs
    assert 0.05 < image[0, 0, 31] < 0.6


def test_bias_field_is_smooth_positive_and_off_at_zero():
    canvas = Canvas((4, 64, 64), (8.0, 3.0, 3.0))
    field = bias_field(np.random.default_rng(1), canvas, 0.5, coil=(-100.0, 0.0))
    assert field.min() > 0
    assert field.mean() == pytest.approx(1.0, abs=1e-4)
    assert field.std() > 0.03
    assert np.abs(np.diff(field, axis=2)).max() < 0.1 * field.max()
    np.testing.assert_allclose(bias_field(np.random.default_rng(1), canvas, 0.0), 1.0, rtol=1e-6)


def test_texture_varies_around_one():
    values = texture(np.random.default_rng(2), (4, 64, 64), 0.1)
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert values.std() == pytest.approx(0.1, rel=0.2)


def test_ct_noise_is_in_hounsfield_units_and_stays_in_range():
    image = ct_acquisition(np.random.default_rng(3), np.full((4, 64, 64), 50.0, np.float32), noise=20.0)
    assert image.mean() == pytest.approx(50.0, abs=2)
    assert image.std() == pytest.approx(20.0, rel=0.25)
    air = ct_acquisition(np.random.default_rng(3), np.full((4, 64, 64), -1020.0, np.float32), noise=20.0)
    assert air.min() >= -1024
