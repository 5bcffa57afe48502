from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path / "model", "an [odd] name")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        array = rng.normal(size=(12, 14, 3)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.9, 0.9, 5, 1])), tmp_path / "images" / f"{name}_0000.nii.gz")
    return tmp_path / "images"


def run(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--engine", "torch", "--device", "cpu"])


def test_masks_are_written_and_the_engine_is_named(model, images, tmp_path):
    result = run(model, images, "--out", tmp_path / "out", "--uncertainty", "--largest-component", "class")
    assert result.exit_code == 0, result.output
    assert "engine: torch" in result.stdout
    assert "written: 3 case(s)" in result.stdout
    for name in "abc":
        for folder in ("out", "out/uncertainty"):
            written = nibabel.load(tmp_path / folder / f"{name}.nii.gz")
            source = nibabel.load(images / f"{name}_0000.nii.gz")
            assert written.shape == source.shape
            assert np.array_equal(written.affine, source.affine)


def test_a_broken_file_is_reported_and_the_exit_code_says_so(model, images, tmp_path):
    (images / "b_0000.nii.gz").write_bytes(b"not an image")
    result = run(model, images, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 failed" in result.stdout
    assert "b_0000.nii.gz" in "".join(result.stdout.replace("│", "").split())  # cells of the table are folded
    assert (tmp_path / "out/a.nii.gz").is_file()
    assert (tmp_path / "out/c.nii.gz").is_file()
    report = json.loads((tmp_path / "out/prediction.json").read_text(encoding="utf-8"))
    assert [failed["case"] for failed in report["failed"]] == ["b"]


def test_errors_are_one_line(model, images, tmp_path):
    for arguments, message in (
        ((model, tmp_path / "nowhere", "--out", tmp_path / "out"), "no such file or folder"),
        ((images, images, "--out", tmp_path / "out"), "expected a model folder"),
        ((model, images, "--out", images), "holds the input"),
        ((model, images, "--out", tmp_path / "out", "--largest-component", "group"), "found none"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr
        assert "Traceback" not in result.output


def test_further_models_are_averaged_and_named_in_the_report(model, images, tmp_path):
    shutil.copytree(model, tmp_path / "second")
    result = run(model, images, "--out", tmp_path / "out", "--with", tmp_path / "second")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "prediction.json").read_text(encoding="utf-8"))
    assert report["options"]["averaged_with"] == [str(tmp_path / "second")]
    assert run(model, images, "--out", tmp_path / "alone").exit_code == 0
    both, alone = (nibabel.load(tmp_path / place / "a.nii.gz").get_fdata() for place in ("out", "alone"))
    assert np.array_equal(both, alone)  # a model averaged with itself says the same


def test_models_of_other_classes_are_refused_before_any_work(model, images, tmp_path):
    shutil.copytree(model, tmp_path / "second")
    plan = json.loads((model / "plan.json").read_text(encoding="utf-8"))
    (tmp_path / "second" / "plan.json").write_text(
        json.dumps({**plan, "classes": ["background", "liver"]}), encoding="utf-8"
    )
    result = run(model, images, "--out", tmp_path / "out", "--with", tmp_path / "second")
    assert result.exit_code == 1
    assert "expected the classes of the first model" in result.stderr
    assert not (tmp_path / "out").exists()
