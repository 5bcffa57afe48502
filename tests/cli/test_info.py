from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from medcl.backbones import build_backbone
from medcl.cli import app
from medcl.data.plan import Plan
from medcl.inference.model import save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    plan = Plan.parse(
        {
            "dataset": "made up",
            "classes": ("background", "an [odd] name"),
            "groups": {"all": (1,)},
            "channels": [{"name": "MR", "normalisation": "zscore"}],
            "ndim": 2,
            "spacing_mm": (None, 1.0, 1.25),
            "size": (1, 16, 16),
            "patch": (16, 16),
            "orientation": "as-stored",
            "fingerprint": "",
        }
    )
    torch.manual_seed(0)
    return save_model(
        tmp_path / "model",
        network=build_backbone("unet", in_channels=1, classes=2, ndim=2, base=2, levels=2),
        plan=plan,
        backbone="unet",
        backbone_settings={"base": 2, "levels": 2},
        method="partial-ce",
        settings={"optim": {"learning_rate": 0.002}},
        metrics={"dice": 0.87654321},
    )


def test_info_names_what_matters(model: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(model)])
    assert result.exit_code == 0, result.output
    for part in ("an [odd] name", "partial-ce", "as stored x 1 x 1.25 mm", "0.8765", "optim.learning_rate", "0.002"):
        assert part in result.stdout


def test_info_as_json_is_whole(model: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(model), "--json"])
    values = json.loads(result.stdout)
    assert values["metrics"] == {"dice": 0.87654321}
    assert values["plan"]["groups"] == {"all": [1]}


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert result.exit_code == 1
    assert "expected a model folder" in result.stderr
