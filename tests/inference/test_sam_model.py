"""A SAM as a model: saved, loaded without its file of weights, predicted with, exported."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_map, write_image
from medcl.inference.model import Model

pytest.importorskip("transformers", reason="the extra sam is not installed")

SAM: dict[str, Any] = {"size": "tiny", "input_size": 32, "tune": "lora", "weights": "gone.pth"}


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, size=(3, 30, 44)).astype(np.float32)


@pytest.fixture
def folder(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    from medcl.backbones.sam import SamSettings

    with monkeypatch.context() as patch:  # the file that training started from is gone, and was never here
        patch.setattr(SamSettings, "load", lambda *_, **__: [])
        return saved("sam", SAM)


def test_a_saved_model_needs_no_file_of_weights(folder: Path) -> None:
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))["backbone_settings"]
    assert "weights" not in settings
    first, again = (Model.load(folder, engine="torch", precision="fp32", device="cpu") for _ in range(2))
    masks = [m.predict(volume(), spacing_mm=(5, 1, 1)).mask for m in (first, again)]
    assert masks[0].shape == (3, 30, 44)
    assert np.array_equal(*masks)


def test_bf16_channels_last_agrees(folder: Path) -> None:
    exact = Model.load(folder, engine="torch", precision="fp32", device="cpu")
    fast = Model.load(folder, engine="torch", precision="bf16", device="cpu")
    options: dict[str, Any] = {"spacing_mm": (5, 1, 1), "probabilities": True}
    first, second = (m.predict(volume(), **options).probabilities for m in (exact, fast))
    assert first is not None
    assert second is not None
    assert np.abs(first - second).max() < 0.02


@pytest.mark.skipif(
    any(importlib.util.find_spec(p) is None for p in ("onnx", "onnxruntime")), reason="the extra onnx is not installed"
)
def test_the_export_is_fixed_to_the_patch_and_says_so(folder: Path, tmp_path: Path) -> None:
    from medcl.inference.export import export_onnx

    report = export_onnx(Model.load(folder, engine="torch", precision="fp32", device="cpu"), tmp_path / "sam.onnx")
    assert report.input == ("n", 1, 32, 32)
    assert report.largest_difference < 1e-3
    assert "fixed to the patch" in report.notes[0]


def test_prompts_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "case.nii.gz"
    write_image(image, Image(volume()[None], Geometry(size=(3, 30, 44), spacing_mm=(5.0, 1.0, 1.0))))
    prompts = tmp_path / "prompts.json"
    prompts.write_text('{"points": [{"of": "a", "at": [1, 5, 5]}]}', encoding="utf-8")
    options = ["--out", str(tmp_path / "masks"), "--engine", "torch", "--prompts", str(prompts)]
    done = CliRunner().invoke(app, ["predict", str(folder), str(image), *options])
    assert done.exit_code == 0, done.stderr
    assert read_map(tmp_path / "masks" / "case.nii.gz")[0].shape == (3, 30, 44)
    report = json.loads((tmp_path / "masks" / "prediction.json").read_text(encoding="utf-8"))
    assert report["engine"] == "torch fp32 on cpu (it reads the prompts)"
    assert report["options"]["prompts"] == {"points": 1, "boxes": 0}
    prompts.write_text('{"points": [{"of": "liver", "at": [1, 5, 5]}]}', encoding="utf-8")
    done = CliRunner().invoke(app, ["predict", str(folder), str(image), *options])
    assert done.exit_code == 1
    assert "unknown class 'liver'" in done.stdout
    write_image(tmp_path / "two" / "a.nii.gz", Image(volume()[None], Geometry((3, 30, 44), (5.0, 1.0, 1.0))))
    done = CliRunner().invoke(app, ["predict", str(folder), str(image), str(tmp_path / "two"), *options])
    assert done.exit_code == 1
    assert "expected one image" in done.stderr
