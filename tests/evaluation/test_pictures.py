from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from medcl.data.labels import UNLABELLED
from medcl.evaluation.pictures import COLOURS, SIDE, Slice, best_slices, colour_of, picture


def pixels(png: bytes) -> np.ndarray:
    return np.rint(imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(int)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])


LABEL = np.zeros((40, 40), int)
LABEL[10:30, 10:30] = 1


def test_proportions_follow_the_spacing() -> None:
    shown = pixels(picture(Slice(LABEL, spacing_mm=(1.0, 2.0)), show="label", crop=False))
    assert shown.shape == (SIDE // 2, SIDE, 3)


def test_label_is_filled_in_its_colour() -> None:
    shown = pixels(picture(Slice(LABEL), show="label", crop=False))
    centre, corner = shown[SIDE // 2, SIDE // 2], shown[2, 2]
    assert np.abs(centre - (0.65 * 40 + 0.35 * rgb(COLOURS[0]))).max() <= 1
    assert (corner == 40).all()


def test_strokes_are_drawn_and_unlabelled_is_not() -> None:
    scribble = np.full(LABEL.shape, UNLABELLED)
    scribble[20] = 1
    shown = pixels(picture(Slice(LABEL, scribble=scribble), show="strokes", crop=False))
    changed = (shown != 40).any(axis=-1)
    assert changed.mean() == pytest.approx(1 / 40)


def test_prediction_shows_the_outline_of_the_label() -> None:
    shown = pixels(picture(Slice(LABEL, prediction=np.zeros_like(LABEL)), show="prediction", crop=False))
    white = (shown > 200).all(axis=-1)
    assert white[80, 81:239].all()  # 8 pixels a voxel: the label starts at row and column 80
    assert not white[160, 160]


def test_unlabelled_is_hatched() -> None:
    label = LABEL.copy()
    label[:5] = UNLABELLED
    shown = pixels(picture(Slice(label), show="label", crop=False))
    part = (shown[:40] != 40).any(axis=-1)
    assert 0.1 < part.mean() < 0.4


def test_crop_keeps_structures_and_strokes_in_view() -> None:
    label = np.zeros((200, 200), int)
    label[90:110, 90:110] = 1
    whole, close = (pixels(picture(Slice(label), show="label", crop=crop)) for crop in (False, True))
    assert (close != 40).any(axis=-1).sum() > 5 * (whole != 40).any(axis=-1).sum()


def test_colour_images_stay_coloured() -> None:
    image = np.stack([np.full((40, 40), 255), np.zeros((40, 40)), np.zeros((40, 40))])
    image[:, 0, 0] = 0
    shown = pixels(picture(Slice(0 * LABEL, image=image), show="strokes"))
    assert shown[100, 100].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image", [np.zeros((40, 40)), np.full((40, 40), np.nan)])
def test_constant_and_broken_images_are_drawn(image: np.ndarray) -> None:
    assert pixels(picture(Slice(LABEL, image=image), show="strokes")).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1)])
def test_tiny_slices_are_drawn(shape: tuple[int, int]) -> None:
    for show in ("strokes", "label", "prediction"):
        ones = np.ones(shape, int)
        assert picture(Slice(ones, ones, ones.astype(float), ones), show=show).startswith(b"\x89PNG")


def test_best_slices_are_the_fullest_and_the_worst() -> None:
    label = np.zeros((4, 5, 5), int)
    label[1] = 1
    prediction = label.copy()
    prediction[3, :2] = 1
    label[0] = UNLABELLED
    prediction[0] = 1
    assert best_slices(label, np.where(label == UNLABELLED, 0, prediction)) == [1, 3]
    assert best_slices(label, np.maximum(label, 0)) == [1]


def test_colours_repeat_after_the_last() -> None:
    assert colour_of(1) == COLOURS[0] == colour_of(1 + len(COLOURS))
    assert colour_of(0) not in COLOURS
