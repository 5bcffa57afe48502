"""A model with random weights, scans that are alike, and one that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medcl import files
from medcl.backbones import build_backbone
from medcl.cli import app
from medcl.data.plan import Plan
from medcl.errors import DataError, ModelError, SettingsError
from medcl.files import write_json
from medcl.inference.familiarity.features import run_with_features
from medcl.inference.familiarity.fit import fit_familiarity
from medcl.inference.familiarity.reference import FILE, SCORED, Familiarity, Reference, combined
from medcl.inference.familiarity.seen import see
from medcl.inference.familiarity.watch import Watch
from medcl.inference.model import Model, save_model
from medcl.inference.predict import predict_files

UNET = {"base": 2, "levels": 3}
COUNT = 8


def make_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "dataset": "made up",
        "classes": ("background", "disc"),
        "groups": {},
        "channels": [{"name": "MR", "normalisation": "zscore"}],
        "ndim": 2,
        "spacing_mm": (None, 1.0, 1.0),
        "size": (3, 24, 28),
        "patch": (24, 24),
        "orientation": "as-stored",
        "fingerprint": "",
    }
    return Plan.parse({**values, **changes})


def make_model(folder: Path, backbone: str = "unet", settings: dict[str, Any] | None = None, **changes: Any) -> Path:
    plan, settings = make_plan(**changes), UNET if settings is None else settings
    torch.manual_seed(0)
    network = build_backbone(backbone, in_channels=1, classes=2, ndim=plan.ndim, **settings)
    facts = {"backbone": backbone, "backbone_settings": settings, "method": "m", "settings": {}, "metrics": {}}
    return save_model(folder, network=network, plan=plan, **facts)


def volume(seed: int, noise: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :28]
    disc = 100.0 * (np.hypot(y - 12 - rng.uniform(-2, 2), x - 14) < rng.uniform(6, 8))
    return (disc + rng.normal(0, noise, (3, 24, 28))).astype(np.float32)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([1, 1, 5, 1])), path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for n in range(COUNT):
        write(folder / "imagesTr" / f"c{n}_0000.nii.gz", volume(n))
    labels = {"background": 0, "disc": 1, "ignore": 2}
    content = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": COUNT, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", content)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write(folder / "alike_0000.nii.gz", volume(100))
    write(folder / "noisy_0000.nii.gz", volume(101, noise=60))
    return folder


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    folder = make_model(tmp_path_factory.mktemp("m") / "model")
    done = CliRunner().invoke(app, ["familiar", str(folder), str(dataset)])
    assert done.exit_code == 0, done.output
    assert f"remembered: {COUNT} training scans" in done.stdout
    assert "one in 9 new scans" in " ".join(done.stdout.split())
    return folder


def test_a_model_that_cannot_be_written_is_refused_before_any_scan(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(tmp_path / "model")
    # root, as whom tests may run, may write everywhere
    monkeypatch.setattr(files.os, "access", lambda path, mode, **_: mode != files.os.W_OK)
    done = CliRunner().invoke(app, ["familiar", str(folder), str(dataset)])
    assert done.exit_code == 1
    assert "cannot be written" in done.output
    assert "c0" not in done.output


def test_the_share_is_told_as_finely_as_its_limit() -> None:
    assert Familiarity(0.0247, 1.0, 100, False, {}).sentence.startswith("2.5% of scans")
    assert Familiarity(0.473, 1.0, 100, False, {}).sentence.startswith("47% of scans")


def test_a_strange_scan_is_told_from_one_that_is_alike(remembering: Path, scans: Path) -> None:
    model = Model.load(remembering, engine="torch", device="cpu")
    alike, noisy = (model.judge(scans / f"{name}_0000.nii.gz") for name in ("alike", "noisy"))
    assert noisy.score > 2 * alike.score
    assert noisy.strange
    assert noisy.share == pytest.approx(1 / (COUNT + 1))
    assert "looks unlike the 8 scans of training (none of them" in noisy.sentence
    assert alike.share > noisy.share
    assert "look at least as strange" in alike.sentence


def test_predict_warns_marks_the_row_and_writes_the_map(remembering: Path, scans: Path, tmp_path: Path) -> None:
    arguments = ["predict", remembering, scans, "--out", tmp_path / "out", "--familiarity-map", "--engine", "torch"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "warning: noisy looks unlike the 8 scans of training" in text
    assert "warning: alike" not in text
    rows = {
        r["case"]: r for r in json.loads((tmp_path / "out" / "prediction.json").read_text(encoding="utf-8"))["written"]
    }
    assert rows["noisy"]["familiarity"]["strange"] is True
    assert rows["alike"]["familiarity"]["strange"] is False
    assert "familiarity/noisy.nii.gz" in rows["noisy"]["files"]
    written = nibabel.load(tmp_path / "out" / "familiarity" / "noisy.nii.gz")
    image = nibabel.load(scans / "noisy_0000.nii.gz")
    np.testing.assert_allclose(written.affine, image.affine)
    values = np.asarray(written.dataobj)
    assert values.shape == image.shape
    assert 0 <= values.min() < values.max() <= 1


def test_models_without_memory_predict_and_say_how_to_add_it(scans: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    assert Model.load(folder, engine="torch").familiarity is None
    report = predict_files(folder, scans, tmp_path / "out")
    assert len(report.written) == 2
    assert report.written[0].familiarity is None
    assert f"medcl familiar {folder}" in report.notes[0]
    with pytest.raises(ModelError, match="medcl familiar"):
        predict_files(folder, scans, tmp_path / "other", familiarity=True)
    assert not (tmp_path / "other").exists()
    assert predict_files(folder, scans, tmp_path / "third", familiarity=False).notes == []


def test_what_is_remembered_comes_back_as_it_was(remembering: Path, scans: Path, tmp_path: Path) -> None:
    model = Model.load(remembering, engine="torch", device="cpu")
    assert model.familiarity is not None
    model.familiarity.save(tmp_path)
    again = Reference.load(tmp_path, weights=model.info.weights_sha256)
    assert again is not None
    first = model.judge(scans / "noisy_0000.nii.gz")
    model.__dict__["familiarity"] = again
    assert model.judge(scans / "noisy_0000.nii.gz") == first
    with pytest.raises(ModelError, match="belongs to other weights"):
        Reference.load(tmp_path, weights="another")
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        Reference.load(tmp_path, weights="another")


def test_a_share_is_the_rank_among_scans_that_were_left_out(remembering: Path) -> None:
    model = Model.load(remembering, engine="torch", device="cpu")
    reference = model.familiarity
    assert reference is not None
    seen = see(model.network, (volume(3) / 100)[None], model.plan)
    judged = reference.judge_seen(seen)
    assert judged.share == (1 + sum(s >= judged.score for s in reference.scores)) / (COUNT + 1)
    assert judged.score == pytest.approx(combined(judged.parts))


def test_labels_and_strokes_are_never_read(dataset: Path, tmp_path: Path) -> None:
    """Unlabelled voxels mean nothing here: no map of the data set is opened, however wrong it is."""
    model = make_model(tmp_path / "model")
    first = fit_familiarity(model, dataset).scores
    for n in range(COUNT):
        write(dataset / "scribblesTr" / f"c{n}.nii.gz", np.full((3, 24, 28), 2, np.float32))
    np.testing.assert_array_equal(first, fit_familiarity(model, dataset).scores)


def test_what_a_run_learned_from_is_looked_at(dataset: Path, tmp_path: Path) -> None:
    """`cases` of a training says which strokes it keeps, as a number, a share or names; all is learned from."""
    model = make_model(tmp_path / "run" / "model")
    for cases in (5, 0.5, ["c0"]):
        info = json.loads((model / "model.json").read_text(encoding="utf-8"))
        info["settings"]["cases"] = cases
        (model / "model.json").write_text(json.dumps(info), encoding="utf-8")
        assert len(fit_familiarity(model, dataset).scores) == COUNT
    names = [f"c{n}" for n in range(COUNT - 2)]
    (tmp_path / "run" / "run.json").write_text(
        json.dumps({"training_cases": names, "annotated_cases": ["c0"]}), encoding="utf-8"
    )
    assert len(fit_familiarity(model, dataset).scores) == COUNT - 2


def test_a_map_wants_judging(tmp_path: Path) -> None:
    model = Model.load(make_model(tmp_path / "model"), engine="torch")
    with pytest.raises(SettingsError, match="leave out one of both"):
        Watch.of(model, wanted=False, with_map=True)


def test_too_few_scans_and_unknown_cases_are_told(dataset: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    with pytest.raises(DataError, match="at least 4 training scans"):
        fit_familiarity(model, dataset, cases=["c0", "c1"])
    with pytest.raises(DataError, match="training case nobody"):
        fit_familiarity(model, dataset, cases=["nobody"])


@pytest.mark.parametrize(
    ("backbone", "settings", "changes"),
    [
        ("max-query", {"base": 2, "levels": 3, "width": 4}, {}),
        ("unet", UNET, {"ndim": 3, "patch": (2, 16, 16), "spacing_mm": (5.0, 1.0, 1.0)}),
        ("res-unet", {"base": 4, "levels": 3}, {}),
    ],
)
def test_any_network_and_volumes(
    backbone: str, settings: dict[str, Any], changes: dict[str, Any], dataset: Path, scans: Path, tmp_path: Path
) -> None:
    model = Model.load(make_model(tmp_path / "model", backbone, settings, **changes), engine="torch", device="cpu")
    fit_familiarity(model, dataset)
    alike, noisy = (model.judge(scans / f"{name}_0000.nii.gz") for name in ("alike", "noisy"))
    assert noisy.score > alike.score
    assert ("queries slice" in alike.parts) == (backbone == "max-query")


def test_networks_that_do_not_tell_their_features_are_listened_to() -> None:
    from torch import nn

    torch.manual_seed(0)
    down, up = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 2, 2, stride=2)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), down, nn.ReLU(), up)
    levels, logits, strange = run_with_features(network, torch.randn(1, 1, 8, 8))
    assert [tuple(level.shape[1:]) for level in levels] == [(3, 8, 8), (4, 4, 4)]
    assert logits.shape == (1, 2, 8, 8)
    assert strange is None


def test_one_strange_part_is_enough() -> None:
    usual = dict.fromkeys(SCORED, 0.0)
    assert combined({**usual, "image scan": 3.0, "deep slice": 4.0}) == 5
    assert combined({**usual, "image scan": -9.0, "deep slice": 4.0}) == 4
    assert combined({**usual, "unknown part": 50.0}) == combined(usual)
    judged = Familiarity(0.02, 9.0, 80, True, {**usual, "answer mean": 5.0})
    assert "the shapes that are predicted on it" in judged.sentence
