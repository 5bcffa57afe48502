from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from medcl.backbones import build_backbone
from medcl.cli import app
from medcl.data.plan import Plan
from medcl.inference.model import save_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_export_writes_onnx_and_says_how_well_it_agrees(tmp_path: Path) -> None:
    plan = Plan.parse(
        {
            "dataset": "made up",
            "classes": ("background", "a"),
            "groups": {},
            "channels": [{"name": "MR", "normalisation": "zscore"}],
            "ndim": 2,
            "spacing_mm": (None, 1.0, 1.0),
            "size": (1, 16, 16),
            "patch": (16, 16),
            "orientation": "as-stored",
            "fingerprint": "",
        }
    )
    torch.manual_seed(0)
    unet = {"base": 2, "levels": 2}
    facts = {"backbone": "unet", "backbone_settings": unet, "method": "m", "settings": {}, "metrics": {}}
    network = build_backbone("unet", in_channels=1, classes=2, ndim=2, **unet)
    model = save_model(tmp_path / "model", network=network, plan=plan, **facts)
    result = CliRunner().invoke(app, ["export", str(model), "--onnx"])
    assert result.exit_code == 0, result.output
    assert (model / "model.onnx").is_file()
    assert "n x 1 x y x x" in result.stdout
    assert "largest difference from torch" in result.stdout
