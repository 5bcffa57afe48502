"""Learning from images alone: it learns, repeats exactly, writes the encoder alone and looks at no strokes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medcl.backbones import build_backbone
from medcl.backbones.weights import read_weights
from medcl.errors import SettingsError
from medcl.training.pretrain import pretrain

SMALL: dict[str, Any] = {"name": "unet", "base": 4, "levels": 3}
QUICK: dict[str, Any] = {"plan": {"patch": [32, 32]}, "batch_size": 8, "code": 16, "threads": 1, "precision": "fp32"}


@pytest.fixture
def images(hearts: Path, tmp_path: Path) -> Path:
    """The hearts without any stroke or label."""
    folder = tmp_path / "images"
    shutil.copytree(hearts, folder, ignore=shutil.ignore_patterns("scribbles*", "labels*", "imagesVal", "imagesTs"))
    return folder


def test_it_learns_from_images_alone_and_repeats_exactly(images: Path, tmp_path: Path) -> None:
    first = pretrain(images, tmp_path / "a.safetensors", backbone=SMALL, budget="40steps", settings=QUICK)
    assert first.finished
    assert first.steps == 40
    assert first.last_loss < 0.8 * first.first_loss
    weights = read_weights(first.file)
    assert weights.covers == ("encoder.",)
    assert all(name.startswith("encoder.") for name in weights.tensors)
    short = [
        pretrain(images, tmp_path / f"{name}.safetensors", backbone=SMALL, budget="3steps", settings=QUICK)
        for name in "bc"
    ]
    one, other = (read_weights(result.file).tensors for result in short)
    assert all(torch.equal(one[name], other[name]) for name in one)
    network = build_backbone("unet", in_channels=1, classes=9, ndim=2, base=4, levels=3, weights=first.file)
    assert torch.equal(network.state_dict()["encoder.0.0.weight"], weights.tensors["encoder.0.0.weight"])


def test_the_swin_encoder_is_what_its_coarsest_features_come_from(images: Path, tmp_path: Path) -> None:
    options = {"name": "swin", "window": 3, "blocks": (1, 1, 1, 1)}
    result = pretrain(images, tmp_path / "swin.safetensors", backbone=options, budget="1steps", settings=QUICK)
    assert read_weights(result.file).covers == ("bottom.", "encoder.")


def test_what_cannot_be_pretrained(images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"backbone 'unet\+\+': expected one with an encoder of its own: .*swin, unet"
    ):
        pretrain(images, tmp_path / "w.safetensors", backbone="unet++")
    with pytest.raises(SettingsError, match=r"expected a file name that ends in \.safetensors"):
        pretrain(images, tmp_path / "w.pth", backbone=SMALL)
    with pytest.raises(SettingsError, match="unknown setting 'batch'"):
        pretrain(images, tmp_path / "w.safetensors", backbone=SMALL, settings={"batch": 4})
