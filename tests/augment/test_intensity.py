"""Intensity changes: each by hand or against scipy, strokes untouched."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.augment.intensity import _blur, intensity
from medcl.batch import Batch
from medcl.settings import AugmentSettings

KINDS = ("gamma", "brightness", "contrast", "noise", "blur", "bias_field")
OFF = AugmentSettings(**dict.fromkeys(KINDS, 0.0), probability=1.0)
SIZES = [(9, 8), (1, 12), (3, 8, 8), (1, 5, 5)]


def make_batch(count: int, size: tuple[int, ...], channels: int = 2) -> Batch:
    image = torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(0))
    maps = torch.ones(count, 3, *size)
    flags = torch.ones(count, 3, dtype=torch.bool)
    return Batch(image, maps, flags, flags, maps)


def only(**strength: float) -> AugmentSettings:
    return OFF.model_copy(update=strength)


@settings(max_examples=10)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 999), count=st.integers(1, 3))
def test_strokes_stay_and_images_stay_finite(size: tuple[int, ...], seed: int, count: int) -> None:
    batch = make_batch(count, size)
    changed = intensity(batch, AugmentSettings(probability=1.0), torch.Generator().manual_seed(seed))
    assert changed.image.shape == batch.image.shape
    assert changed.image.isfinite().all()
    for name in ("target", "known", "present", "absent"):
        assert getattr(changed, name) is getattr(batch, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_chance_of_a_change(kind: str, probability: float) -> None:
    batch = make_batch(2, (9, 8))
    settings_ = only(**{kind: 0.5, "probability": probability})
    changed = intensity(batch, settings_, torch.Generator().manual_seed(1)).image
    assert torch.allclose(changed, batch.image, atol=1e-4) == (probability == 0)


def test_zero_strength_changes_nothing() -> None:
    batch = make_batch(2, (9, 8))
    assert torch.equal(intensity(batch, OFF, torch.Generator()).image, batch.image)


def test_same_seed_same_result() -> None:
    batch, settings_ = make_batch(2, (9, 8)), AugmentSettings(probability=1.0)
    first, again = (intensity(batch, settings_, torch.Generator().manual_seed(4)).image for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, intensity(batch, settings_, torch.Generator().manual_seed(5)).image)


def test_brightness_adds_one_number_and_contrast_multiplies_by_one() -> None:
    batch = make_batch(50, (4, 4))
    offset = intensity(batch, only(brightness=0.3), torch.Generator()).image - batch.image
    assert offset.flatten(1).std(dim=1).max() < 1e-5
    assert 0.2 < offset.abs().max() <= 0.3 + 1e-5
    factor = intensity(batch, only(contrast=0.3), torch.Generator()).image / batch.image
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert 0.2 < (factor - 1).abs().max() <= 0.3 + 1e-5


def test_gamma_keeps_range_and_order() -> None:
    batch = make_batch(6, (8, 8), channels=1)
    changed = intensity(batch, only(gamma=0.5), torch.Generator()).image
    for before, after in zip(batch.image.flatten(1), changed.flatten(1), strict=True):
        assert (after[before.argsort()].diff() >= 0).all()
        assert after.min().item() == pytest.approx(before.min().item(), abs=0.02)
        assert after.max().item() == pytest.approx(before.max().item(), abs=1e-4)


def test_constant_image_stays_constant_and_finite() -> None:
    batch = make_batch(2, (8, 8))
    batch = Batch(torch.full_like(batch.image, 3.0), batch.target, batch.known, batch.present, batch.absent)
    changed = intensity(batch, only(gamma=0.5, blur=1.0, bias_field=0.5), torch.Generator()).image
    torch.testing.assert_close(changed, batch.image, atol=1e-4, rtol=1e-4)


def test_noise_has_the_strength_it_says() -> None:
    batch = make_batch(40, (32, 32), channels=1)
    added = intensity(batch, only(noise=0.5), torch.Generator()).image - batch.image
    per_image = added.flatten(1).std(dim=1)
    assert 0.4 < per_image.max() < 0.53
    assert abs(added.mean().item()) < 0.01


def test_bias_field_is_smooth_and_bounded() -> None:
    ramp = torch.linspace(1, 2, 32 * 32).reshape(1, 1, 32, 32)
    batch = make_batch(1, (32, 32), channels=1)
    batch = Batch(ramp, batch.target, batch.known, batch.present, batch.absent)
    for seed in range(5):
        changed = intensity(batch, only(bias_field=0.3), torch.Generator().manual_seed(seed)).image
        field = ((changed - 1) / (ramp - 1).clamp(min=1e-3))[0, 0, 1:]  # relative to the darkest pixel, which stays
        assert 0.7 - 1e-3 <= field.min() <= field.max() <= 1.3 + 1e-3
        assert field.diff(dim=0).abs().max() < 0.1


@pytest.mark.parametrize("size", [(20, 17), (3, 12, 12)])
def test_blur_agrees_with_scipy_and_stays_in_the_plane(size: tuple[int, ...]) -> None:
    image = torch.randn(3, 2, *size)
    sigmas = torch.tensor([0.3, 0.5, 0.7])
    blurred = _blur(image, sigmas)
    for n, sigma in enumerate(sigmas.tolist()):
        plane = (0,) * (len(size) - 2) + (sigma, sigma)
        judge = scipy.ndimage.gaussian_filter(image[n].numpy(), (0, *plane), mode="nearest", radius=2)
        np.testing.assert_allclose(blurred[n].numpy(), judge, atol=1e-5)
    torch.testing.assert_close(_blur(image, torch.zeros(3)), image)  # no blur at all
