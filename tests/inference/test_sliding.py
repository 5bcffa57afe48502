from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medcl.errors import DataError, SettingsError
from medcl.inference import sliding
from medcl.inference.predict import predict_probabilities
from medcl.inference.sliding import gaussian_window, mask_of, predict_slabs, window_starts


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.9))
def test_windows_cover_the_axis_evenly_and_stay_inside(size, window, overlap):
    starts = window_starts(size, window, overlap)
    assert starts[0] == 0
    if window >= size:
        assert starts == [0]
        return
    assert starts[-1] + window == size
    steps = np.diff(starts)
    assert steps.min() >= 1
    assert steps.max() <= max(1, int(window * (1 - overlap)))
    assert steps.max() - steps.min() <= 1


def test_gaussian_window_is_largest_in_the_middle_and_never_zero():
    weight = gaussian_window(16)
    assert weight.max() == 1
    assert weight[7] == weight[8] == 1
    assert weight[0] == weight[15] == pytest.approx(1e-3)
    assert gaussian_window(1).tolist() == [1]


def _convolution(ndim, channels=1, classes=3):
    torch.manual_seed(1)
    return {2: nn.Conv2d, 3: nn.Conv3d}[ndim](channels, classes, 3, padding=1).eval()


def test_a_whole_slice_gives_what_the_network_gives(plan):
    network = _convolution(2)
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 64)).astype(np.float32)
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(image[0])[:, None]), 1).transpose(0, 1)
    for batch_size in (1, 2, 8):
        found = predict_probabilities(network, image, plan(), flips=False, batch_size=batch_size)
        assert np.allclose(found, expected, atol=1e-6)


def test_flips_average_over_four_mirror_images(plan):
    network = _convolution(2)
    image = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    single = [
        np.flip(predict_probabilities(network, np.flip(image, axes).copy(), plan(), flips=False), axes)
        for axes in ((), (3,), (2,), (2, 3))
    ]
    assert np.allclose(predict_probabilities(network, image, plan()), np.mean(single, axis=0), atol=1e-6)


@given(st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)), st.sampled_from([2, 3]))
def test_any_size_gives_probabilities_of_that_size(size, ndim):
    from medcl.data.plan import Plan

    spacing = (None, 1, 1) if ndim == 2 else (1, 1, 1)
    small = Plan.parse(
        {
            "dataset": "d",
            "classes": ("bg", "a"),
            "groups": {},
            "channels": [{"name": "c", "normalisation": "zscore"}],
            "ndim": ndim,
            "spacing_mm": spacing,
            "size": (1, 16, 16),
            "patch": (16, 16) if ndim == 2 else (4, 16, 16),
            "orientation": "as-stored",
            "fingerprint": "",
        }
    )
    found = predict_probabilities(_convolution(ndim, classes=2), np.ones((1, *size), np.float32), small, flips=False)
    assert found.shape == (2, *size)
    assert np.allclose(found.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_volume_windows_equal_a_plain_weighted_mean(plan, overlap):
    """Second implementation: full maps of weights and sums, all windows, nothing clever."""
    network, patch, size = _convolution(3), (8, 16, 16), (21, 27, 16)
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    weight = np.einsum("i,j,k->ijk", *(gaussian_window(length) for length in patch))
    total, weights = np.zeros((3, *image.shape[1:])), np.zeros(image.shape[1:])
    starts = [window_starts(s, w, overlap) for s, w in zip(image.shape[1:], patch, strict=True)]
    for corner in product(*starts):
        place = tuple(slice(c, c + w) for c, w in zip(corner, patch, strict=True))
        with torch.no_grad():
            window = torch.softmax(network(torch.from_numpy(image[(slice(None), *place)])[None]), 1)[0].numpy()
        total[(slice(None), *place)] += window * weight
        weights[place] += weight
    expected = total / weights
    for batch_size in (1, 3):
        found = predict_probabilities(network, image, plan(ndim=3), flips=False, overlap=overlap, batch_size=batch_size)
        assert np.allclose(found, expected, atol=1e-5)


def test_slabs_of_a_volume_are_shorter_than_the_volume(plan):
    image = np.zeros((1, 40, 16, 16), np.float32)
    depths = [slab.shape[1] for slab in predict_slabs(_convolution(3), image, plan(ndim=3), flips=False)]
    assert sum(depths) == 40
    assert max(depths) <= 8


def test_slices_too_large_for_one_piece_go_through_in_windows(plan, monkeypatch):
    network = nn.Conv2d(1, 3, 1).eval()  # looks at single pixels: windows must not change its answer
    image = np.random.default_rng(0).normal(size=(1, 2, 70, 90)).astype(np.float32)
    whole = predict_probabilities(network, image, plan())
    monkeypatch.setattr(sliding, "LARGEST_SLICE", 64 * 64)
    monkeypatch.setattr(sliding, "SLICE_WINDOW", 64)
    assert np.allclose(predict_probabilities(network, image, plan()), whole, atol=1e-6)


def test_a_read_only_half_precision_map_of_a_file_is_fine(plan, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 2, 16, 16), np.float16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert predict_probabilities(_convolution(2), mapped, plan()).shape == (3, 2, 16, 16)


def test_wrong_input_is_refused(plan):
    image = np.zeros((2, 1, 16, 16), np.float32)
    with pytest.raises(DataError, match=r"1 channel\(s\) \(MR\)"):
        predict_probabilities(_convolution(2), image, plan())
    with pytest.raises(SettingsError, match="overlap"):
        predict_probabilities(_convolution(2), image[:1], plan(), overlap=1.0)
    with pytest.raises(SettingsError, match="batch_size"):
        predict_probabilities(_convolution(2), image[:1], plan(), batch_size=0)
    with pytest.raises(SettingsError, match="expected 3 class channels"):
        predict_probabilities(_convolution(2, classes=5), image[:1], plan())


@pytest.mark.parametrize("classes", [2, 5, 300])
def test_the_mask_of_slabs_is_their_argmax_one_after_the_other(classes):
    slabs = [torch.randn(classes, depth, 3, 4) for depth in (2, 1)]
    slabs[0][:, 0, 0, 0] = 1.0  # among equals the lowest
    expected = torch.cat(slabs, dim=1).argmax(dim=0).numpy()
    assert (mask_of(slabs) == expected).all()
    assert expected[0, 0, 0] == 0
