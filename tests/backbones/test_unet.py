"""The plain U-Net's own settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcl.backbones import build_backbone
from medcl.errors import SettingsError


def build(*, in_channels: int = 1, classes: int = 3, ndim: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    given = {"base": 4, "levels": 3, **options}
    return build_backbone("unet", in_channels=in_channels, classes=classes, ndim=ndim, **given)


def picture(*size: int, channels: int = 1, count: int = 2) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(0))


def test_unet_by_hand() -> None:
    # Two levels of 2 and 4 channels: encoder 1-2-2 and 2-4-4, one 1 x 1 up, decoder 4-2-2, head. Weights only of 3 x 3
    # convolutions, two normalisation numbers per channel.
    network = build(base=2, levels=2)
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
    network = build(ndim=3, strides=strides).eval()
    with torch.no_grad():
        assert network(picture(*size)).shape == (2, 3, *size)
    kernels = [tuple(block[0].kernel_size) for block in network.encoder]
    assert kernels[0] == tuple(3 if step > 1 else 1 for step in strides[0])
    assert len(kernels) == len(strides) + 1


def test_unet_without_a_step_along_z_treats_slices_alone() -> None:
    network = build(ndim=3, strides=((1, 2, 2), (1, 2, 2))).eval()
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
        build(**options)


@pytest.mark.parametrize("base", [2, 3, 12])
def test_unet_group_normalisation_needs_no_batch(base: int) -> None:
    network = build(norm="group", base=base).train()
    image = picture(16, 12)
    torch.testing.assert_close(network(image)[:1], network(image[:1]), rtol=1e-4, atol=1e-5)


def test_unet_dropout_acts_in_training_only() -> None:
    network = build(dropout=0.5)
    image = picture(16, 16)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


def test_unet_width_is_capped() -> None:
    network = build(base=8, levels=4, max_channels=20)
    assert [block[0].out_channels for block in network.encoder] == [8, 16, 20, 20]
    assert network.eval()(picture(8, 8)).shape == (2, 3, 8, 8)
