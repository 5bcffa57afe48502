"""`calibrate` on small hearts: what it fits on, what it refuses, and that unlabelled voxels count nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.data.dataset import Dataset
from medcl.errors import DataError, SettingsError
from medcl.inference.model import Model
from medcl.training import train
from medcl.training.calibrate import calibrate, choose_target, voxels_of
from medcl.training.supervisor import snapshots_due


@pytest.fixture(scope="module")
def runs(hearts: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        settings = {**tiny, "seed": seed, "snapshots": 2, "sample_pictures": 0}
        train(hearts, folder / str(seed), budget="8steps", settings=settings)
    return [folder / "0", folder / "1"]


@pytest.fixture
def run(runs: list[Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def test_labels_of_the_validation_part_are_taken_and_stored(run: Path, hearts: Path) -> None:
    scaling = calibrate(run, hearts, most=2)
    assert "dense labels" in scaling.fitted_on
    assert scaling.facts["ece"]["after"] <= scaling.facts["ece"]["before"]
    model = Model.load(run)
    assert model.scaling is not None
    assert model.scaling.temperature == pytest.approx(scaling.temperature)
    card = (run / "model" / "card.md").read_text(encoding="utf-8")
    assert card.count("## Calibration") == 1
    assert scaling.facts["replaced"] is None
    assert scaling.facts["channels"] is None
    again = calibrate(run, hearts, most=1, kind="vector")
    assert again.facts["replaced"] == scaling.words()
    assert "of 1 case;" in f"{again.words()};"
    assert (run / "model" / "card.md").read_text(encoding="utf-8").count("## Calibration") == 1


def test_a_data_set_of_another_channel_is_told(run: Path, hearts: Path, tmp_path: Path) -> None:
    other = shutil.copytree(hearts, tmp_path / "other")
    content = json.loads((other / "dataset.json").read_text(encoding="utf-8"))
    content["channel_names"] = {"0": "CT"}
    (other / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    done = CliRunner().invoke(app, ["calibrate", str(run), str(other), "--most", "1"])
    assert done.exit_code == 0, done.output
    assert "this data set holds CT; was it meant?" in done.stdout


def test_agreement_needs_no_labels(run: Path, runs: list[Path], hearts: Path) -> None:
    scaling = calibrate(run, hearts, others=[runs[1]], most=2, write=False)
    assert "agreement" in scaling.fitted_on
    assert not (run / "model" / "calibration.json").exists()
    with pytest.raises(SettingsError, match="got the model itself"):
        calibrate(run, hearts, others=[runs[0]])
    with pytest.raises(SettingsError, match="leave out --with"):
        calibrate(run, hearts, on="labels", others=[runs[1]])
    with pytest.raises(SettingsError, match="--with RUN"):
        calibrate(run, hearts, on="agreement")


def test_strokes_that_were_learnt_from_are_refused_unless_named(run: Path, hearts: Path) -> None:
    with pytest.raises(DataError, match=r"did not learn from, found none \(it learned from"):
        calibrate(run, hearts, on="strokes")
    name = Dataset.open(hearts).cases("Tr")[0].id
    assert calibrate(run, hearts, on="strokes", cases=[name], write=False).fitted_on == "strokes of 1 case"
    with pytest.raises(SettingsError, match="unknown"):
        calibrate(run, hearts, cases=["nobody"])
    with pytest.raises(SettingsError, match="vector"):
        calibrate(run, hearts, kind="isotonic")  # type: ignore[arg-type]


def test_only_stroked_voxels_are_drawn(run: Path, hearts: Path) -> None:
    dataset, model = Dataset.open(hearts), Model.load(run)
    case = dataset.cases("Tr")[0]
    near, far = voxels_of(model, dataset, case, "strokes", [], np.random.default_rng(0))
    drawn = int((dataset.read_scribble(case) >= 0).sum())
    assert 0 < len(near.logits) + len(far.logits) <= drawn
    assert near.target.sum(1).tolist() == [1.0] * len(near.target)


def test_a_model_without_its_run_asks_for_names(run: Path, hearts: Path) -> None:
    (run / "run.json").unlink()
    with pytest.raises(DataError, match=r"no run\.json beside model [\s\S]*--cases"):
        choose_target(Model.load(run), Dataset.open(hearts), "auto", False, None, 5)


def test_a_run_keeps_snapshots(run: Path) -> None:
    assert sorted(path.name for path in (run / "snapshots").iterdir()) == ["01", "02"]
    image = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    maps = list(Model.load(run).samples(image, "checkpoints", spacing_mm=(8, 1.5, 1.5)))
    assert len(maps) == 3
    assert not np.array_equal(maps[0], maps[1])


def test_snapshots_are_spread_over_the_second_half() -> None:
    due = [snapshots_due(share, 5) for share in (0, 0.49, 0.5, 0.59, 0.61, 0.95, 1.0)]
    assert due == [0, 0, 1, 1, 2, 5, 0]
    assert snapshots_due(0.9, 0) == 0
