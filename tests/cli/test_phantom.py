"""`medcl phantom` on the command line."""

from __future__ import annotations

import inspect
from enum import StrEnum
from pathlib import Path

from typer.testing import CliRunner

from medcl.cli import app
from medcl.cli.phantom import Kind, phantom
from medcl.data.dataset import Dataset
from medcl.phantom.kinds import KINDS
from medcl.phantom.settings import PhantomSettings
from medcl.phantom.strokes import StrokeSettings


def test_writes_a_dataset(tmp_path: Path):
    out = tmp_path / "made"
    options = ["--kind", "scar", "--cases", "1", "--validation", "1", "--size", "4x64x72", "--seed", "7"]
    result = CliRunner().invoke(app, ["phantom", str(out), *options])
    assert result.exit_code == 0, result.output
    assert "1 training, 1 validation and 0 test cases" in result.output
    dataset = Dataset.open(out)
    assert dataset.read_scribble(dataset.cases("Tr")[0]).shape == (4, 64, 72)


def test_pictures(tmp_path: Path):
    out = tmp_path / "made"
    options = ["--cases", "1", "--validation", "0", "--ndim", "2", "--size", "64", "--file-ending", ".png"]
    assert CliRunner().invoke(app, ["phantom", str(out), *options]).exit_code == 0
    assert [p.name for p in (out / "imagesTr").iterdir()] == ["heart_train000_0000.png"]


def test_a_wrong_size_is_one_red_line(tmp_path: Path):
    result = CliRunner().invoke(app, ["phantom", str(tmp_path / "made"), "--size", "big"])
    assert result.exit_code == 1
    assert "size" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_options_have_the_defaults_and_names_of_the_settings():
    defaults = {
        name: str(p.default) if isinstance(p.default, StrEnum) else p.default
        for name, p in inspect.signature(phantom).parameters.items()
        if name not in ("out", "kind", "raters")  # one text with commas
    }
    strokes = StrokeSettings().model_dump(exclude={"minimum_area"})
    expected = PhantomSettings().model_dump(exclude={"strokes", "raters"}) | {
        f"stroke_{k}": v for k, v in strokes.items()
    }
    assert defaults == expected
    assert {str(kind) for kind in Kind} == set(KINDS)
