from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from medcl.backbones import build_backbone
from medcl.errors import DataError, SettingsError
from medcl.inference import predict as module
from medcl.inference.model import Model, save_model
from medcl.inference.predict import predict_files

OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    if array.ndim == 3:
        image.SetDirection(OBLIQUE)
        image.SetOrigin((1.5, -2.25, 300.125))
    SimpleITK.WriteImage(image, str(path))
    return path


def test_one_broken_file_costs_no_other(bright, box, tmp_path):
    images = tmp_path / "images"
    for number in range(5):
        write(images / f"case{number}_0000.nii.gz", box)
    whole = (images / "case2_0000.nii.gz").read_bytes()
    (images / "case2_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    write(images / "case3_0001.nii.gz", box)  # a channel too many
    seen: list[tuple[int, int, str]] = []
    report = predict_files(bright(), images, tmp_path / "out", progress=lambda *state: seen.append(state))
    assert [written.case for written in report.written] == ["case0", "case1", "case4"]
    assert [failed.case for failed in report.failed] == ["case2", "case3"]
    assert "case2_0000.nii.gz" in report.failed[0].reason
    assert "expected 1 channel(s) (MR), got 2" in report.failed[1].reason
    assert "case3_0001.nii.gz" in report.failed[1].reason
    assert seen == [*((n, 5, f"case{n}") for n in range(5)), (5, 5, "")]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "case0.nii.gz",
        "case1.nii.gz",
        "case4.nii.gz",
        "prediction.json",
    }
    kept = json.loads((tmp_path / "out" / "prediction.json").read_text(encoding="utf-8"))
    assert [entry["case"] for entry in kept["failed"]] == ["case2", "case3"]
    assert kept["engine"].startswith("torch fp32")
    assert kept["written"][0]["volumes_ml"] == {"a": pytest.approx(2 * 8 * 9 / 1000), "b": 0.0}


def test_a_mask_in_place_of_an_image_is_told(bright, tmp_path):
    random = np.random.default_rng(0)
    write(tmp_path / "in/mask.nii.gz", random.integers(0, 3, (2, 30, 30)).astype(np.uint8))
    write(tmp_path / "in/scan.nii.gz", random.normal(100, 20, (2, 30, 30)).astype(np.float32))
    report = predict_files(bright(), tmp_path / "in", tmp_path / "out")
    assert len(report.written) == 2
    (note,) = (note for note in report.notes if "as masks do" in note)
    assert note.startswith("case mask: its image holds no more than the 3 values 0, 1, 2")


def test_an_unexpected_error_is_kept_with_its_trace(bright, box, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(tmp_path / f"images/{name}.nii.gz", box)
    true_read = module.read_image

    def read(source, **kwargs):
        if "a.nii.gz" in str(source):
            raise ZeroDivisionError("a bug")
        return true_read(source, **kwargs)

    monkeypatch.setattr(module, "read_image", read)
    report = predict_files(bright(), tmp_path / "images", tmp_path / "out")
    assert [written.case for written in report.written] == ["b"]
    assert report.failed[0].reason == "unexpected ZeroDivisionError: a bug"
    assert "in read" in report.failed[0].trace


def test_everything_lies_on_the_image(bright, box, tmp_path):
    path = write(tmp_path / "in/x.nii.gz", box, (1.5, 0.5, 3.0))
    report = predict_files(bright(), path, tmp_path / "out", probabilities=True, uncertainty=True)
    assert report.written[0].files == (
        "x.nii.gz",
        "probabilities/x_0_background.nii.gz",
        "probabilities/x_1_a.nii.gz",
        "probabilities/x_2_b.nii.gz",
        "uncertainty/x.nii.gz",
    )
    source, by_nibabel = SimpleITK.ReadImage(str(path)), nibabel.load(path)
    maps = {}
    for name in report.written[0].files:
        image = SimpleITK.ReadImage(str(tmp_path / "out" / name))
        assert image.GetSize() == source.GetSize()
        assert image.GetSpacing() == source.GetSpacing()
        assert image.GetOrigin() == source.GetOrigin()
        assert image.GetDirection() == source.GetDirection()
        assert np.array_equal(nibabel.load(tmp_path / "out" / name).affine, by_nibabel.affine)
        maps[name] = SimpleITK.GetArrayFromImage(image)
    mask = maps["x.nii.gz"]
    assert mask.dtype == np.uint8
    shares = np.stack([values for name, values in maps.items() if name.startswith("prob")])
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(0), 1, atol=1e-5)
    assert np.array_equal(shares.argmax(0), mask)
    assert 0 <= maps["uncertainty/x.nii.gz"].min() <= maps["uncertainty/x.nii.gz"].max() <= 1
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "out/x.nii.gz").dataobj).T, mask)


