"""Several probability maps of one image: from changed images, dropout, snapshots, runs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medcl.errors import SettingsError
from medcl.inference.model import Model
from medcl.inference.sources import SourceSettings, members_from
from medcl.inference.test_time import turned
from medcl.inference.uncertainty import mutual_information, normalised_entropy


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(50, 20, (2, 24, 24)).astype(np.float32)


def _maps(model: Model, image: np.ndarray, source: Any, **options: Any) -> np.ndarray:
    return np.stack(list(model.samples(image, source, spacing_mm=(5, 1, 1), **options)))


def test_softmax_is_the_prediction(saved: Callable[..., Path], image: np.ndarray) -> None:
    model = Model.load(saved(), engine="torch", precision="fp32")
    maps = _maps(model, image, "softmax")
    plain = model.predict(image, spacing_mm=(5, 1, 1), probabilities=True)
    assert maps.shape == (1, 3, 2, 24, 24)
    np.testing.assert_allclose(maps[0], plain.probabilities, atol=1e-6)


def test_changed_images_give_other_maps_that_repeat(saved: Callable[..., Path], image: np.ndarray) -> None:
    model = Model.load(saved("unet", {"base": 4, "levels": 2}), engine="torch", precision="fp32")
    settings = SourceSettings(name="tta", samples=3, seed=4)
    maps, again = _maps(model, image, settings), _maps(model, image, settings)
    np.testing.assert_array_equal(maps, again)
    np.testing.assert_allclose(maps.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(maps[0], _maps(model, image, "softmax")[0], atol=1e-6)
    assert not np.allclose(maps[0], maps[1], atol=1e-4)
    assert not np.allclose(maps[1], maps[2], atol=1e-4)


def test_dropout_draws_differ_and_repeat(saved: Callable[..., Path], image: np.ndarray) -> None:
    model = Model.load(saved("unet", {"base": 4, "levels": 2, "dropout": 0.5}), engine="torch", precision="fp32")
    settings = SourceSettings(name="mc-dropout", samples=2, seed=1)
    maps = _maps(model, image, settings)
    np.testing.assert_array_equal(maps, _maps(model, image, settings))
    assert not np.allclose(maps[0], maps[1], atol=1e-5)
    assert not any(module.training for module in model.network.modules())


def test_a_network_without_dropout_says_so(saved: Callable[..., Path], image: np.ndarray) -> None:
    model = Model.load(saved("unet", {"base": 4, "levels": 2}), engine="torch")
    with pytest.raises(SettingsError, match=r"mc-dropout: expected dropout layers .* unet has none; train with"):
        _maps(model, image, "mc-dropout")


def test_snapshots_lie_beside_the_model(saved: Callable[..., Path], image: np.ndarray, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("model", "snapshots/02", "snapshots/10"):
        torch.manual_seed(len(name))
        shutil.copytree(saved("unet", {"base": 4, "levels": 2}), run / name)
    model = Model.load(run, engine="torch", precision="fp32")
    assert len(_maps(model, image, "checkpoints")) == 3
    shutil.rmtree(run / "snapshots")
    with pytest.raises(
        SettingsError, match=r"checkpoints: expected snapshots .* found none; train with --set snapshots"
    ):
        _maps(model, image, "checkpoints")


def test_runs_need_others(saved: Callable[..., Path], image: np.ndarray) -> None:
    model = Model.load(saved(), engine="torch")
    with pytest.raises(SettingsError, match="runs: expected at least two models, got one"):
        members_from("runs", [model])
    assert len(_maps(model, image, "runs", others=[model])) == 2


def test_an_unknown_source_lists_the_known(saved: Callable[..., Path]) -> None:
    with pytest.raises(SettingsError, match="softmax"):
        members_from("bayes", [Model.load(saved(), engine="torch")])  # type: ignore[arg-type]


def test_turning_agrees_with_scipy() -> None:
    image = torch.zeros(1, 1, 21, 31)
    image[0, 0, 5:12, 8:20] = 1
    angle = math.radians(25)
    mine = turned(image, angle, 1.0, padding="zeros")[0, 0].numpy()
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = (np.array(image.shape[2:]) - 1) / 2
    other = ndimage.affine_transform(image[0, 0].numpy(), matrix, offset=centre - matrix @ centre, order=1)
    np.testing.assert_allclose(mine, other, atol=1e-4)


def test_turning_back_restores_what_stayed_inside() -> None:
    y, x = np.mgrid[-12:13, -12:13]
    blob = torch.from_numpy(np.exp(-(x**2 + 2 * y**2) / 40)).float()[None, None, None]
    there = turned(blob, 0.3, 1.2, padding="zeros")
    back = turned(there, -0.3, 1 / 1.2, padding="border")
    assert (there - blob).abs().max() > 0.1
    assert (back - blob)[..., 6:-6, 6:-6].abs().max() < 0.03


def test_mutual_information_of_two_sure_and_opposite_maps_is_all_of_the_entropy() -> None:
    one, two = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    assert mutual_information([one, two]).item() == pytest.approx(1)
    same = torch.tensor([[0.5], [0.5]])
    assert mutual_information([same, same]).item() == pytest.approx(0)
    assert normalised_entropy(same).item() == pytest.approx(1)


def test_mutual_information_is_the_mean_divergence_from_the_mean() -> None:
    """Second form: mean over maps of KL(p || mean p)."""
    maps = torch.softmax(torch.randn(5, 4, 30, generator=torch.Generator().manual_seed(0)), dim=1)
    mean = maps.mean(0)
    divergence = (maps * (maps / mean).log()).sum(1).mean(0) / math.log(4)
    torch.testing.assert_close(mutual_information(maps), divergence, atol=1e-6, rtol=1e-4)


def test_no_maps_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mutual_information([])
