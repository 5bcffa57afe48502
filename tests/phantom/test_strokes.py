"""Strokes stay inside, are sparse, broken and different, and never claim what was not drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medcl.data.labels import UNLABELLED
from medcl.errors import SettingsError
from medcl.phantom.heart import heart_volume
from medcl.phantom.strokes import StrokeSettings, draw_strokes


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def hearts() -> list[np.ndarray]:
    return [heart_volume(rng(seed), (6, 128, 128))[1] for seed in range(3)]


def ring_and_disc() -> np.ndarray:
    y, x = np.mgrid[:96, :96] - 48
    away = np.hypot(y, x)
    label = np.zeros((1, 96, 96), np.int16)
    label[0, away < 24] = 1
    label[0, away < 15] = 2
    return label


@pytest.mark.parametrize("style", ["centreline", "contour", "mixed"])
def test_strokes_agree_with_the_label_and_leave_most_unlabelled(hearts, style):
    for seed, label in enumerate(hearts):
        strokes = draw_strokes(rng(seed), label, StrokeSettings(style=style))
        assert strokes.dtype == np.int16
        drawn = strokes != UNLABELLED
        np.testing.assert_array_equal(strokes[drawn], label[drawn])
        assert 0.92 < 1 - drawn.mean() < 0.995
        assert set(np.unique(strokes)) == {UNLABELLED, 0, 1, 2, 3}


def test_every_piece_of_every_class_is_stroked_in_every_slice(hearts):
    settings = StrokeSettings(minimum_area=12)
    for label in hearts:
        strokes = draw_strokes(rng(5), label, settings)
        for plane, drawn in zip(label, strokes, strict=True):
            assert (drawn == 0).any()
            for cls in np.unique(plane[plane > 0]):
                pieces, count = ndimage.label(plane == cls, np.ones((3, 3)))
                for piece in range(1, count + 1):
                    if (pieces == piece).sum() >= settings.minimum_area:
                        assert (drawn[pieces == piece] == cls).any()


def test_a_ring_is_followed_in_its_middle():
    strokes = draw_strokes(rng(1), ring_and_disc(), StrokeSettings(thickness=1.0, coverage=1.0))
    away = np.hypot(*(np.argwhere(strokes[0] == 1) - 48).T)
    assert away.mean() == pytest.approx(19.5, abs=1.5)  # halfway between 15 and 24
    angles = np.histogram(np.arctan2(*(np.argwhere(strokes[0] == 1) - 48).T), 12, (-np.pi, np.pi))[0]
    assert (angles > 0).all()


def test_coverage_shortens_strokes():
    label = ring_and_disc()
    counts = [
        np.mean([(draw_strokes(rng(s), label, StrokeSettings(coverage=c)) == 1).sum() for s in range(8)])
        for c in (0.4, 1.0)
    ]
    assert counts[0] < 0.6 * counts[1]


def test_thickness_widens_strokes():
    label = ring_and_disc()
    counts = [(draw_strokes(rng(2), label, StrokeSettings(thickness=t)) == 1).sum() for t in (1.0, 3.0, 6.0)]
    assert counts[0] < counts[1] < counts[2]


def test_background_is_drawn_around_at_a_distance_and_not_only_there():
    label = ring_and_disc()
    near = ndimage.distance_transform_edt(label[0] == 0)
    distances = np.concatenate([near[draw_strokes(rng(s), label)[0] == 0] for s in range(6)])
    assert distances.min() > 1.0
    assert (distances < 16).any()
    assert (distances > 20).any()


def test_only_the_chosen_share_of_slices_gets_strokes(hearts):
    strokes = draw_strokes(rng(3), hearts[0], StrokeSettings(slices=0.5))
    assert sum((plane != UNLABELLED).any() for plane in strokes) == 3


def test_mistakes_leave_the_structure(hearts):
    label = hearts[0]
    strokes = draw_strokes(rng(4), label, StrokeSettings(mistakes=1.0))
    drawn = strokes > 0
    wrong = (strokes[drawn] != label[drawn]).mean()
    assert 0.01 < wrong < 0.8


def test_a_slice_without_structures_gets_background_strokes_only():
    strokes = draw_strokes(rng(), np.zeros((2, 64, 64), np.int16))
    assert set(np.unique(strokes)) == {UNLABELLED, 0}


def test_a_slice_without_background_gets_no_background_stroke():
    strokes = draw_strokes(rng(), np.ones((1, 48, 48), np.int16))
    assert set(np.unique(strokes)) == {UNLABELLED, 1}


def test_pieces_too_small_to_stroke_stay_unlabelled():
    label = np.zeros((1, 64, 64), np.int16)
    label[0, 30:32, 30:33] = 1
    assert not (draw_strokes(rng(), label, StrokeSettings(minimum_area=12)) == 1).any()
    assert (draw_strokes(rng(), label, StrokeSettings(minimum_area=1)) == 1).any()


@given(seed=st.integers(0, 10_000), threshold=st.floats(0.2, 1.5))
def test_any_shape_is_stroked_inside_only(seed, threshold):
    noise = ndimage.gaussian_filter(rng(seed).standard_normal((1, 48, 56)), (0, 4, 4))
    label = (noise > threshold * noise.std()).astype(np.int16) + (noise > 2 * threshold * noise.std())
    strokes = draw_strokes(rng(seed), label, StrokeSettings(style="mixed"))
    drawn = strokes != UNLABELLED
    np.testing.assert_array_equal(strokes[drawn], label[drawn])


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="thickness"):
        StrokeSettings.parse({"thickness": 0})
