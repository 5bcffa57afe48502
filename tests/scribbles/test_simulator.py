"""Strokes lie in their class, repeat with their seed, keep budgets and leave alone what nobody labelled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError, SettingsError
from medcl.scribbles import STYLES, ScribbleSettings, draw, preset, simulate
from medcl.scribbles.presets import PRESETS


def heart(slices: int = 3, size: int = 96) -> np.ndarray:
    """A disc (3) in a ring (2), and a crescent (1) beside it."""
    y, x = np.mgrid[:size, :size] - size / 2
    away, beside = np.hypot(y, x), np.hypot(y, x + 22)
    label = np.zeros((slices, size, size), np.int16)
    label[:, beside < 18] = 1
    label[:, away < 24] = 2
    label[:, away < 15] = 3
    return label


def settings(**values: object) -> ScribbleSettings:
    return ScribbleSettings.parse(values)


@pytest.mark.parametrize("style", STYLES.names())
def test_every_style_stays_in_its_class_and_shows_every_class(style: str) -> None:
    label = heart()
    for seed in range(4):
        strokes = simulate(label, (8.0, 1.5, 1.5), settings(style=style), seed)
        drawn = strokes != UNLABELLED
        np.testing.assert_array_equal(strokes[drawn], label[drawn])
        for plane in strokes:
            assert set(np.unique(plane)) == {UNLABELLED, 0, 1, 2, 3}
        assert drawn.mean() < 0.25


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_stays_in_its_class_apart_from_its_mistakes(name: str) -> None:
    label = heart()
    strokes = simulate(label, (8.0, 1.5, 1.5), preset(name, mistakes=0.0))
    drawn = strokes != UNLABELLED
    np.testing.assert_array_equal(strokes[drawn], label[drawn])


def test_same_seed_same_strokes_other_seed_others() -> None:
    first, again, other = (simulate(heart(), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_strokes_follow_their_structure_not_its_value() -> None:
    label = heart()
    order = np.array([0, 3, 1, 2], np.int16)
    expected = simulate(label, seed=3)
    permuted = simulate(order[label], seed=3)
    drawn = expected != UNLABELLED
    np.testing.assert_array_equal(drawn, permuted != UNLABELLED)
    np.testing.assert_array_equal(order[expected[drawn]], permuted[drawn])


def test_a_slice_does_not_depend_on_the_others() -> None:
    label = heart(5)
    emptied = label.copy()
    emptied[3] = 0
    first, second = simulate(label, seed=2), simulate(emptied, seed=2)
    np.testing.assert_array_equal(first[:3], second[:3])


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    style=st.sampled_from(STYLES.names()),
    spacing=st.tuples(*[st.sampled_from([0.5, 1.0, 1.7, 8.0])] * 3),
    planes=st.sampled_from(["slices", "orthogonal"]),
)
def test_any_label_gives_strokes_that_agree_with_it(shape, seed, style, spacing, planes) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), (0, *rng.uniform(0, 4, 2)))
    label = np.digitize(noise, np.quantile(noise, [0.6, 0.8, 0.95])).astype(np.int16)
    label[noise < np.quantile(noise, 0.1)] = 7  # nobody labelled these
    strokes = simulate(label, spacing, settings(style=style, planes=planes), seed, ignore=7)
    assert strokes.shape == shape
    drawn = strokes != 7
    np.testing.assert_array_equal(strokes[drawn], label[drawn])
    if planes == "slices" and style != "boxes":
        for plane, truth in zip(strokes, label, strict=True):
            assert set(np.unique(truth)) - {0, 7} == set(np.unique(plane)) - {0, 7}


@given(seed=st.integers(0, 1000), mistakes=st.sampled_from([0.0, 1.0]))
def test_ignored_voxels_are_never_drawn_on(seed: int, mistakes: float) -> None:
    label = heart(1)
    label[0, :, 40:60] = -1
    strokes = simulate(label, settings=settings(mistakes=mistakes), seed=seed)
    assert (strokes[label == -1] == UNLABELLED).all()


def test_mistakes_are_the_share_of_strokes_that_leave_their_structure() -> None:
    label = heart(6)
    wrong = []
    for share in (0.0, 0.3, 1.0):
        strokes = np.stack([simulate(label, settings=settings(mistakes=share), seed=s) for s in range(4)])
        drawn = strokes > 0
        wrong.append(float((strokes[drawn] != np.broadcast_to(label, strokes.shape)[drawn]).mean()))
    assert wrong[0] == 0
    assert 0 < wrong[1] < wrong[2]
    assert wrong[2] > 0.3


def test_one_pixel_is_stroked_and_nothing_else_of_its_class() -> None:
    label = np.zeros((1, 9, 11), np.int16)
    label[0, 4, 5] = 1
    for style in STYLES.names():
        strokes = simulate(label, settings=settings(style=style))
        assert np.argwhere(strokes == 1).tolist() == [[0, 4, 5]]


def test_labels_without_structure_background_or_anything() -> None:
    empty = simulate(np.zeros((2, 32, 32), np.int16))
    assert set(np.unique(empty)) == {UNLABELLED, 0}
    full = simulate(np.ones((1, 32, 32), np.uint8))
    assert set(np.unique(full)) == {UNLABELLED, 1}
    unlabelled = simulate(np.full((1, 32, 32), -1, np.int16))
    assert set(np.unique(unlabelled)) == {UNLABELLED}


def test_flat_labels_and_unsigned_types_with_any_ignore() -> None:
    label = heart(1)[0].astype(np.uint8)
    strokes = simulate(label, (1.5, 1.5), ignore=255)
    assert strokes.shape == label.shape
    assert strokes.dtype == np.uint8
    assert (strokes == 255).mean() > 0.7


def test_missing_slices_and_missing_classes() -> None:
    label = heart(8)
    half = simulate(label, settings=settings(slices=0.5))
    assert sum((plane != UNLABELLED).any() for plane in half) == 4
    forgetful = np.stack([simulate(label, settings=settings(missing_classes=0.5), seed=s) for s in range(4)])
    shown = np.array([[(plane == value).any() for value in (1, 2, 3)] for plane in forgetful.reshape(-1, 96, 96)])
    assert 0.3 < shown.mean() < 0.7


def test_thickness_and_length_do_what_they_say() -> None:
    label = heart(4)
    one, four = (int((simulate(label, settings=settings(thickness=t)) > 0).sum()) for t in (1.0, 4.0))
    assert 2 * one < four
    short, long = (draw(label, settings=settings(length=share)).length_mm for share in (0.3, 1.0))
    assert short < 0.75 * long


def test_background_near_far_and_in_holes() -> None:
    label = np.where(heart(6) == 2, 1, 0)  # a ring: its hole is background
    near = ndimage.distance_transform_edt(label == 0, sampling=(1000, 1, 1))
    nothing = {"outlines": 0, "loops": 0, "far": 0, "holes": False}

    def drawn(**wish: object) -> np.ndarray:
        return simulate(label, settings=settings(background={**nothing, **wish})) == 0

    assert not drawn().any()
    assert np.median(near[drawn(outlines=1, outline_distance=3)]) < 6
    assert np.median(near[drawn(far=4)]) > 8
    y, x = np.mgrid[:96, :96] - 48
    assert (np.hypot(y, x) < 16)[np.any(drawn(holes=True), axis=0)].all()


def test_orthogonal_planes_draw_along_every_axis() -> None:
    ball = (np.linalg.norm(np.mgrid[:24, :30, :32] - np.reshape([12, 15, 16], (3, 1, 1, 1)), axis=0) < 9).astype(int)
    drawing = draw(ball, (3.0, 1.0, 1.0), settings(planes="orthogonal", style="interior-border", slices=0.1))
    assert {stroke.axis for stroke in drawing.strokes} == {0, 1, 2}
    assert draw(ball[:1], settings=settings(planes="orthogonal")).scribble.shape == (1, 30, 32)


def test_spacing_keeps_strokes_round_in_mm() -> None:
    label = np.zeros((1, 20, 100), np.int16)
    label[0, 4:16, 20:80] = 1  # 60 mm x 60 mm
    strokes = simulate(label, (1.0, 5.0, 1.0), settings(style="clicks", thickness=15, thickness_spread=0)) == 1
    rows, columns = np.flatnonzero(strokes[0].any(axis=1)), np.flatnonzero(strokes[0].any(axis=0))
    assert len(rows) * 5 == pytest.approx(len(columns), rel=0.5)


def test_wrong_input_is_one_clear_sentence() -> None:
    with pytest.raises(DataError, match=r"expected integers \(Z, Y, X\) or \(Y, X\), got float64"):
        simulate(np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="spacing_mm: expected 3 positive numbers"):
        simulate(np.zeros((2, 3, 4), int), (1.0, 0.0, 1.0))
    with pytest.raises(DataError, match="ignore: expected another value than the background's"):
        simulate(np.zeros((2, 3, 4), int), ignore=0)
    with pytest.raises(SettingsError, match="Known: boxes, centreline"):
        settings(style="dots")
    with pytest.raises(SettingsError, match="mix: unknown stroke style 'spirals'; did you mean 'spiral'"):
        settings(mix={"spirals": 1})
    with pytest.raises(SettingsError, match="mix: expected at least one style with a weight above 0"):
        settings(mix={"line": 0})
    with pytest.raises(SettingsError, match="Known: acdc-like, mscmr-like, quick"):
        preset("acdc")


def test_a_preset_can_be_changed_in_part() -> None:
    changed = preset("mscmr-like", thickness=5, background={"far": 2})
    assert changed.thickness == 5
    assert changed.background.far == 2
    assert changed.background.loop_thickness == preset("mscmr-like").background.loop_thickness


def test_a_style_of_ones_own_is_one_function() -> None:
    from medcl.scribbles.styles import Mark

    @STYLES.register("corner")
    def corner(rng, piece, settings):
        return [Mark(piece.pixels[:1], steady=True)]

    try:
        strokes = simulate(heart(1), settings=settings(style="corner", thickness=1))
        assert [(strokes == value).sum() for value in (1, 2, 3)] == [1, 1, 1]
    finally:
        del STYLES._members["corner"]


def test_pieces_of_a_class_are_stroked_up_to_a_number() -> None:
    label = np.zeros((1, 60, 60), np.int16)
    for y, x in itertools.product(range(2, 60, 8), repeat=2):
        label[0, y : y + 4, x : x + 4] = 1
    strokes = simulate(label, settings=settings(style="clicks", thickness=1, most_pieces=5)) == 1
    touched = np.unique(ndimage.label(label[0])[0][strokes[0]])
    assert len(touched) == 5