def test_maps_of_an_earlier_call_do_not_stay_beside_new_masks(bright, box, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    for name in ("p", "p_1"):
        write(images / f"{name}_0000.nii.gz", box)
    predict_files(bright(), images, out, probabilities=True, uncertainty=True)
    strange = out / "probabilities" / "p_0_mine.nii.gz"
    strange.touch()
    outside = tmp_path / "outside.nii.gz"
    outside.touch()
    note = json.loads((out / "prediction.json").read_text(encoding="utf-8"))
    note["written"][0]["files"] += ["probabilities/../outside.nii.gz", "../outside.nii.gz", "/etc/hostname"]
    note["written"].append({"files": ["p_1.nii.gz"]})  # no row of ours: it names no case
    (out / "prediction.json").write_text(json.dumps(note), encoding="utf-8")

    predict_files(bright(), images / "p_0000.nii.gz", out, uncertainty=True, ending=".nrrd")
    kept = {path.relative_to(out).as_posix() for path in out.rglob("*.n*") if path.parent != out}
    others = {f"probabilities/p_1_{k}_{name}.nii.gz" for k, name in enumerate(("background", "a", "b"))}
    assert kept == {"uncertainty/p.nrrd", "uncertainty/p_1.nii.gz", "probabilities/p_0_mine.nii.gz", *others}
    assert outside.exists()

    (out / "prediction.json").write_text("[]", encoding="utf-8")  # somebody else's
    predict_files(bright(), images / "p_1_0000.nii.gz", out)
    assert others <= {path.relative_to(out).as_posix() for path in out.rglob("*")}


def test_cases_of_an_earlier_call_are_listed_on_or_told_of(bright, box, tmp_path):
    images, out, model = tmp_path / "images", tmp_path / "out", bright()
    for name in "pqr":
        write(images / f"{name}_0000.nii.gz", box)

    def listed() -> list[str]:
        return [row["case"] for row in json.loads((out / "prediction.json").read_text(encoding="utf-8"))["written"]]

    predict_files(model, images, out)
    (out / "r.nii.gz").unlink()
    report = predict_files(model, images / "p_0000.nii.gz", out)
    assert [one.case for one in report.written] == ["p"]
    assert listed() == ["p", "q"]  # the mask of r is gone
    assert "goes on listing 1 case of an earlier call" in report.notes[-1]
    report = predict_files(model, images / "p_0000.nii.gz", out, flips=False, overlap=0.25)
    assert listed() == ["p"]
    assert "holds 1 mask of an earlier call" in report.notes[-1]
    assert (out / "q.nii.gz").is_file()


def test_channels_and_colour_pictures(saved, box, tmp_path):
    channels = [{"name": name, "normalisation": "zscore", "clip": (0, 100)} for name in "rgb"]
    model = Model.load(saved(channels=channels), engine="torch", precision="fp32", device="cpu")
    for number in range(3):
        write(tmp_path / f"in/v_{number:04d}.nii.gz", box if number == 0 else box * 0)
    picture = np.zeros((20, 24, 3), np.uint8)
    picture[6:14, 5:14, 0] = 255
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(picture, isVector=True), str(tmp_path / "in/p.png"))
    report = predict_files(model, tmp_path / "in", tmp_path / "out", ending=".nii.gz")
    assert not report.failed
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/v.nii.gz"))), box > 0)
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/p.nii.gz"))), box[1] > 0)
    # one channel missing: said so, by name
    (tmp_path / "in/v_0001.nii.gz").unlink()
    report = predict_files(model, tmp_path / "in", tmp_path / "out2")
    assert [failed.case for failed in report.failed] == ["v"]
    assert "v_0002.nii.gz" in report.failed[0].reason


def test_masks_of_pictures_may_be_pictures(bright, box, tmp_path):
    path = write(tmp_path / "in/p.png", box[1].astype(np.uint8))
    report = predict_files(bright(), path, tmp_path / "out", ending=".png", uncertainty=True)
    assert report.written[0].files == ("p.png", "uncertainty/p.nii.gz")
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/p.png"))), box[1] > 0)


def test_a_volume_is_no_picture_and_is_refused_before_the_network_runs(bright, box, tmp_path):
    path = write(tmp_path / "in/v_0000.nii.gz", box)
    report = predict_files(bright(), path, tmp_path / "out", ending=".png", uncertainty=True)
    assert "a 2D file holds one slice" in report.failed[0].reason
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == ["prediction.json"]


def test_nothing_is_written_where_options_or_places_are_wrong(bright, box, tmp_path):
    path = write(tmp_path / "in/x.nii.gz", box)
    before = path.read_bytes()
    with pytest.raises(DataError, match="holds the input"):
        predict_files(bright(), path, tmp_path / "in")
    with pytest.raises(SettingsError, match="found none"):
        predict_files(bright(groups={}), path, tmp_path / "out", largest_component="group")
    assert path.read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_permuting_the_classes_permutes_the_masks(plan, tmp_path):
    """Class channels in another order, and the plan's names with them, find the same structures."""
    network = build_backbone("bright", in_channels=1, classes=3, ndim=2)
    image = np.random.default_rng(0).normal(size=(2, 20, 20)).astype(np.float32)
    masks, names = [], ("background", "a", "b")
    for order in ([0, 1, 2], [0, 2, 1]):
        with torch.no_grad():
            # below -0.5, above 0.5, between
            network.weight[:] = torch.tensor([-10.0, 10.0, 0.0])[order].reshape(3, 1, 1, 1)
            network.bias[:] = torch.tensor([0.0, 0.0, 5.0])[order]
        permuted = plan(classes=tuple(names[i] for i in order))
        facts = {"backbone": "bright", "backbone_settings": {}, "method": "m", "settings": {}, "metrics": {}}
        save_model(tmp_path / "m", network=network, plan=permuted, **facts)
        model = Model.load(tmp_path / "m", engine="torch", precision="fp32", device="cpu")
        masks.append(model.predict(image, spacing_mm=(1, 1.3, 1.3)).mask)
    assert len(np.unique(masks[0])) == 3
    assert np.array_equal(np.array([0, 2, 1])[masks[0]], masks[1])
