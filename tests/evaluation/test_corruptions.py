from __future__ import annotations

import numpy as np
import pytest

from medcl.errors import DataError, SettingsError
from medcl.evaluation.corruptions import (
    KINDS,
    LESION_MM,
    NOISE,
    SEVERITIES,
    corrupt,
    ghosting,
    lesion,
    lesion_shape,
    rician_noise,
    wrong_body_part,
    wrong_orientation,
)

RNG = np.random.default_rng(0)
VOLUME = (RNG.random((6, 24, 32)) * 100).astype(np.float32)
DONORS = [RNG.random((10, 12)) * 7 for _ in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_grid_repeats_itself_and_spares_the_input(kind: str) -> None:
    before = VOLUME.copy()
    changes = []
    for severity in SEVERITIES:
        spoilt = corrupt(kind, VOLUME, severity, 3, spacing_mm=(5, 2, 2), donors=DONORS)
        assert spoilt.shape == VOLUME.shape
        assert spoilt.dtype == np.float32
        assert np.isfinite(spoilt).all()
        again = corrupt(kind, VOLUME, severity, 3, spacing_mm=(5, 2, 2), donors=DONORS)
        np.testing.assert_array_equal(spoilt, again)
        changes.append(np.abs(spoilt - VOLUME).mean())
    np.testing.assert_array_equal(before, VOLUME)
    assert min(changes) > 0
    if kind != "orientation":  # its severities are kinds of their own
        assert changes == sorted(changes)


def test_noise_of_an_empty_image_is_rayleigh() -> None:
    """The magnitude of pure complex noise has the mean sigma * sqrt(pi / 2)."""
    flat = np.zeros((4, 64, 64), np.float32)
    flat[0, :2] = 1  # 0.8 % of the voxels: both percentiles stay 0, a range of one unit
    noisy = rician_noise(flat, 3, 0)
    assert noisy[1:].mean() == pytest.approx(NOISE[2] * np.sqrt(np.pi / 2), rel=0.02)


def test_ghosts_stand_a_whole_fraction_of_the_image_away() -> None:
    image = np.zeros((1, 60, 60), np.float32)
    image[0, 28:32, 20:40] = 100
    ghosted = ghosting(image, 5, 1)
    far = ghosted[0, :, 30].copy()
    far[20:40] = 0
    peaks = {n for n in (2, 3, 4, 5) if far[(30 + 60 // n) % 60] > 3 * np.median(far)}
    assert peaks


@pytest.mark.parametrize(("severity", "count"), [(1, 1), (3, 4), (5, 6)])
def test_strange_slices_are_neighbours_at_one_end_in_the_range_of_the_scan(severity: int, count: int) -> None:
    spoilt = wrong_body_part(VOLUME, severity, 0, DONORS)
    changed = [z for z in range(6) if not np.array_equal(spoilt[z], VOLUME[z])]
    assert len(changed) == count
    assert changed in (list(range(count)), list(range(6 - count, 6)))
    low, high = np.percentile(VOLUME, (1, 99))
    assert low - 30 < spoilt[changed].min() < spoilt[changed].max() < high + 30


def test_orientations_are_what_they_say() -> None:
    np.testing.assert_array_equal(wrong_orientation(VOLUME, 1), VOLUME[:, :, ::-1])
    np.testing.assert_array_equal(wrong_orientation(VOLUME, 2), VOLUME[:, ::-1])
    np.testing.assert_array_equal(wrong_orientation(VOLUME, 3), VOLUME[:, ::-1, ::-1])
    square = VOLUME[:, :24, :24]
    np.testing.assert_array_equal(wrong_orientation(square, 4), square.transpose(0, 2, 1))
    assert wrong_orientation(VOLUME[:1], 5).shape == (1, 24, 32)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_lesion_has_its_radius_and_leaves_the_rest_alone(severity: int) -> None:
    size, spacing = (20, 80, 80), (3.0, 1.0, 1.0)
    inside, depth = lesion_shape(size, severity, 0, spacing_mm=spacing)
    radius = LESION_MM[severity - 1]
    volume_mm3 = inside.sum() * 3
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.35)
    image = np.full(size, 50, np.float32)
    image[:, ::2] = 0
    spoilt = lesion(image, severity, 0, spacing_mm=spacing)
    np.testing.assert_array_equal(spoilt[~inside], image[~inside])
    assert spoilt[inside & (depth < 0.6)].mean() < spoilt[inside & (depth > 0.6)].mean()


def test_bad_input_is_told() -> None:
    with pytest.raises(SettingsError, match="did you mean 'noise'"):
        corrupt("noize", VOLUME, 1, 0)
    with pytest.raises(SettingsError, match="expected one of 1, 2, 3, 4, 5, got 6"):
        corrupt("noise", VOLUME, 6, 0)
    with pytest.raises(DataError, match="another part of the body"):
        corrupt("body part", VOLUME, 1, 0)
