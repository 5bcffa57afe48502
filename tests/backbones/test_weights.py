"""Weights from files: what can be read, what must fit, what is adapted and what is told."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medcl.backbones import build_backbone
from medcl.backbones.weights import compare, fit_channels, load_exactly, read_weights, transfer, write_weights
from medcl.errors import ModelError, SettingsError

UNET = {"base": 4, "levels": 2}


def unet(*, in_channels: int = 1, classes: int = 3, ndim: int = 2, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_backbone("unet", in_channels=in_channels, classes=classes, ndim=ndim, **{**UNET, **options})


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("nest", [None, "state_dict", "model", "network"])
def test_torch_files_alone_or_under_a_usual_key(tmp_path: Path, nest: str | None) -> None:
    weights = state(unet())
    torch.save(weights if nest is None else {nest: weights, "epoch": 3}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").tensors.keys() == weights.keys()
    network = unet(seed=1, weights=tmp_path / "w.pth")
    assert same(network, unet())


def test_the_prefix_of_parallel_training_is_taken_off(tmp_path: Path) -> None:
    torch.save({f"module.{n}": v for n, v in state(unet()).items()}, tmp_path / "w.pth")
    assert same(unet(seed=1, weights=tmp_path / "w.pth"), unet())


@pytest.mark.parametrize("name", ["weights.safetensors", "model/weights.safetensors", "model.safetensors"])
def test_folders(tmp_path: Path, name: str) -> None:
    write_weights(tmp_path / name, state(unet()))
    assert same(unet(seed=1, weights=str(tmp_path)), unet())


class Code:
    def __reduce__(self) -> Any:
        return (print, ("code ran",))


def test_code_in_a_file_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": state(unet()), "extra": Code()}, tmp_path / "w.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code()))
    for name in ("w.pth", "plain.pth"):
        with pytest.raises(ModelError, match=r"cannot be read without running code .* save its state_dict\(\) alone"):
            read_weights(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [({"epoch": 3, "lr": 0.1}, "got epoch, lr"), ({}, "got nothing"), (torch.zeros(3), "got Tensor")],
)
def test_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=f"expected a state dict .* {message}"):
        read_weights(tmp_path / "w.pth")


def test_no_file_no_weights_in_a_folder_and_damage(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.pth: no such file"):
        read_weights(tmp_path / "nowhere.pth")
    with pytest.raises(ModelError, match=r"expected a folder with one of weights.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 5)
    (tmp_path / "w.pth").write_bytes(b"not a file of torch")
    with pytest.raises(ModelError, match="expected a safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"expected tensors saved by torch\.save"):
        read_weights(tmp_path / "w.pth")


def test_all_differences_come_in_one_error(tmp_path: Path) -> None:
    weights = state(unet())
    del weights["encoder.0.0.weight"]
    weights["head.weight"] = torch.zeros(3, 5, 1, 1)  # not the classes, but the features
    weights["memory"] = torch.zeros(1)
    found = compare(unet(), weights)
    assert found.missing == ("encoder.0.0.weight",)
    assert found.unexpected == ("memory",)
    assert found.shapes == {"head.weight": ((3, 5, 1, 1), (3, 4, 1, 1))}
    save_file(weights, tmp_path / "w.safetensors")
    message = (
        "missing: encoder.0.0.weight; not in the network: memory; other shape: head.weight (3, 5, 1, 1) instead of "
        "(3, 4, 1, 1)."
    )
    network = unet(seed=1)
    before = state(network)
    with pytest.raises(ModelError, match=re.escape(message)):
        load_exactly(network, weights, "w")
    with pytest.raises(ModelError, match=re.escape(message)):
        unet(weights=tmp_path / "w.safetensors")
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())  # nothing was loaded by halves


def test_a_long_list_ends_in_a_count() -> None:
    assert "and 15 more" in str(compare(unet(), {f"n{i}": torch.zeros(1) for i in range(23)}))


def test_other_channels_and_classes_are_transferred_and_told(tmp_path: Path) -> None:
    given = unet(in_channels=3, classes=5)
    write_weights(tmp_path / "w.safetensors", state(given))
    told: list[str] = []
    torch.manual_seed(7)
    network = build_backbone(
        "unet", in_channels=1, classes=2, ndim=2, weights=tmp_path / "w.safetensors", tell=told.append, **UNET
    )
    fresh = unet(in_channels=1, classes=2, seed=7)
    assert torch.equal(network.head.weight, fresh.head.weight)
    assert torch.equal(network.decoder[0][0].weight, given.decoder[0][0].weight)
    torch.testing.assert_close(
        network.encoder[0][0].weight.sum(1), given.encoder[0][0].weight.sum(1), rtol=1e-5, atol=1e-6
    )
    assert told[1:] == [
        "weights: 3 input channels fitted to 1 in encoder.0.0.weight",
        "weights: for 5 classes, here 2: head.weight, head.bias start fresh",
    ]
    assert re.fullmatch(r"weights: .*w.safetensors, 37 of 39 tensors", told[0]), told[0]


@pytest.mark.parametrize(("given", "wanted"), [(1, 4), (3, 1), (3, 2), (2, 5), (4, 4)])
def test_a_grey_picture_gets_the_same_response(given: int, wanted: int) -> None:
    weight = torch.randn(6, given, 3, 3, dtype=torch.float64)
    fitted = fit_channels(weight, wanted)
    assert fitted.shape == (6, wanted, 3, 3)
    torch.testing.assert_close(fitted.sum(1), weight.sum(1))


def test_channels_by_hand() -> None:
    weight = torch.tensor([6.0, 2.0]).reshape(1, 2, 1)
    assert fit_channels(weight, 3).flatten().tolist() == [3.0, 2.0, 3.0]  # the first appears twice, so in halves
    assert fit_channels(weight, 1).flatten().tolist() == [8.0]


def test_a_part_may_be_given_if_the_file_says_so(tmp_path: Path) -> None:
    given = unet()
    part = {n: v for n, v in state(given).items() if n.startswith("encoder.")}
    write_weights(tmp_path / "silent.safetensors", part)
    with pytest.raises(ModelError, match=r"missing: up.0.weight, decoder"):
        unet(weights=tmp_path / "silent.safetensors")
    write_weights(tmp_path / "part.safetensors", part, covers=("encoder.",))
    network, fresh = unet(seed=1), unet(seed=1)
    words = transfer(network, read_weights(tmp_path / "part.safetensors"), in_channels=1, classes=3)
    assert words[-1] == "weights: not in the file, start fresh: decoder, head, up"
    assert torch.equal(network.encoder[1][0].weight, given.encoder[1][0].weight)
    assert torch.equal(network.decoder[0][0].weight, fresh.decoder[0][0].weight)
    del part["encoder.0.0.weight"]
    write_weights(tmp_path / "part.safetensors", part, covers=("encoder.",))
    with pytest.raises(ModelError, match=r"missing: encoder.0.0.weight"):
        unet(weights=tmp_path / "part.safetensors")


def test_weights_of_another_width_are_no_transfer(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", state(unet(base=6)))
    with pytest.raises(ModelError, match=r"other shape: encoder.0.0.weight \(6, 1, 3, 3\) instead of \(4, 1, 3, 3\)"):
        unet(weights=tmp_path / "w.safetensors")


def test_a_family_without_the_dimensions_is_named() -> None:
    from medcl.backbones import backbones
    from medcl.settings import Settings

    class Flat(Settings):
        dims: ClassVar[tuple[int, ...]] = (2,)

    backbones.register("flat")(Flat)
    try:
        with pytest.raises(SettingsError, match=r"backbone 'flat': expected 2D images, got 3D; choose one of .*unet"):
            build_backbone("flat", in_channels=1, classes=2, ndim=3)
    finally:
        del backbones._members["flat"]


def test_weights_that_may_not_be_read_are_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.safetensors").touch()

    def refused(path: Path, *_: object, **__: object) -> None:  # root, as whom tests may run, may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\); check the path and its permissions"):
        read_weights(tmp_path / "w.safetensors")
