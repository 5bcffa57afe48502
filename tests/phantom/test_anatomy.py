"""What made-up anatomy must have: every structure, in its place, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medcl.phantom.abdomen import AORTA, GALLBLADDER, LEFT_KIDNEY, LIVER, RIGHT_KIDNEY, SPLEEN, abdomen_volume
from medcl.phantom.canvas import Canvas, Wobble, rotation_matrix, smooth_noise
from medcl.phantom.heart import LV, MYO, RV, heart_volume
from medcl.phantom.scar import SCAR, scar_volume


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_painted_disc_has_the_area_of_a_circle():
    canvas = Canvas((1, 128, 128), (5.0, 1.0, 1.0))
    canvas.paint(canvas.blob((3.0, -7.0), (20.0, 20.0)), 10.0, cls=1)
    area = np.pi * 20**2
    assert canvas.label.sum() == pytest.approx(area, rel=0.02)
    # Partial volume keeps the total intensity too, and edges lie between both values.
    assert canvas.image.sum() == pytest.approx(10 * area, rel=0.02)
    assert ((canvas.image > 1) & (canvas.image < 9)).any()
    assert np.mean(np.argwhere(canvas.label[0]), axis=0) == pytest.approx([63.5 + 3, 63.5 - 7], abs=0.1)


def test_distances_of_a_circle_are_euclidean():
    canvas = Canvas((1, 21, 21), (1.0, 2.0, 2.0))
    expected = np.hypot(canvas.y, canvas.x) - 9.0
    np.testing.assert_allclose(canvas.blob((0.0, 0.0), (9.0, 9.0)), expected, atol=1e-2)


def test_nothing_is_inside_where_a_radius_is_not_positive():
    canvas = Canvas((3, 16, 16), (1.0, 1.0, 1.0))
    radius = np.where(canvas.z < 0, np.float32(-1.0), np.float32(5.0))
    inside = canvas.blob((0.0, 0.0), (radius, radius)) < 0
    assert not inside[0].any()
    assert inside[2].any()


def test_slices_shift_and_turn_with_the_grid():
    shift = np.array([[4.0, 0.0], [0.0, 0.0]], np.float32)
    canvas = Canvas((2, 8, 8), (1.0, 1.0, 1.0), None, shift)
    np.testing.assert_allclose(canvas.y[0] - canvas.y[1], 4.0)
    quarter = Canvas((1, 9, 9), (1.0, 1.0, 1.0), rotation_matrix((90.0, 0.0, 0.0)))
    np.testing.assert_allclose(quarter.y[0, 0], np.arange(-4, 5), atol=1e-5)  # grid x runs along the anatomy's y


def test_rotations_are_rotations():
    turn = rotation_matrix((30.0, -12.0, 5.0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_a_wobble_closes_on_itself():
    wobble = Wobble.draw(rng(), 0.1)
    ends = wobble(np.array([-np.pi, np.pi], np.float32))
    assert ends[0] == pytest.approx(ends[1], abs=1e-5)
    assert abs(ends[0] - 1) < 0.3


@pytest.mark.parametrize("sigma", [(0.0, 0.8, 0.8), (0.5, 6.0, 6.0), (3.0, 3.0, 20.0)])
def test_smooth_noise_is_standardised_and_smooth(sigma):
    noise = smooth_noise(rng(), (7, 50, 64), sigma)
    assert noise.shape == (7, 50, 64)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    steps = np.abs(np.diff(noise, axis=2)).mean()
    assert steps < 1.2 / max(sigma[2], 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_heart_is_a_blood_pool_in_a_ring_with_a_ventricle_beside_it(seed):
    image, label = heart_volume(rng(seed), (8, 96, 96))
    assert image.dtype == np.float32
    assert label.dtype == np.int16
    assert image.min() >= 0
    assert set(np.unique(label)) == {0, RV, MYO, LV}
    # The pool touches the wall and nothing else.
    around = ndimage.binary_dilation(label == LV, np.ones((1, 3, 3))) & (label != LV)
    assert set(np.unique(label[around])) == {MYO}
    # The wall is one ring in every slice, the right ventricle one piece on its right side of the body.
    for plane in label:
        assert ndimage.label(plane == MYO, np.ones((3, 3)))[1] <= 1
        assert ndimage.label(plane == RV)[1] <= 1
    areas = (label > 0).sum((1, 2))
    assert areas[0] < 0.5 * areas[-1]  # apex first
    assert np.argwhere(label == RV)[:, 2].mean() < np.argwhere(label == LV)[:, 2].mean()
    share = (label > 0).mean()
    assert 0.02 < share < 0.12
    # Blood is bright in cine MR, the wall is not: what makes the wall learnable.
    assert np.median(image[label == LV]) > 1.3 * np.median(image[label == MYO])


@pytest.mark.parametrize("seed", range(4))
def test_scar_lies_in_the_wall_and_is_bright(seed):
    image, label = scar_volume(rng(seed), (8, 128, 128))
    assert set(np.unique(label)) == {0, RV, MYO, LV, SCAR}
    wall = (label == MYO) | (label == SCAR)
    assert 0.01 < (label == SCAR).sum() / wall.sum() < 0.7
    assert np.median(image[label == SCAR]) > 1.5 * np.median(image[label == MYO])
    assert ndimage.label(ndimage.binary_fill_holes(wall[5]))[1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_abdomen_has_all_organs_where_they_belong(seed):
    image, label = abdomen_volume(rng(seed), (16, 96, 96))
    assert set(np.unique(label)) == set(range(9))
    places = {cls: np.argwhere(label == cls).mean(0) for cls in range(1, 9)}
    # x grows to the patient's left, y to the back, z to the head.
    assert places[LIVER][2] < places[AORTA][2] < places[SPLEEN][2]
    assert places[RIGHT_KIDNEY][2] < places[AORTA][2] < places[LEFT_KIDNEY][2]
    assert places[GALLBLADDER][1] < places[RIGHT_KIDNEY][1]
    assert places[SPLEEN][0] > places[LEFT_KIDNEY][0]
    sizes = np.bincount(label.ravel())
    assert sizes[1:].argmax() + 1 == LIVER
    # Hounsfield units of air, and of enhanced organs.
    assert np.median(image[:, :4, :4]) == pytest.approx(-1000, abs=30)
    assert 70 < np.median(image[label == LIVER]) < 150


@pytest.mark.parametrize("make", [heart_volume, scar_volume, abdomen_volume])
def test_same_seed_same_arrays_other_seed_others(make):
    first, again, other = make(rng(3), (4, 64, 64)), make(rng(3), (4, 64, 64)), make(rng(4), (4, 64, 64))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("make", [heart_volume, scar_volume, abdomen_volume])
def test_single_slices_lie_at_different_heights(make):
    labels = [make(rng(seed), (1, 64, 64))[1] for seed in range(6)]
    assert all((label > 0).any() for label in labels)
    assert len({int((label > 0).sum()) for label in labels}) == 6
