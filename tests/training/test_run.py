"""`train` on every kind of data set: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medcl
from medcl.data.io import read_map, write_map
from medcl.errors import DataError, ModelError, RunError, SettingsError
from medcl.inference.model import Model
from medcl.settings import BudgetSettings
from medcl.training import train
from medcl.training.log import read_log


def copy_of(data: Path, folder: Path) -> Path:
    shutil.copytree(data, folder)
    return folder


def test_a_run_leaves_model_log_pictures_and_report(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(hearts, run, budget="6steps", settings={**tiny, "sample_pictures": 2})

    assert result.finished
    assert result.steps == 6
    assert set(result.scores) == {"dice", "dice/RV", "dice/Myo", "dice/LV"}
    assert (run / "model" / "weights.safetensors").is_file()
    assert (run / "best_model" / "model.json").is_file()
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]["seed"] == 0
    assert list((run / "pictures").glob("step_*.png"))
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "Validation over time" in html
    assert str(tmp_path) not in html, "no folder of this machine in a report"
    names = {r["name"] for r in read_log(run / "log.csv") if r["kind"] == "loss"}
    assert names >= {
        "partial_ce",
        "dice",
        "mixed_partial_ce",
        "mix_consistency",
        "existence",
        "local",
        "global",
        "loss",
    }


def test_same_seed_same_weights_other_seed_other_weights(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(hearts, tmp_path / name, budget="3steps", settings={**tiny, "seed": seed})
        runs[name] = load_file(tmp_path / name / "model" / "weights.safetensors")["head.weight"]
    assert torch.equal(runs["a"], runs["b"])
    assert not torch.equal(runs["a"], runs["c"])


def test_a_run_may_keep_the_plain_layout(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    result = train(hearts, tmp_path / "run", budget="2steps", settings={**tiny, "channels_last": False})
    assert (result.folder / "model" / "weights.safetensors").is_file()


def test_loading_processes_change_nothing(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weights = []
    for workers in (0, 2):
        train(hearts, tmp_path / str(workers), budget="5steps", settings={**tiny, "workers": workers})
        weights.append(load_file(tmp_path / str(workers) / "model" / "weights.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_without_dense_labels_strokes_are_held_back_and_never_called_dice(
    hearts: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    data = copy_of(hearts, tmp_path / "data")
    shutil.rmtree(data / "imagesVal")
    shutil.rmtree(data / "labelsVal")
    result = train(data, tmp_path / "run", budget="4steps", settings={**tiny, "holdout": 0.34})
    assert set(result.scores) == {
        "stroke_recall",
        "stroke_recall/background",
        "stroke_recall/RV",
        "stroke_recall/Myo",
        "stroke_recall/LV",
    }
    content = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert len(content["validation_cases"]) == 1
    assert not set(content["validation_cases"]) & set(content["training_cases"])
    assert "Dice" not in content["validation_on"]


def test_a_mix_of_strokes_dense_labels_and_nothing_trains(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    data = copy_of(hearts, tmp_path / "data")
    strokes = sorted((data / "scribblesTr").iterdir())
    dense = next(iter((data / "labelsVal").iterdir()))
    label, _ = read_map(dense)
    _, geometry = read_map(strokes[0])
    write_map(data / "labelsTr" / strokes[0].name, label, geometry)
    strokes[0].unlink()
    strokes[1].unlink()
    result = train(data, tmp_path / "run", budget="3steps", settings=tiny)
    assert result.finished
    learnt = json.loads((result.model / "model.json").read_text(encoding="utf-8"))["history"]["learnt_from"]
    assert learnt == {"strokes": 1, "dense labels": 1, "images alone": 1}


@pytest.mark.parametrize("method", ["partial-ce", "dense", {"name": "medcl", "faithful": True}])
def test_every_method_and_form_trains_in_3d(method: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    data = medcl.make_phantom(tmp_path / "abdomen", "abdomen", cases=2, validation=1, size=(16, 40, 40), seed=2)
    settings = {**tiny, "plan": {"ndim": 3, "patch": [8, 32, 32]}, "batch_size": 2, "method": method}
    result = train(data, tmp_path / "run", budget="2steps", settings=settings)
    assert result.finished
    assert np.isfinite(result.scores["dice"])


def test_no_annotation_at_all_is_an_error_before_training(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    data = copy_of(hearts, tmp_path / "data")
    for path in (data / "scribblesTr").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="expected strokes or labels in at least one case"):
        train(data, tmp_path / "run", budget="2steps", settings=tiny)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "medcl-store").exists(), "said before anything is prepared"


def test_what_cannot_work_is_said_before_anything_is_prepared(hearts: Path, tmp_path: Path) -> None:
    data = copy_of(hearts, tmp_path / "data")
    file = tmp_path / "file"
    file.touch()
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(RunError, match="got the dataset itself"):
        train(data, data)
    for out in (file, file / "run"):
        with pytest.raises(DataError, match="file is a file; choose another place"):
            train(data, out)
    with pytest.raises(DataError, match="file is a file; choose another place"):
        train(data, tmp_path / "run", store=file)
    with pytest.raises(SettingsError, match="expected minutes or steps such as 60m"):
        train(data, tmp_path / "run", budget=20)  # type: ignore[arg-type]
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_diverged_training_stops_with_a_diagnosis(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    settings = {**tiny, "optim": {"learning_rate": 1e30, "gradient_clip": 0, "warm_up": 0}}
    with pytest.raises(RunError, match=r"expected finite losses, got .* optim.learning_rate"):
        train(hearts, tmp_path / "run", budget="20steps", settings=settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rat": 1}, r"unknown setting 'learning_rat'.*Known: .*optim"),
        ({"optim": {"lr": 1}}, r"unknown setting 'optim.lr'.*learning_rate"),
        ({"method": "medlc"}, r"unknown method 'medlc'; did you mean 'medcl'\?"),
        ({"method": {"name": "medcl", "weights": {"dise": 1}}}, r"unknown setting 'weights.dise'"),
        ({"backbone": "vnet"}, r"unknown backbone 'vnet'"),
        ({"batch_size": 0}, r"batch_size: .*greater than or equal to 1, got 0"),
    ],
)
def test_wrong_settings_are_named(hearts: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        train(hearts, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere"):
        train(tmp_path / "nowhere", tmp_path / "run")


def test_a_budget_in_minutes_ends_in_time(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    result = train(hearts, tmp_path / "run", budget=BudgetSettings(minutes=0.05), settings=tiny)
    assert result.finished
    assert result.steps >= 1
    assert result.minutes >= 0.05


def test_two_processes_train_together(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Distributed training needs a program of its own: Lightning starts the second process by running it again."""
    import os
    import subprocess
    import sys

    settings = json.dumps({**tiny, "devices": 2, "device": "cpu"})
    program = (
        "import json, sys\nfrom medcl.training import train\n"
        "train(sys.argv[1], sys.argv[2], budget='4steps', settings=json.loads(sys.argv[3]))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program, encoding="utf-8")
    alone = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # the host's name may lead nowhere
    done = subprocess.run(
        [sys.executable, str(script), str(hearts), str(tmp_path / "run"), settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", **alone},
        capture_output=True,
        text=True,
        timeout=800,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text(encoding="utf-8"))["history"]["steps"] == 4


def test_tensorboard_and_mlflow_log_on_request(
    hearts: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow asks for a server or a database today; a folder is enough to see that the numbers arrive.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracking = tmp_path / "mlruns"
    settings = {**tiny, "tensorboard": True, "mlflow": tracking.as_uri()}
    train(hearts, tmp_path / "run", budget="3steps", settings=settings)
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out.tfevents.*"))
    assert any(path.name == "dice_RV" for path in tracking.rglob("*")), "validation scores reach MLflow"


def test_an_mlflow_address_that_cannot_be_used_is_named(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mlflow: the tracking URI 'nonsense://x' cannot be used"):
        train(hearts, tmp_path / "run", budget="2steps", settings={**tiny, "mlflow": "nonsense://x"})


def test_messages_are_kept_in_a_file(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(hearts, tmp_path / "run", budget="2steps", settings=tiny)
    text = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert "device" in text
    assert "cases learnt: 3 from strokes" in text
    assert "validation: dense labels of 1 validation case" in text
    assert "step 2: dice" in text


def test_a_batch_that_views_do_not_divide_is_said(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    medcl.train(
        hearts,
        tmp_path / "run",
        budget="1steps",
        settings={**tiny, "batch_size": 5},
        show=lambda moment: said.append(moment.message),
    )
    assert "batch: 2 images in 2 views each, as 5 is no multiple of 2" in said


def test_dense_labels_of_training_cases_are_held_back_for_dice(
    hearts: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    data = medcl.make_phantom(tmp_path / "data", "heart", cases=3, validation=0, size=(4, 48, 48), seed=1, dense=True)
    shutil.rmtree(data / "scribblesTr")
    result = train(data, tmp_path / "run", budget="3steps", settings={**tiny, "holdout": 0.34, "method": "dense"})
    assert "dice/LV" in result.scores
    content = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert content["validation_on"] == "dense labels of 1 case held back from training"
    assert len(content["training_cases"]) == 2
    assert len(list((tmp_path / "run" / "validation").iterdir())) == 1


def test_a_class_without_validation_strokes_costs_no_model(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    data = copy_of(hearts, tmp_path / "data")
    shutil.rmtree(data / "imagesVal")
    shutil.rmtree(data / "labelsVal")
    for path in (data / "scribblesTr").iterdir():
        strokes, geometry = read_map(path)
        ignore = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["labels"]["ignore"]
        write_map(path, np.where(strokes == 3, ignore, strokes), geometry)
    result = train(data, tmp_path / "run", budget="3steps", settings={**tiny, "holdout": 0.34})
    assert np.isnan(result.scores["stroke_recall/LV"])
    stored = json.loads((result.model / "model.json").read_text(encoding="utf-8"))["metrics"]["validation"]
    assert stored["stroke_recall/LV"] is None


def test_the_dense_method_learns_from_labels_where_a_case_has_both(tiny: dict[str, Any], tmp_path: Path) -> None:
    data = medcl.make_phantom(tmp_path / "data", "heart", cases=2, validation=1, size=(3, 48, 48), seed=1, dense=True)
    for method, kind in (("dense", "dense labels"), ("partial-ce", "strokes")):
        result = train(data, tmp_path / method, budget="1steps", settings={**tiny, "method": method})
        assert (
            json.loads((result.model / "model.json").read_text(encoding="utf-8"))["history"]["learnt_from"][kind] == 2
        )


def test_a_run_starts_from_weights_and_its_model_needs_them_no_more(hearts: Path, tiny: dict, tmp_path: Path) -> None:
    first = train(hearts, tmp_path / "first", budget="1steps", settings=tiny)
    start = tmp_path / "start.safetensors"
    start.write_bytes((first.model / "weights.safetensors").read_bytes())
    tiny["backbone"]["weights"] = str(start)
    tiny["optim"] = {"learning_rate": 1e-12, "ema": 0}
    told: list[str] = []
    second = train(
        hearts, tmp_path / "second", budget="1steps", settings=tiny, show=lambda moment: told.append(moment.message)
    )
    assert f"weights: {start}, 64 of 64 tensors" in told
    start.unlink()
    assert train(hearts, tmp_path / "second", resume=True).finished
    before, after = (Model.load(run.model, device="cpu", engine="torch").network for run in (first, second))
    for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    with pytest.raises(ModelError, match=r"start\.safetensors: no such file"):
        train(hearts, tmp_path / "third", budget="1steps", settings=tiny)
