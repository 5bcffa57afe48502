from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcl.cli import app

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_export_writes_onnx_and_says_how_well_it_agrees(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "a")
    result = CliRunner().invoke(app, ["export", str(model), "--onnx"])
    assert result.exit_code == 0, result.output
    assert (model / "model.onnx").is_file()
    assert "n x 1 x y x x" in result.stdout
    assert "largest difference from torch" in result.stdout
