"""Expected Dice and volumes, by hand and by drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medcl.inference.model import Model
from medcl.inference.quality import BINS, Tally, estimates, volume_draws


def _tally(shares: np.ndarray) -> Tally:
    tally = Tally()
    for z in range(shares.shape[1]):
        plane = torch.from_numpy(shares[:, z]).float()
        tally.add(z, plane, plane.argmax(0).numpy())
    return tally


def test_four_voxels_by_hand() -> None:
    own = np.array([[[[1.0, 0.75, 0.25, 0.0]]]])
    (one,) = estimates(_tally(np.concatenate((1 - own, own))), ("background", "a"), voxel_ml=0.5)
    assert one.expected_dice == pytest.approx(2 * 1.75 / (2 + 2))
    assert one.volume_ml == pytest.approx(1.0)
    # thresholds below 0.25 count three voxels, those above 0.75 one
    assert (one.low_ml, one.high_ml) == (pytest.approx(0.5), pytest.approx(1.5))


def test_a_structure_that_is_not_there_has_no_dice() -> None:
    shares = np.stack([np.full((1, 2, 2), 0.8), np.full((1, 2, 2), 0.2)])
    (one,) = estimates(_tally(shares), ("background", "a"), 1.0)
    assert np.isnan(one.expected_dice)
    assert one.volume_ml == 0


def test_haze_far_away_and_removed_pieces_do_not_count() -> None:
    p = np.full((1, 40, 40), 0.1)
    p[0, 4, 4:6] = 0.9
    p[0, 30, 30] = 0.8
    tally = _tally(np.stack([1 - p, p]))
    assert [(one.place, one.size) for one in tally.pieces] == [((0, 4, 4), 2), ((0, 30, 30), 1)]
    mask = (p > 0.5).astype(int)
    mask[0, 30, 30] = 0
    tally.keep(mask)
    (one,) = estimates(tally, ("background", "a"), 1.0)
    y, x = np.mgrid[:40, :40]
    near = np.minimum((y - 4) ** 2 + (x - 4) ** 2, (y - 4) ** 2 + (x - 5) ** 2) <= 25
    assert one.volume_ml == pytest.approx(p[0][near].sum())
    assert one.expected_dice == pytest.approx(2 * 1.8 / (p[0][near].sum() + 2))


def test_pieces_of_a_plane_without_background() -> None:
    p = np.full((1, 3, 3), 0.7)
    tally = _tally(np.stack([1 - p, p]))
    assert [(one.place, one.size) for one in tally.pieces] == [((0, 0, 0), 9)]


def test_expected_dice_is_near_the_mean_over_drawn_truths() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0, 1, (1, 40, 40)) ** 0.5
    mask = (p > 0.5).astype(int)
    (one,) = estimates(_tally(np.stack([1 - p, p])), ("background", "a"), 1.0)
    drawn = []
    for _ in range(200):
        truth = random.uniform(0, 1, p.shape) < p
        drawn.append(2 * (truth & (mask == 1)).sum() / (truth.sum() + mask.sum()))
    assert one.expected_dice == pytest.approx(np.mean(drawn), abs=0.005)


def test_the_mean_of_the_volumes_is_the_sum_of_the_probabilities() -> None:
    p = np.random.default_rng(1).beta(0.3, 0.3, (50, 50))
    counts = np.bincount((p * BINS).astype(int).ravel(), minlength=BINS)
    assert volume_draws(counts).mean() == pytest.approx(p.sum(), rel=0.01)


def test_maps_that_differ_widen_the_interval() -> None:
    small, large = np.zeros((1, 10, 10)), np.zeros((1, 10, 10))
    small[:, :2], large[:, :6] = 1, 1
    tallies = [_tally(np.stack([1 - p, p])) for p in (small, large)]
    (one,) = estimates(tallies[0], ("background", "a"), 1.0, tallies)
    assert (one.low_ml, one.volume_ml, one.high_ml) == (pytest.approx(20), pytest.approx(40), pytest.approx(60))


def test_prediction_carries_them(saved: Callable[..., Path]) -> None:
    image = np.random.default_rng(0).normal(50, 20, (2, 24, 24)).astype(np.float32)
    model = Model.load(saved("unet", {"base": 4, "levels": 2}), engine="torch", precision="fp32")
    plain = model.predict(image, spacing_mm=(5, 1, 1), probabilities=True)
    assert plain.probabilities is not None
    assert [one.structure for one in plain.estimates] == ["a", "b"]
    assert 0 <= plain.estimates[0].volume_ml <= plain.probabilities[1].sum() * 0.005 * 1.0001
    varied = model.predict(image, spacing_mm=(5, 1, 1), uncertainty=True, uncertainty_from="tta")
    assert plain.mutual_information is None
    assert varied.mutual_information is not None
    assert varied.uncertainty is not None
    assert 0 < varied.mutual_information.max() <= 1
    assert (varied.mutual_information <= varied.uncertainty + 1e-6).all()
