from __future__ import annotations

import json
import pickle
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from safetensors.torch import load_file, save_file

from medcl.backbones import build_backbone
from medcl.errors import DataError, ModelError
from medcl.files import file_digest
from medcl.inference.model import Model, array_to_image, read_info, save_model

UNET = {"base": 4, "levels": 2}
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def test_a_saved_model_gives_the_same_numbers(saved):
    folder = saved("unet", UNET)
    torch.manual_seed(0)
    network = build_backbone("unet", in_channels=1, classes=3, ndim=2, **UNET).eval()
    model = Model.load(folder, engine="torch", precision="fp32", device="cpu")
    assert {path.name for path in folder.iterdir()} == {"model.json", "plan.json", "weights.safetensors", "card.md"}
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(model.network(image), network(image))
    assert not model.network.training
    assert model.classes == ("background", "a", "b")
    assert model.info.metrics == {"dice": {"a": 0.875}}
    assert model.info.parameters == sum(p.numel() for p in network.parameters())


def test_a_run_folder_stands_for_its_model(saved, tmp_path):
    folder = saved()
    run = tmp_path / "run"
    run.mkdir()
    shutil.move(folder, run / "model")
    assert read_info(run)[2] == run / "model"


def test_the_card_says_what_a_reader_needs(saved):
    card = (saved("unet", UNET) / "card.md").read_text(encoding="utf-8")
    for part in ("# Segmentation model: a, b", "unet (base=4, levels=2)", "| dice.a | 0.875 |", "| steps | 7 |", "MR"):
        assert part in card


def test_saving_again_replaces_and_a_bad_one_leaves_the_old(saved, plan):
    folder = saved()
    before = file_digest(folder / "weights.safetensors")
    network = build_backbone("bright", in_channels=1, classes=3, ndim=2)
    with torch.no_grad():
        network.weight[0] = float("nan")
    facts = {"backbone": "bright", "backbone_settings": {}, "plan": plan(), "method": "m", "settings": {}}
    with pytest.raises(ModelError, match="weight 'weight' is NaN or infinite"):
        save_model(folder, network=network, metrics={}, **facts)
    network = build_backbone("bright", in_channels=1, classes=3, ndim=2)
    with pytest.raises(DataError, match="JSON"):
        save_model(folder, network=network, metrics={"dice": object()}, **facts)
    assert file_digest(folder / "weights.safetensors") == before
    Model.load(folder)
    save_model(folder, network=network, metrics={"dice": 1.0, "undefined": float("nan")}, **facts)
    assert read_info(folder)[0].metrics == {"dice": 1.0, "undefined": None}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_model_is_an_error(tmp_path, saved):
    with pytest.raises(ModelError, match="no such folder"):
        Model.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"found no model\.json"):
        Model.load(tmp_path / "empty")
    folder = saved()
    good = (folder / "model.json").read_text(encoding="utf-8")
    for text, message in (
        ("{", "expected JSON"),
        ("[]", "expected keys and values"),
        (json.dumps({**json.loads(good), "format": 99}), "expected model format 1, got 99"),
    ):
        (folder / "model.json").write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=message):
            Model.load(folder)
    (folder / "model.json").write_text(good, encoding="utf-8")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="weights are missing"):
        Model.load(folder)


def test_weights_that_do_not_fit_are_listed(saved):
    folder = saved("unet", UNET)
    weights = load_file(folder / "weights.safetensors")
    removed = sorted(weights)[0]
    del weights[removed]
    weights["extra"] = torch.zeros(1)
    weights["head.bias"] = torch.zeros(7)
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(ModelError) as error:
        Model.load(folder)
    for part in (f"missing: {removed}", "not in the network: extra", "other shape: head.bias (7,) instead of (3,)"):
        assert part in str(error.value)


def test_other_weights_of_the_right_shape_are_noticed(saved):
    folder = saved()
    weights = load_file(folder / "weights.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "weights.safetensors")
    with pytest.raises(ModelError, match="digest differs"):
        Model.load(folder)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("content", [b"", b"\x08" * 64, pickle.dumps(Bomb())])
def test_damaged_weights_and_pickles_are_refused(saved, content):
    folder = saved()
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="expected a safetensors file"):
        Model.load(folder)


@pytest.mark.parametrize("cut", [1, 8, 100])
def test_cut_weights_are_refused(saved, cut):
    folder = saved("unet", UNET)
    whole = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(whole[:-cut])
    with pytest.raises(ModelError, match="expected a safetensors file"):
        Model.load(folder)


