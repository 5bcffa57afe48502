"""Slices with neighbours, several views and several models: what comes out and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcl.data.geometry import Geometry, Image
from medcl.errors import ModelError
from medcl.inference import sliding
from medcl.inference.export import export_onnx
from medcl.inference.model import Model
from medcl.inference.predict import predict_files, predict_probabilities

UNET = {"base": 2, "levels": 2}


def loaded(folder: Path) -> Model:
    return Model.load(folder, engine="torch", precision="fp32", device="cpu")


def lower(batch: torch.Tensor) -> torch.Tensor:
    """Class 1 where the slice below is bright: the first of three channels."""
    return torch.stack((-batch[:, 0], batch[:, 0], torch.full_like(batch[:, 0], -99)), dim=1) * 20


@pytest.mark.parametrize("largest", [sliding.LARGEST_SLICE, 100])
def test_neighbours_reach_the_network_slice_by_slice(
    largest: int, plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliding, "LARGEST_SLICE", largest)
    array = np.full((1, 5, 20, 24), -1, np.float32)
    array[0, 1, 4:9] = 1
    array[0, 4, 12:15] = 1
    mask = predict_probabilities(lower, array, plan(context=1), batch_size=2).argmax(axis=0)
    expected = np.zeros((5, 20, 24), int)
    expected[2, 4:9] = 1  # the bright slice 1 is seen as lower neighbour of slice 2 only
    assert np.array_equal(mask, expected)  # slice 4 has no slice above it


def test_views_are_averaged_on_the_same_voxels(plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def brightness(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat((-batch, batch, torch.full_like(batch, -99)), dim=1)

    def rows(batch: torch.Tensor) -> torch.Tensor:
        """Class 1 with a chance that only the row of the slice tells, whatever it shows."""
        share = torch.arange(batch.shape[-2]).float().reshape(1, 1, -1, 1).expand_as(batch)
        return torch.cat((torch.zeros_like(share), share, torch.full_like(batch, -99)), dim=1)

    array = np.random.default_rng(0).normal(size=(1, 5, 6, 7)).astype(np.float32)
    views: dict[str, Any] = {"spacing_mm": (1.0, 1.0, 1.0), "views": ("z", "y", "x")}
    one = predict_probabilities(brightness, array, plan(), flips=False)
    three = predict_probabilities(brightness, array, plan(**views), flips=False)
    np.testing.assert_allclose(one, three, atol=1e-6)
    z, y, x = np.meshgrid(*(np.arange(n) for n in (5, 6, 7)), indexing="ij")
    chance = [1 / (1 + np.exp(-place)) for place in (y, z, z)]  # rows of the slices across z, y and x
    found = predict_probabilities(rows, array, plan(**views), flips=False)
    np.testing.assert_allclose(found[1], np.mean(chance, axis=0), atol=1e-6)
    monkeypatch.setattr(sliding, "LARGEST_VOTE", 10)  # in a file, in half precision
    filed = predict_probabilities(rows, array, plan(**views), flips=False)
    np.testing.assert_allclose(filed[1], found[1], atol=2e-3)
    assert x.shape == found.shape[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"context": 1},
        {"spacing_mm": (1.0, 1.0, 1.0), "views": ("z", "y", "x")},
        {"ndim": 3},
        {"patch": (8, 8)},
    ],
)
def test_progress_rises_to_the_whole(
    changes: dict[str, Any], plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "patch" in changes:
        monkeypatch.setattr(sliding, "LARGEST_SLICE", 100)
        monkeypatch.setattr(sliding, "SLICE_WINDOW", 8)
    chosen = plan(**changes)
    array, told = np.zeros((1, 9, 20, 24), np.float32), []

    def network(batch: torch.Tensor) -> torch.Tensor:
        return torch.zeros(batch.shape[0], 3, *batch.shape[2:])

    list(sliding.predict_slabs(network, array, chosen, flips=False, progress=told.append))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert len(told) > 1
    assert told[0] < 0.5


def test_a_volume_takes_no_more_windows_than_its_own_size_needs(plan: Callable[..., Any]) -> None:
    # 20 = 16 + 4 and 24 = 16 + 8 voxels need two windows of 16 at half overlap, and padding to 32 would need three
    assert sliding.count_windows((8, 20, 24), plan(ndim=3), 0.5) == 1 * 2 * 2
    assert sliding.count_windows((3, 9, 16), plan(ndim=3), 0.5) == 1


@pytest.mark.parametrize("neighbours", ["channels", "attention"])
def test_a_saved_model_keeps_its_neighbours_and_says_so(
    neighbours: str, saved: Callable[..., Path], box: np.ndarray, tmp_path: Path
) -> None:
    folder = saved("unet", UNET, context=1, neighbours=neighbours)
    model = loaded(folder)
    assert "1 neighbour(s) on each side" in (folder / "card.md").read_text(encoding="utf-8")
    shares: list[float] = []
    found = model.predict(box, spacing_mm=(4, 1, 1), probabilities=True, progress=shares.append)
    assert found.mask.shape == box.shape
    assert shares[-1] == 1
    other = box.copy()
    other[0] += 50  # the neighbour of slice 1, which itself stays as it is
    changed = model.predict(other, spacing_mm=(4, 1, 1), probabilities=True)
    assert found.probabilities is not None
    assert changed.probabilities is not None
    assert not np.allclose(found.probabilities[:, 1], changed.probabilities[:, 1])
    pytest.importorskip("onnxruntime", reason="the export needs the extra onnx")
    report = export_onnx(model, tmp_path / "net.onnx")
    assert report.input == ("n", 3, "y", "x")


def test_models_of_several_views_are_averaged(bright: Callable[..., Model], box: np.ndarray, tmp_path: Path) -> None:
    one = bright()
    across = bright(spacing_mm=(1.0, 1.0, 1.0), views=("x",))
    image = Image(box[None], Geometry(box.shape, (1.0, 1.0, 1.0)))  # type: ignore[arg-type]
    told: list[float] = []
    found = one.predict(image, others=[across], probabilities=True, uncertainty=True, progress=told.append)
    alone, other = (model.predict(image, probabilities=True).probabilities for model in (one, across))
    assert found.probabilities is not None
    assert alone is not None
    assert other is not None
    np.testing.assert_allclose(found.probabilities, (alone + other) / 2, atol=1e-6)
    assert np.array_equal(found.mask, (box > 0).astype(np.uint8))
    assert found.uncertainty is not None
    assert found.uncertainty.max() < 0.1
    assert told[-1] == 1
    wrong = bright(classes=("background", "a", "c"))
    with pytest.raises(ModelError, match="expected the classes of the first model"):
        one.predict(image, others=[wrong])


def test_files_are_predicted_by_several_models(bright: Callable[..., Model], box: np.ndarray, tmp_path: Path) -> None:
    from medcl.data.io import read_map, write_image

    write_image(tmp_path / "a.nii.gz", Image(box[None], Geometry(box.shape, (1.0, 1.0, 1.0))))  # type: ignore[arg-type]
    first = bright()
    second = bright(spacing_mm=(1.0, 1.0, 1.0), views=("z", "y", "x"))
    told: list[float] = []
    report = predict_files(
        first, tmp_path / "a.nii.gz", tmp_path / "out", others=[second], probabilities=True, within=told.append
    )
    assert not report.failed
    assert np.array_equal(read_map(tmp_path / "out" / "a.nii.gz")[0], box > 0)
    assert (tmp_path / "out" / "probabilities" / "a_1_a.nii.gz").is_file()
    assert told[-1] == 1
