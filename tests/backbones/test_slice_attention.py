"""Attention over neighbouring slices: what it may look at, and that it goes with a backbone."""

from __future__ import annotations

import torch

from medcl.backbones.for_plan import build_for_plan
from medcl.backbones.slice_attention import SliceAttention
from medcl.data.plan import Plan

UNET = {"base": 4, "levels": 2}


def plan(**changes: object) -> Plan:
    values = {
        "dataset": "made up",
        "classes": ("background", "a", "b"),
        "groups": {},
        "channels": [{"name": name, "normalisation": "zscore"} for name in ("T1", "T2")],
        "ndim": 2,
        "spacing_mm": (None, 1.0, 1.0),
        "size": (4, 16, 16),
        "patch": (16, 16),
        "orientation": "as-stored",
        "fingerprint": "none",
        "context": 1,
        "neighbours": "attention",
    }
    return Plan.parse({**values, **changes})


def made(**changes: object) -> SliceAttention:
    torch.manual_seed(0)
    network = build_for_plan(plan(**changes), "unet", **UNET)
    assert isinstance(network, SliceAttention)
    return network


def test_logits_of_any_size_and_gradients_for_every_parameter() -> None:
    network = made()
    image = torch.randn(2, 6, 11, 13)
    logits = network(image)
    assert logits.shape == (2, 3, 11, 13)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_weights_are_shares_of_the_slices() -> None:
    network = made(context=2).eval()
    with torch.no_grad():
        read, weights = network.attend(torch.randn(2, 10, 9, 8))
    assert weights.shape == (2, 5, 9, 8)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 9, 8))
    assert read.shape == (2, 2 + 8, 9, 8)


def test_equal_slices_count_alike_and_the_middle_one_passes_unchanged() -> None:
    network = made().eval()
    middle = torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        read, weights = network.attend(middle.repeat(1, 3, 1, 1))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))
    torch.testing.assert_close(read[:, :2], middle)


def test_a_far_pixel_of_a_neighbour_is_out_of_sight_of_the_attention() -> None:
    network = made().eval()
    image = torch.randn(1, 6, 16, 16)
    other = image.clone()
    other[:, :2, 0, 0] += 5
    with torch.no_grad():
        before, after = network.attend(image)[0], network.attend(other)[0]
    assert not torch.equal(before[..., :3, :3], after[..., :3, :3])
    torch.testing.assert_close(before[..., 3:, :], after[..., 3:, :])


def test_it_branches_as_its_network_does() -> None:
    network = made().eval()
    image = torch.randn(1, 6, 9, 9)
    with torch.no_grad():
        features = network.encode(image)
        torch.testing.assert_close(network.decode(features, (9, 9)), network(image))
        assert network.branch()(features, (9, 9)).shape == (1, 3, 9, 9)


def test_neighbours_as_channels_need_nothing_before_the_backbone() -> None:
    network = build_for_plan(plan(neighbours="channels"), "unet", **UNET)
    assert not isinstance(network, SliceAttention)
    assert network(torch.randn(1, 6, 8, 8)).shape == (1, 3, 8, 8)
