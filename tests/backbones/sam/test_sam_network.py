"""SAM as a backbone: what is trained, what merging does, and that the parts are those of `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcl.backbones import build_backbone
from medcl.errors import SettingsError

pytest.importorskip("transformers", reason="the extra sam is not installed")

SMALL: dict[str, Any] = {"size": "tiny", "input_size": 64}


def build(*, in_channels: int = 1, classes: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_backbone("sam", in_channels=in_channels, classes=classes, ndim=2, **{**SMALL, **options})


def picture(*size: int, channels: int = 1, count: int = 2) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(0))


def trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def stir(network: nn.Module) -> None:
    """Move everything that starts at zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))


# --- what is trained ---


def test_lora_on_vit_b_trains_under_three_percent() -> None:
    with torch.device("meta"):
        network = build(size="vit_b", tune="lora", classes=4, input_size=1024)
    names = trained(network)
    count = sum(p.numel() for p in network.parameters())
    share = sum(p.numel() for n, p in network.named_parameters() if n in names) / count
    assert 90e6 < count < 95e6
    assert share < 0.03
    encoder = [p for n, p in network.named_parameters() if n in names and n.startswith("vision_encoder")]
    assert sum(p.numel() for p in encoder) == 12 * 2 * (4 * 768 + 768 * 4)  # blocks, queries and values, down and up


def test_each_way_of_tuning_trains_what_it_says() -> None:
    parts = {
        tune: {n.partition(".")[0] for n in trained(build(tune=tune, in_channels=2))}
        for tune in ("full", "decoder", "adapter", "lora")
    }
    all_parts = {"stem", "vision_encoder", "mask_decoder", "prompt_encoder"}
    assert parts == {
        "full": all_parts,
        "decoder": {"mask_decoder", "prompt_encoder"},
        "adapter": all_parts,
        "lora": all_parts,
    }
    assert {n for n in trained(build(tune="adapter")) if n.startswith("vision")} == {
        f"vision_encoder.layers.{i}.mlp.adapter.{p}.{q}"
        for i in range(4)
        for p in ("down", "up")
        for q in ("weight", "bias")
    }
    lora = {n for n in trained(build(tune="lora")) if n.startswith("vision")}
    assert all(".lora_" in n and (".qkv.q." in n or ".qkv.v." in n) for n in lora)
    for tune in parts:  # what only prompts pass through never learns, and the default embedding does
        names = trained(build(tune=tune))
        assert {n for n in names if n.startswith("prompt_encoder")} == {"prompt_encoder.no_mask_embed.weight"}


@pytest.mark.parametrize("tune", ["lora", "adapter", "decoder"])
def test_what_is_trained_gets_a_gradient_and_the_rest_none(tune: str) -> None:
    network = build(tune=tune, in_channels=2).train()
    stir(network)
    network(picture(40, 33, channels=2)).square().mean().backward()
    for name, p in network.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name
        else:
            assert p.grad is None, name


def test_updates_and_adapters_start_as_nothing() -> None:
    plain = build(tune="full")
    image = picture(30, 41)
    with torch.no_grad():
        expected = plain(image)
        for options in ({"tune": "lora"}, {"tune": "adapter"}, {"tune": "decoder", "adapter": "sam-med2d"}):
            other = build(**options)
            state = other.state_dict()
            for name, value in plain.state_dict().items():
                from medcl.backbones.sam.start import _plain

                for own in state:
                    source, rows = _plain(own)
                    if source == name:
                        state[own] = value if rows is None else value.chunk(3)[rows]
            other.load_state_dict(state)
            torch.testing.assert_close(other(image), expected, rtol=1e-4, atol=1e-5)


def test_merged_updates_give_the_same_and_the_names_of_a_plain_sam() -> None:
    from medcl.backbones.sam.tuning import merge_lora

    network, image = build(tune="lora").eval(), picture(30, 41)
    stir(network)
    with torch.no_grad():
        expected = network(image)
        merged = merge_lora(network)
        torch.testing.assert_close(merged(image), expected, rtol=1e-4, atol=1e-5)
    assert merged.state_dict().keys() == build(tune="full").state_dict().keys()


