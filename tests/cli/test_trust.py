"""`medcl predict` with several maps, `medcl evaluate` on what it left, and `medcl calibrate`: through the runner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.data.io import read_image
from medcl.files import write_json
from medcl.inference.model import Model

LABELS = {"background": 0, "organ": 1, "ignore": 9}


@pytest.fixture
def folder(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    """Two models of other seeds, and a dataset with two labelled images."""
    for seed in (0, 1):
        make_model(tmp_path / f"model{seed}", seed=seed)
    random = np.random.default_rng(0)
    content = {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": 2, "file_ending": ".nii.gz"}
    write_json(tmp_path / "data/dataset.json", content)
    for name in "ab":
        image = random.normal(size=(12, 14, 3)).astype(np.float32)
        label = random.integers(0, 2, (12, 14, 3)).astype(np.uint8)
        label[:, :, 0] = 9
        for kind, array, suffix in (("images", image, "_0000"), ("labels", label, "")):
            (tmp_path / "data" / f"{kind}Tr").mkdir(exist_ok=True)
            path = tmp_path / "data" / f"{kind}Tr" / f"{name}{suffix}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array, np.diag([0.9, 0.9, 5, 1])), path)
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


def test_predict_writes_maps_estimates_and_a_list(folder: Path) -> None:
    out = folder / "out"
    more = ("--uncertainty", "--uncertainty-from", "tta", "--samples", 3, "--list-below", 1, "--engine", "torch")
    code, output = run("predict", folder / "model0", folder / "data/imagesTr", "--out", out, "--probabilities", *more)
    assert code == 0, output
    assert "expected Dice (without labels): mean" in output
    assert "Look at these first" in output
    spread, unsure = (read_image(out / kind / "a.nii.gz") for kind in ("mutual_information", "uncertainty"))
    assert spread.geometry == unsure.geometry == read_image(folder / "data/imagesTr/a_0000.nii.gz").geometry
    assert (spread.array <= unsure.array + 1e-5).all()
    report = json.loads((out / "prediction.json").read_text(encoding="utf-8"))
    assert report["options"]["uncertainty_from"] == {"name": "tta", "samples": 3, "seed": 0}
    row = report["written"][0]["estimates"]["organ"]
    assert row["low_ml"] <= row["volume_ml"] <= row["high_ml"]

    code, output = run("evaluate", out, folder / "data/labelsTr", "--out", folder / "report")
    assert code == 0, output
    assert re.search(r"calibration error: 0\.\d+ of all voxels", output)
    assert "expected Dice (without labels)" in output
    html = (folder / "report/report.html").read_text(encoding="utf-8")
    assert "Reliability of the chosen class" in html
    trust = json.loads((folder / "report/evaluation.json").read_text(encoding="utf-8"))["trust"]
    assert trust["cases_with_probabilities"] == 2
    assert trust["expected_dice"]["cases"] <= 2


def test_what_a_model_lacks_is_said_before_any_work(folder: Path) -> None:
    place = (folder / "model0", folder / "data/imagesTr", "--out", folder / "out")
    code, output = run("predict", *place, "--uncertainty-from", "mc-dropout")
    assert code == 1
    assert "mc-dropout: expected dropout layers in the network, but this model's unet has none" in output
    code, output = run("predict", *place, "--uncertainty-from", "runs")
    assert code == 1
    assert "--with RUN" in output
    assert not (folder / "out").exists()


def test_calibrate_is_stored_told_and_applied(folder: Path) -> None:
    asked = ("calibrate", folder / "model0", folder / "data")
    code, output = run(*asked)
    assert code == 1
    assert "no run.json beside model0" in output
    code, output = run(*asked, "--cases", "a,b")
    assert code == 0, output
    assert "fitted on dense labels of 2 cases" in output
    assert "## Calibration" in (folder / "model0/card.md").read_text(encoding="utf-8")
    assert Model.load(folder / "model0").scaling is not None
    code, output = run("predict", folder / "model0", folder / "data/imagesTr", "--out", folder / "out")
    assert "calibrated: " in output
    assert (
        "fitted on dense labels"
        in json.loads((folder / "out/prediction.json").read_text(encoding="utf-8"))["options"]["calibration"]
    )
    code, output = run(*asked, "--with", folder / "model1", "--most", 1)
    assert code == 0, output
    assert "agreement with other trainings on 1 images" in output
