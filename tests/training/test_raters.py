"""Training on several people: whose map a draw learns from, shares of votes, and the network that samples."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from medcl import Dataset, Model, RaterSet, fuse, make_phantom, train
from medcl.data.labels import UNLABELLED
from medcl.data.plan import make_plan
from medcl.data.store import Store
from medcl.errors import DataError, RunError, SettingsError
from medcl.inference.latent import sample_masks
from medcl.inference.scaling import Scaling
from medcl.inference.sources import SourceSettings
from medcl.settings import TrainSettings
from medcl.training.raters import Rated, RaterSampler, build_sampler, open_for_training, prepare_raters

PEOPLE = ("large", "misses", "small")
SMALL = {
    "raters": "sampled",
    "plan": {"ndim": 2, "patch": (16, 16)},
    "batch_size": 2,
    "threads": 1,
    "sample_pictures": 0,
    "validate_every": 1.0,
}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raters") / "hearts"
    make_phantom(folder, "heart", cases=3, validation=0, test=1, ndim=2, size=(32,), raters=PEOPLE)
    fuse(folder)
    return folder


def sampler_of(folder: Path, place: Path, *, everyone: bool = True, **settings: object) -> tuple[RaterSampler, Rated]:
    chosen = TrainSettings.parse({**SMALL, **settings})
    dataset = open_for_training(folder, chosen)
    plan = make_plan(dataset, **dict(chosen.plan))
    store = Store.prepare(dataset, plan, place, splits=("Tr",))
    rated = prepare_raters(dataset, plan, place, store, chosen, dense=True, tell=lambda case, i, n: None)
    assert rated is not None
    options = {"batch_size": 3, "patch": plan.patch, "oversample": 0.5, "seed": 0, "dense": True}
    sampler = build_sampler(rated, store, store.cases("Tr"), plan, everyone=everyone, **options)
    assert isinstance(sampler, RaterSampler)
    return sampler, rated


def test_each_draw_learns_from_one_person(hearts: Path, tmp_path: Path) -> None:
    sampler, rated = sampler_of(hearts, tmp_path)
    assert tuple(rated.stores) == PEOPLE  # the fused map is no person
    chosen = set()
    for step in range(6):
        batch = sampler.batch(step)
        assert batch.raters is not None
        assert batch.raters.shape[1:3] == (3, 4)
        for k in range(3):
            same = [r for r in range(3) if torch.equal(batch.target[k], batch.raters[k, r])]
            assert same
            chosen.update(same if len(same) == 1 else ())
    assert chosen == {0, 1, 2}
    again = sampler.batch(2)
    assert torch.equal(again.target, sampler.batch(2).target)


def test_shares_of_votes(hearts: Path, tmp_path: Path) -> None:
    sampler, _ = sampler_of(hearts, tmp_path, raters="soft")
    batch = sampler.batch(0)
    assert batch.raters is not None
    torch.testing.assert_close(batch.target, batch.raters.mean(dim=1) * (batch.raters.sum(dim=(1, 2)) > 0)[:, None])
    assert ((batch.target > 0) & (batch.target < 1)).any()


def test_shares_from_a_file(hearts: Path, tmp_path: Path) -> None:
    sampler, rated = sampler_of(hearts, tmp_path, raters=None, soft="quality")
    target = sampler.batch(0).target
    total = target.sum(dim=1)
    assert ((total - 1).abs() < 1e-2).logical_or(total == 0).all()
    assert not rated.stores
    with pytest.raises(DataError, match=r"unknown fused map 'x'.*quality.*medcl fuse"):
        sampler_of(hearts, tmp_path, raters=None, soft="x")
    with pytest.raises(SettingsError, match="expected one of the two"):
        sampler_of(hearts, tmp_path, soft="quality")


def test_unlabelled_is_no_vote(tmp_path: Path) -> None:
    folder = make_phantom(tmp_path / "d", "heart", cases=1, validation=0, ndim=2, size=(32,), raters=("large", "small"))
    strokes = RaterSet.open(folder, kind="scribbles")
    nobody = (strokes.read(strokes.cases("Tr")[0]) == UNLABELLED).all(axis=0)
    for labels in (folder / "labelsTr").iterdir():
        for path in labels.iterdir():
            path.unlink()
        labels.rmdir()
    sampler, rated = sampler_of(folder, tmp_path / "store", raters="soft")
    assert rated.kind == "scribbles"
    target = sampler.batch(0).target
    total = target.sum(dim=1)
    assert 0 < float((total > 0).float().mean()) < 1.2 * float((~nobody).mean()) * 4
    assert ((total == 0) | (total - 1).abs().lt(1e-6)).all()


def test_other_files_beside_the_raters_folders_hide_nobody(hearts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hearts"
    shutil.copytree(hearts, folder)
    for path in (folder / "labelsTr").glob("*.nii.gz"):  # nobody's in particular
        path.unlink()
    (folder / "labelsTr" / "large").rename(folder / "labelsTr" / "dr.smith")
    (folder / "labelsTr" / ".DS_Store").touch()
    opened = open_for_training(folder, TrainSettings.parse(SMALL))
    assert all(case.label is not None for case in opened.cases("Tr"))
    assert {case.label.parent.name for case in opened.cases("Tr") if case.label} == {"dr.smith"}


def test_one_person_is_not_several(tmp_path: Path) -> None:
    folder = make_phantom(tmp_path / "d", "heart", cases=1, validation=0, ndim=2, size=(32,), dense=True)
    with pytest.raises(DataError, match=r"raters=sampled: expected labelsTr/<rater>"):
        train(folder, tmp_path / "run", method="dense", budget="1steps", settings=SMALL)
    assert not (tmp_path / "medcl-store").exists()  # refused before anything is prepared


def test_shares_of_strokes_need_no_other_choice(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    make_phantom(folder, "heart", cases=2, validation=0, ndim=2, size=(32,))
    for path in list((folder / "scribblesTr").glob("*.nii.gz")):
        for name in ("ann", "bob"):
            (folder / "scribblesTr" / name).mkdir(exist_ok=True)
            shutil.copy(path, folder / "scribblesTr" / name)
        path.unlink()
    fuse(folder, kind="scribbles")
    opened = open_for_training(folder, TrainSettings.parse({"soft": "quality"}))
    assert all(case.scribble and case.scribble.parent.name == "quality" for case in opened.cases("Tr"))
    with pytest.raises(DataError, match="Known: quality"):
        open_for_training(folder, TrainSettings.parse({"soft": "most"}))


def test_training_without_a_choice_names_the_people(tmp_path: Path, hearts: Path) -> None:
    folder = shutil.copytree(hearts, tmp_path / "g")
    shutil.rmtree(folder / "scribblesTr", ignore_errors=True)
    for path in (folder / "labelsTr").glob("*.nii.gz"):
        path.unlink()
    with pytest.raises(RunError, match=r"large, misses, small.*labels=NAME.*raters=sampled"):
        train(folder, tmp_path / "run", settings={k: v for k, v in SMALL.items() if k != "raters"})


def test_the_probabilistic_network_learns_resumes_and_samples(hearts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    backbone = {"name": "probabilistic-unet", "base": 4, "levels": 3}
    options = {"method": "probabilistic-unet", "backbone": backbone, "settings": SMALL}
    train(hearts, run, budget="4steps", **options)
    log = (run / "log.csv").read_text(encoding="utf-8")
    assert all(f"loss,{name}," in log for name in ("ce", "dice", "kl", "energy"))
    model = Model.load(run, device="cpu", engine="torch", precision="fp32")
    opened = Dataset.open(hearts)
    image = opened.read_image(opened.cases("Ts")[0])
    masks = sample_masks(model, image, count=3, seed=1, probabilities=True)
    first, second, _third = (one.probabilities for one in masks)
    assert first is not None
    assert first.shape == (4, *image.geometry.size)
    assert not np.allclose(first, second)
    again = sample_masks(model, image, count=2, seed=1, probabilities=True)
    np.testing.assert_array_equal(again[1].probabilities, second)  # the first ones are the same for any count
    # What was calibrated is applied to each of them: a temperature of 1/2 squares probabilities.
    model.scaling = Scaling(scale=(2.0,) * 4, bias=(0.0,) * 4, far=0.5)
    calibrated = sample_masks(model, image, count=1, seed=1, probabilities=True)[0]
    assert calibrated.probabilities is not None
    np.testing.assert_allclose(calibrated.probabilities, first**2 / (first**2).sum(0), atol=1e-5)
    np.testing.assert_allclose(
        calibrated.probabilities,
        next(model.samples(image, SourceSettings(name="latent", samples=2, seed=1), flips=False)),
        atol=1e-6,
    )
    fuse_less = tmp_path / "other"
    with pytest.raises(SettingsError, match=r"expected a backbone with a latent space \(probabilistic-unet\)"):
        train(hearts, fuse_less, **{**options, "backbone": "unet"})
    (hearts / "labelsTr" / "small" / "heart_train000.nii.gz").write_bytes(
        (hearts / "labelsTr" / "large" / "heart_train000.nii.gz").read_bytes()
    )
    with pytest.raises(RunError, match="changed since"):
        train(hearts, run, resume=True)


def test_a_network_without_latent_space_says_so(tmp_path: Path, hearts: Path) -> None:
    options = {"backbone": {"name": "unet", "base": 4, "levels": 3}, "settings": SMALL}
    train(hearts, tmp_path / "run", method="dense", budget="1steps", **options)
    model = Model.load(tmp_path / "run", device="cpu", engine="torch", precision="fp32")
    with pytest.raises(SettingsError, match=r"expected a network with a latent space.*unet"):
        sample_masks(model, np.zeros((32, 32), np.float32), spacing_mm=(1, 1))