# --- the network ---


def test_the_same_numbers_as_transformers(reference: Callable[[Any], Any]) -> None:
    network = build(classes=4, tune="full").eval()
    stir(network)
    model = reference(network)
    image = picture(64, 64)
    colours = image.expand(-1, 3, -1, -1)
    with torch.no_grad():
        network.stem.weight.fill_(1.0)
        embedding = network.encode(image)[0]
        torch.testing.assert_close(embedding, model.get_image_embeddings(colours), rtol=1e-4, atol=1e-4)
        masks = network.masks(embedding, network._no_mask())
        several = model(pixel_values=colours, multimask_output=True).pred_masks[:, 0]
        single = model(pixel_values=colours, multimask_output=False).pred_masks[:, 0]
    torch.testing.assert_close(masks, torch.cat((single, several), dim=1), rtol=1e-3, atol=1e-3)
    up = nn.functional.interpolate(masks, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), up)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, [[1], [1], [1]]),
        (2, [[1, 0], [0.5, 0.5], [0, 1]]),
        (3, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (4, [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]]),
    ],
)
def test_channels_become_three_in_the_stated_way(channels: int, expected: list[list[float]]) -> None:
    network = build(in_channels=channels, tune="full")
    assert torch.equal(network.stem.weight[:, :, 0, 0].detach(), torch.tensor(expected).float())
    assert network.stem.weight.requires_grad == (channels not in (1, 3))


def test_frame_keeps_the_shape_of_the_image() -> None:
    from medcl.backbones.sam.network import frame, framed_size

    assert framed_size((50, 100), 64) == (32, 64)
    assert framed_size((1, 500), 64) == (1, 64)
    square = frame(torch.ones(1, 1, 50, 100), 64)
    assert square.shape == (1, 1, 64, 64)
    assert square[:, :, :32].min() == 1
    assert square[:, :, 32:].abs().max() == 0


@pytest.mark.parametrize("size", ["tiny", "vit_t"])
def test_a_branch_has_weights_of_its_own_on_the_same_embedding(size: str) -> None:
    network = build(size=size, classes=3).eval()
    branch = network.branch().eval()
    image = picture(37, 20)
    with torch.no_grad():
        features = network.encode(image)
        assert [tuple(f.shape[2:]) for f in features] == [(64 // (8 if size == "tiny" else 16),) * 2]
        first, second = network.decode(features, (37, 20)), branch(features, (37, 20))
        assert torch.equal(first, network(image))
        assert second.shape == first.shape
        assert not torch.allclose(first, second)
        branch.load_state_dict({n: v for n, v in network.state_dict().items() if n in branch.state_dict()})
        assert torch.equal(branch(features, (37, 20)), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 100}, "input_size"),
        ({"size": "vit_x"}, "size"),
        ({"tune": "some"}, "tune"),
        ({"rank": 0}, "rank"),
        ({"size": "vit_t", "adapter": "sam-med2d"}, "expected bottleneck for vit_t"),
    ],
)
def test_refuses_what_it_cannot_build(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build(**options)


def test_three_dimensions_are_refused_with_a_way_out() -> None:
    with pytest.raises(SettingsError, match=r"backbone 'sam': expected 2D images, got 3D.*plan\.ndim"):
        build_backbone("sam", in_channels=1, classes=2, ndim=3, **SMALL)


def test_the_way_of_tuning_is_settled_when_settings_are_read() -> None:
    from medcl.backbones.sam import SamSettings

    assert SamSettings.parse({}).tune == "full"
    chosen = SamSettings.parse({"weights": "sam.pth"})
    assert (chosen.tune, chosen.adapter) == ("lora", None)
    without = SamSettings.parse(chosen.model_dump(exclude={"weights"}))  # as a saved model has it
    assert without.tune == "lora"
    assert SamSettings.parse({"tune": "adapter"}).adapter == "bottleneck"
