"""What every registered backbone must do; a backbone gets these tests by being registered."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medcl.backbones import backbones, build_backbone, dims_of
from medcl.errors import SettingsError

NAMES = backbones.names()
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"base": 4, "levels": 3},
    "sam": {"size": "tiny", "input_size": 32},
}
"""Settings that make a backbone quick; those not named here run as they are."""
every_backbone = pytest.mark.parametrize("name", NAMES)


def check_refused(name: str, ndim: int) -> bool:
    """Return whether a family says that it cannot do a number of dimensions, and see that it refuses it."""
    if ndim in dims_of(backbones.get(name)):
        return False
    with pytest.raises(SettingsError, match=f"got {ndim}D"):
        build(name, ndim=ndim)
    return True


def build(name: str, *, in_channels: int = 1, classes: int = 3, ndim: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(
        name, in_channels=in_channels, classes=classes, ndim=ndim, **{**SMALL.get(name, {}), **options}
    )


def picture(*size: int, channels: int = 1, count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


@every_backbone
@settings(max_examples=12)
@given(
    size=st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 7), st.integers(1, 14), st.integers(1, 14)),
    ),
    channels=st.integers(1, 5),
    classes=st.integers(2, 20),
)
def test_any_size_channels_and_classes(name: str, size: tuple[int, ...], channels: int, classes: int) -> None:
    if check_refused(name, len(size)):
        return
    network = build(name, in_channels=channels, classes=classes, ndim=len(size)).eval()
    with torch.no_grad():
        logits = network(picture(*size, channels=channels))
    assert logits.shape == (2, classes, *size)
    assert logits.isfinite().all()


@every_backbone
@pytest.mark.parametrize("size", [(33, 47), (1, 40), (1, 1), (5, 13, 11), (1, 16, 16)])
def test_gradient_reaches_every_parameter_at_odd_sizes(name: str, size: tuple[int, ...]) -> None:
    if check_refused(name, len(size)):
        return
    network = build(name, in_channels=2, ndim=len(size)).train()
    # Normalisation needs more than one value per channel at the coarsest level.
    logits = network(picture(*size, channels=2, count=4))
    (logits * torch.randn_like(logits)).sum().backward()
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue  # what a family keeps as it is, it says itself
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if min(size) > 1:  # in an image of one line some weights of a kernel only ever meet padding
            assert parameter.grad.abs().sum() > 0, key


@every_backbone
@pytest.mark.parametrize("ndim", [2, 3])
def test_bf16_stays_close_to_fp32(name: str, ndim: int) -> None:
    if check_refused(name, ndim):
        return
    network = build(name, ndim=ndim).eval()
    image = picture(*(9, 18, 22)[-ndim:])
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(image).float()
    scale = exact.std()
    assert (rounded - exact).abs().max() < 0.15 * scale + 1e-3
    assert (rounded.argmax(1) == exact.argmax(1)).float().mean() > 0.95


@every_backbone
@pytest.mark.parametrize("ndim", [2, 3])
def test_channels_last_gives_the_same(name: str, ndim: int) -> None:
    if check_refused(name, ndim):
        return
    network = build(name, in_channels=3, ndim=ndim).eval()
    image = picture(*(6, 21, 19)[-ndim:], channels=3)
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    with torch.no_grad():
        plain = network(image)
        last = network.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


@every_backbone
def test_saved_weights_give_the_same(name: str, tmp_path: Any) -> None:
    from safetensors.torch import load_file, save_file

    network, image = build(name), picture(19, 23)
    network.train()(image)  # moves running statistics
    network.eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    other = build_backbone(name, in_channels=1, classes=3, ndim=2, **SMALL.get(name, {})).eval()
    with torch.no_grad():
        assert not torch.equal(other(image), network(image))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(image), network(image))


@every_backbone
def test_same_seed_same_network_and_a_batch_is_its_images(name: str) -> None:
    image = picture(20, 17, count=3)
    network = build(name).eval()
    with torch.no_grad():
        whole = network(image)
        assert torch.equal(whole, build(name).eval()(image))
        for n in range(3):
            torch.testing.assert_close(network(image[n : n + 1])[0], whole[n], rtol=1e-4, atol=1e-5)


@every_backbone
def test_starts_undecided(name: str) -> None:
    # At the start no class may be favoured by much, or strokes of a rare class are drowned before they are seen.
    with torch.no_grad():
        probabilities = build(name, classes=5).eval()(picture(32, 32)).softmax(1)
    assert (probabilities.mean(dim=(0, 2, 3)) - 0.2).abs().max() < 0.1


@every_backbone
def test_settings_survive_json_and_refuse_unknown_keys(name: str) -> None:
    family = backbones.get(name)
    assert family.parse(json.loads(json.dumps(family.parse({}).model_dump(mode="json")))) == family.parse({})
    with pytest.raises(SettingsError, match=re.escape(f"backbone '{name}': unknown setting 'no_such_setting'")):
        build(name, no_such_setting=1)
    assert all(field.description for field in family.model_fields.values())


def test_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="did you mean 'unet'"):
        build("unnet")


# --- the U-Net's own settings ---


def test_unet_by_hand() -> None:
    # Two levels of 2 and 4 channels: encoder 1-2-2 and 2-4-4, one 1 x 1 up, decoder 4-2-2, head. Weights only of 3 x 3
    # convolutions, two normalisation numbers per channel.
    network = build("unet", base=2, levels=2)
    convolutions = 9 * (1 * 2 + 2 * 2 + 2 * 4 + 4 * 4 + 4 * 2 + 2 * 2) + 4 * 2 + (2 * 3 + 3)
    norms = 2 * (2 + 2 + 4 + 4 + 2 + 2)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms


@pytest.mark.parametrize(
    ("strides", "size"),
    [
        (((1, 2, 2), (2, 2, 2)), (3, 21, 18)),
        (((1, 2, 2), (1, 2, 2)), (5, 16, 13)),  # never along z
        (((2, 2, 2),), (4, 9, 9)),
        (((1, 4, 2),), (2, 9, 9)),
    ],
)
def test_unet_strides_of_thick_slices(strides: tuple, size: tuple[int, ...]) -> None:
    network = build("unet", ndim=3, strides=strides).eval()
    with torch.no_grad():
        assert network(picture(*size)).shape == (2, 3, *size)
    kernels = [tuple(block[0].kernel_size) for block in network.encoder]
    assert kernels[0] == tuple(3 if step > 1 else 1 for step in strides[0])
    assert len(kernels) == len(strides) + 1


def test_unet_without_a_step_along_z_treats_slices_alone() -> None:
    network = build("unet", ndim=3, strides=((1, 2, 2), (1, 2, 2))).eval()
    image = picture(4, 12, 12)
    with torch.no_grad():
        whole = network(image)
        alone = torch.cat([network(image[:, :, z : z + 1]) for z in range(4)], dim=2)
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": ((2, 2, 2),)}, "strides with 2 numbers for 2D images"),
        ({"strides": ((0, 2),)}, "strides"),
        ({"strides": ()}, "strides"),
        ({"levels": 1}, "levels"),
        ({"dropout": 1.0}, "dropout"),
        ({"norm": "layer"}, "norm"),
    ],
)
def test_unet_refuses_what_it_cannot_build(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build("unet", **options)


@pytest.mark.parametrize("base", [2, 3, 12])
def test_unet_group_normalisation_needs_no_batch(base: int) -> None:
    network = build("unet", norm="group", base=base).train()
    image = picture(16, 12)
    torch.testing.assert_close(network(image)[:1], network(image[:1]), rtol=1e-4, atol=1e-5)


def test_unet_dropout_acts_in_training_only() -> None:
    network = build("unet", dropout=0.5)
    image = picture(16, 16)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


def test_unet_width_is_capped() -> None:
    network = build("unet", base=8, levels=4, max_channels=20)
    assert [block[0].out_channels for block in network.encoder] == [8, 16, 20, 20]
    assert network.eval()(picture(8, 8)).shape == (2, 3, 8, 8)
