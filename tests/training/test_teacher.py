"""The teacher: averaged weights that judge a batch by the batch's own statistics and leave no trace."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

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
from medcl.training.teacher import Teacher, averaged_copy


def unet(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("unet", in_channels=1, classes=3, ndim=2, base=4, levels=3, **options)


def picture(seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(4, 1, 16, 20, generator=torch.Generator().manual_seed(seed)) * 3 + shift


class Pupil(Settings):
    """A method with a teacher of its own decay."""

    teacher_decay: float | None = 0.5

    def step(self, batch: Batch, network: Network) -> Losses:
        return {"loss": network(batch.image).square().mean()}


def module_with(method: Any, network: nn.Module, **optim: Any) -> TrainingModule:
    settings = TrainSettings.parse({"optim": optim, "augment": {"rotation_degrees": 0, "flip": False}})
    clock = Clock(BudgetSettings(steps=10))
    return TrainingModule(network, method, Task(3, (), 2), settings, patch=(16, 20), clock=clock, channels_last=False)


def test_the_teacher_sees_the_batch_as_a_network_in_training_does() -> None:
    network = unet(dropout=0.5)
    averaged = averaged_copy(network, 0.9)
    for seed in range(3):
        network.train()(picture(seed))
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)))
        averaged.update_parameters(network)
    before = copy.deepcopy(averaged.state_dict())
    teacher = Teacher(averaged.module, averaged.module)
    image = picture(9, shift=2.0)
    logits = teacher(image)
    assert not logits.requires_grad

    judge = unet()  # dropout off, batch normalisation in training mode
    judge.load_state_dict(averaged.module.state_dict())
    torch.testing.assert_close(logits, judge.train()(image), rtol=1e-5, atol=1e-6)

    stale = averaged.module(image)  # running statistics of the random start
    assert (stale - logits).abs().mean() > 0.1 * logits.std()
    assert all(torch.equal(value, before[key]) for key, value in averaged.state_dict().items()), "nothing is changed"
    assert not any(m.training for m in averaged.modules())
    norms = [m for m in averaged.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(m.track_running_stats for m in norms)


def test_dropout_acts_only_where_it_is_asked_for() -> None:
    network = averaged_copy(unet(dropout=0.5), 0.9).module
    teacher, image = Teacher(network, network), picture(0)
    assert torch.equal(teacher(image), teacher(image))
    assert not torch.equal(teacher(image, dropout=True), teacher(image, dropout=True))
    torch.manual_seed(3)
    first = teacher(image, dropout=True)
    torch.manual_seed(3)
    assert torch.equal(first, teacher(image, dropout=True))
    assert not any(m.training for m in network.modules())


def test_a_failing_pass_leaves_the_network_as_it_was() -> None:
    network = averaged_copy(unet(), 0.9).module

    def fails(image: Tensor) -> Tensor:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        Teacher(network, fails)(picture(0))
    assert not any(m.training for m in network.modules())
    assert all(m.track_running_stats for m in network.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_teacher_of_its_own_decay_follows_beside_the_averaged_weights() -> None:
    network = unet(norm="group")
    module = module_with(Pupil(), network, ema=0.9)
    start = network.head.weight.detach().clone()
    moves = [torch.full_like(start, value) for value in (1.0, 2.0, 4.0)]
    for move in moves:
        with torch.no_grad():
            network.head.weight.copy_(move)
        for follower in (module.averaged, module.own_teacher):
            follower.update_parameters(network)
    # The first update copies; then weight k keeps min(decay, (1 + k) / (10 + k)): 2/11 and 3/12 here.
    expected = 4 + 3 / 12 * ((2 + 2 / 11 * (1 - 2)) - 4)
    for follower in (module.averaged, module.own_teacher):
        torch.testing.assert_close(follower.module.head.weight, torch.full_like(start, expected))
    handle = module._handle(torch.Generator())
    assert handle.teacher.network is module.own_teacher.module
    assert module.final_network().head.weight.mean() == pytest.approx(expected)


def test_one_copy_serves_both_where_the_decays_agree() -> None:
    for wish, ema, own in ((0.9, 0.9, False), (None, 0.9, False), (0.5, 0.9, True), (0.5, 0.0, True)):
        module = module_with(Pupil(teacher_decay=wish), unet(), ema=ema)
        assert (module.own_teacher is not None) == own
        assert (module.averaged is not None) == bool(ema)
        assert module._handle(torch.Generator()).teacher is not None
    without = module_with(SimpleNamespace(step=None), unet(), ema=0.0)
    assert without._handle(torch.Generator()).teacher is None


def test_a_teacher_without_averaging_is_one_clear_sentence() -> None:
    base = configure({"optim": {"ema": 0}})
    config = RunConfig("pupil", Pupil(teacher_decay=None), "unet", base.backbone, base.train)
    with pytest.raises(SettingsError, match=r"method 'pupil': expected averaged weights .* set method\.teacher_decay"):
        _check_needs(config)


def test_frozen_numbers_are_held_once_and_stay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    averaged = averaged_copy(network, 0.5)
    frozen, trained = averaged.module[0].weight, averaged.module[1].weight
    assert frozen.data_ptr() == network[0].weight.data_ptr()
    assert trained.data_ptr() != network[1].weight.data_ptr()
    before = frozen.clone()
    averaged.update_parameters(network)
    with torch.no_grad():
        network[1].weight.add_(1.0)
    averaged.update_parameters(network)
    assert torch.equal(frozen, before)
    assert not torch.equal(trained, network[1].weight)
