from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from medcl.backbones import backbones
from medcl.errors import MissingExtraError, ModelError
from medcl.inference import export
from medcl.inference.export import export_onnx
from medcl.inference.model import Model
from medcl.settings import Settings

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@backbones.register("fixed-size")
class FixedSizeSettings(Settings):
    """A network that writes the size of its first image into the graph."""

    def build(self, *, in_channels: int, classes: int, ndim: int) -> nn.Module:
        class FixedSize(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Conv2d(in_channels, classes, 1)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                y, x = int(image.shape[2]), int(image.shape[3])
                return self.layer(image).reshape(-1, classes, y, x) + torch.arange(x)

        return FixedSize()


@pytest.mark.parametrize(
    ("ndim", "settings", "size"),
    [(2, {"base": 4, "levels": 3}, (3, 1, 64, 96)), (3, {"base": 4, "levels": 3}, (2, 1, 16, 16, 32))],
)
def test_onnx_gives_the_logits_of_torch(saved, tmp_path, ndim, settings, size):
    folder = saved("unet", settings, ndim=ndim)
    report = export_onnx(folder, tmp_path / "net.onnx")
    assert report.largest_difference <= 1e-3
    assert report.same_class >= 0.999
    assert report.input == ("n", 1, *("z", "y", "x")[3 - ndim :])
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = Model.load(folder, device="cpu", engine="torch").network(torch.from_numpy(image)).numpy()
    assert np.abs(session.run(["logits"], {"image": image})[0] - expected).max() < 1e-3
    plan = json.loads(session.get_modelmeta().custom_metadata_map["medcl_plan"])
    assert plan["classes"] == ["background", "a", "b"]
    assert (
        json.loads((tmp_path / "net.onnx.json").read_text(encoding="utf-8"))["largest_difference"]
        == report.largest_difference
    )


def test_an_export_into_the_model_folder_leaves_the_model_as_it_was(saved):
    folder = saved("unet", {"base": 4, "levels": 2})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    export_onnx(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert {path.name for path in folder.iterdir()} - set(before) == {"model.onnx", "model.onnx.json"}
    Model.load(folder, device="cpu", engine="torch")


def test_a_network_of_one_size_is_exported_at_that_size_and_said_so(saved, tmp_path):
    report = export_onnx(saved("fixed-size"), tmp_path / "net.onnx")
    assert report.input == ("n", 1, 32, 32)
    assert "the size is fixed" in report.notes[0]


def test_a_wrong_export_is_not_written(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(ModelError, match="within -1"):
        export_onnx(saved("unet", {"base": 4, "levels": 2}), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_missing_packages_and_wrong_names(saved, tmp_path, monkeypatch):
    folder = saved()
    with pytest.raises(ModelError, match=r"ending in \.onnx"):
        export_onnx(folder, tmp_path / "net.pt")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"medcl\[onnx\]"):
        export_onnx(folder)
