"""Two decoders on one encoder: what a method gets, and what it cannot have."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from medcl.backbones import build_backbone
from medcl.batch import Batch
from medcl.errors import SettingsError
from medcl.methods import Losses, Network, Task
from medcl.settings import BudgetSettings, Settings, TrainSettings
from medcl.training.configure import RunConfig, _check_needs, configure
from medcl.training.module import TrainingModule
from medcl.training.schedule import Clock


class Twins(Settings):
    """A method that wants two decoders."""

    branches: ClassVar[int] = 2

    def step(self, batch: Batch, network: Network) -> Losses:
        first, second = network.both(batch.image)
        return {"agree": (first - second).square().mean()}


class Plain(Settings):
    """A backbone that cannot be taken apart."""


def picture(*size: int) -> Tensor:
    return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0))


def module_for(ndim: int, **options: Any) -> TrainingModule:
    torch.manual_seed(0)
    network = build_backbone("unet", in_channels=2, classes=3, ndim=ndim, base=4, levels=3, **options)
    return TrainingModule(
        network,
        Twins(),
        Task(3, (), ndim),
        TrainSettings(),
        patch=(8,) * ndim,
        clock=Clock(BudgetSettings(steps=10)),
        channels_last=False,
    )


@pytest.mark.parametrize("size", [(13, 18), (5, 13, 10)], ids=["2d", "3d"])
def test_the_main_branch_is_the_network_and_the_second_has_weights_of_its_own(size: tuple[int, ...]) -> None:
    module, image = module_for(len(size)), picture(*size)
    handle = module._handle(torch.Generator())
    first, second = handle.both(image)
    assert first.shape == second.shape == (3, 3, *size)
    torch.testing.assert_close(first, handle(image))
    assert not torch.allclose(first, second)
    decoder = {k: v for k, v in module.network.state_dict().items() if not k.startswith("encoder")}
    other = module.branch.state_dict()
    assert {k: v.shape for k, v in decoder.items()} == {k: v.shape for k, v in other.items()}
    module.branch.load_state_dict(decoder)
    torch.testing.assert_close(*handle.both(image))


def test_both_decoders_and_the_encoder_learn() -> None:
    module = module_for(2)
    first, second = module._handle(torch.Generator()).both(picture(8, 8))
    (first - second).square().mean().backward()
    trained = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    for part in (module.network, module.branch):
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert id(parameter) in trained, key
    assert module.branch.head.weight.grad.abs().sum() > 0


def test_dropped_channels_are_seen_by_the_second_decoder_alone() -> None:
    seen: list[list[Tensor]] = []

    def decoder(features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        seen.append(features)
        return features[0]

    def network(seed: int) -> Network:
        return Network(
            forward=nn.Identity(),
            task=Task(3, (), 2),
            extra=None,
            generator=torch.Generator().manual_seed(seed),
            encode=lambda image: [torch.ones(50, 40, 2, 3), torch.ones(50, 80, 1, 1)],
            decoders=(decoder, decoder),
        )

    network(0).both(picture(4, 4), dropout=0.25)
    plain, dropped = seen
    assert all((f == 1).all() for f in plain)
    for features in dropped:
        channels = features.flatten(2)
        assert (channels == channels[..., :1]).all(), "whole channels"
        assert channels.unique().tolist() == pytest.approx([0, 4 / 3])
        assert (channels[..., 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
        assert channels.mean().item() == pytest.approx(1.0, abs=0.05)
    network(0).both(picture(4, 4), dropout=0.25)
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[3], strict=True)), "the step's generator decides"
    network(1).both(picture(4, 4), dropout=0.0)
    assert all((f == 1).all() for f in seen[5])


def test_a_second_branch_that_was_not_asked_for_says_so() -> None:
    handle = Network(nn.Identity(), Task(3, (), 2), None, torch.Generator())
    with pytest.raises(SettingsError, match="expected a method with `branches = 2`"):
        handle.both(picture(4, 4))


def test_a_backbone_without_branches_is_one_clear_sentence() -> None:
    base = configure({})
    config = RunConfig("twins", Twins(), "plain", Plain(), base.train)
    with pytest.raises(SettingsError, match=r"method 'twins': expected a backbone .*unet.*, got 'plain'"):
        _check_needs(config)