def test_array_file_and_image_give_the_same_mask(bright, box, tmp_path):
    model = bright()
    image = SimpleITK.GetImageFromArray(box)
    image.SetSpacing((1.5, 0.5, 3.0))
    image.SetDirection(OBLIQUE)
    image.SetOrigin((-7.25, 11.5, 30.0))
    path = tmp_path / "case.nii.gz"
    SimpleITK.WriteImage(image, str(path))
    from_file = model.predict(path)
    from_array = model.predict(box, spacing_mm=(3.0, 0.5, 1.5))
    assert from_file.mask.shape == box.shape
    assert np.array_equal(from_file.mask, from_array.mask)
    found = np.argwhere(from_file.mask == 1)
    assert found.min(0).tolist() == pytest.approx([1, 6, 5], abs=1)
    assert found.max(0).tolist() == pytest.approx([2, 13, 13], abs=1)
    # the same voxels through nibabel: its arrays are (X, Y, Z)
    by_nibabel = np.asarray(nibabel.load(path).dataobj).T
    assert np.array_equal(by_nibabel, box)
    assert np.array_equal(model.predict(by_nibabel, spacing_mm=(3.0, 0.5, 1.5)).mask, from_file.mask)


def test_at_the_plan_s_spacing_the_mask_is_exact(bright, box):
    prediction = bright().predict(box, spacing_mm=(1, 1, 1), probabilities=True, uncertainty=True)
    assert np.array_equal(prediction.mask, box > 0)
    assert prediction.mask.dtype == np.uint8
    assert prediction.probabilities.shape == (3, *box.shape)
    assert np.allclose(prediction.probabilities.sum(0), 1, atol=1e-6)
    assert np.array_equal(prediction.probabilities.argmax(0), prediction.mask)
    assert prediction.uncertainty.shape == box.shape
    assert prediction.uncertainty.max() < 0.05


def test_a_volume_model_finds_the_box_at_another_spacing(bright):
    array = np.zeros((20, 24, 28), np.float32)
    array[4:16, 6:18, 8:20] = 1
    mask = bright(ndim=3).predict(array, spacing_mm=(0.5, 1.0, 2.0)).mask
    assert (mask == (array > 0)).mean() > 0.9
    assert mask[6:14, 8:16, 10:18].all()


def test_the_coarse_axis_may_be_any(bright, box):
    """Slices along another axis of the file: the mask still lies voxel for voxel on the image."""
    turned = np.ascontiguousarray(box.transpose(2, 0, 1))
    mask = bright().predict(turned, spacing_mm=(1, 5, 1)).mask
    assert np.array_equal(mask, turned > 0)


def test_flat_arrays_have_one_slice(bright, box):
    prediction = bright().predict(box[1], spacing_mm=(1, 1))
    assert np.array_equal(prediction.mask, (box[1] > 0)[None])


def test_ambiguous_arrays_are_refused(bright, box):
    with pytest.raises(DataError, match="the size of a voxel would be guessed"):
        array_to_image(box, None, channels=1)
    for spacing in ((1, 1), (1, 1, 0), (1, 1, float("nan"))):
        with pytest.raises(DataError, match="positive numbers"):
            array_to_image(box, spacing, channels=1)
    with pytest.raises(DataError, match="which axis holds the channels"):
        array_to_image(box, (1, 1, 1), channels=4)
    with pytest.raises(DataError, match="got 1 axes"):
        array_to_image(box[0, 0], (1,), channels=1)
    model = bright()
    with pytest.raises(DataError, match=r"expected 1 channel\(s\) \(MR\), got 2"):
        model.predict(np.stack([box, box]), spacing_mm=(1, 1, 1))
    with pytest.raises(DataError, match="NaN or infinity in 1 voxel"):
        model.predict(np.where(np.arange(box.size).reshape(box.shape) == 5, np.inf, box), spacing_mm=(1, 1, 1))
    with pytest.raises(DataError, match="arrays only"):
        model.predict(array_to_image(box, (1, 1, 1), channels=1), spacing_mm=(1, 1, 1))
    with pytest.raises(DataError, match="real numbers"):
        model.predict(box.astype(complex), spacing_mm=(1, 1, 1))


def test_the_largest_component_is_kept_on_request(bright, box):
    array = box.copy()
    array[0, 0, 0] = 100
    model = bright()
    assert model.predict(array, spacing_mm=(1, 1, 1)).mask[0, 0, 0] == 1
    for mode in ("class", "group"):
        assert model.predict(array, spacing_mm=(1, 1, 1), largest_component=mode).mask[0, 0, 0] == 0


def test_what_training_found_to_be_one_piece_is_one_piece(bright, box):
    array = box.copy()
    array[0, 0, 0] = 100
    model = bright(one_piece=((1,),))
    assert model.predict(array, spacing_mm=(1, 1, 1)).mask[0, 0, 0] == 0
    assert model.predict(array, spacing_mm=(1, 1, 1), largest_component="none").mask[0, 0, 0] == 1


def test_models_without_a_word_on_pieces_still_open(saved, box):
    folder = saved()
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del info["one_piece"]
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
    assert Model.load(folder, device="cpu").info.one_piece == ()


def test_the_engine_and_its_reason_are_on_record(saved, box):
    model = Model.load(saved(), device="cpu")
    model.predict(box, spacing_mm=(1, 1, 1))
    assert "same class as torch fp32, ties apart, in 100.000%" in model.engine_reason
