"""Every way of learning takes its step on a SAM, and what is trained of the network learns from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from medcl.backbones import build_backbone
from medcl.methods import branches_of, methods, needs_latent

NAMES = [name for name in methods.names() if not needs_latent(methods.get(name)())]  # SAM has no latent space


@pytest.fixture(scope="module")
def sam() -> torch.nn.Module:
    pytest.importorskip("transformers", reason="the extra sam is not installed")
    torch.manual_seed(0)
    return build_backbone("sam", in_channels=1, classes=3, ndim=2, size="tiny", input_size=32, tune="lora")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_on_a_sam(name: str, sam: torch.nn.Module, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial(name, groups=((1, 2),))
    trial.network = sam
    trial.branch = sam.branch() if branches_of(trial.method) == 2 else None
    sam.zero_grad()
    losses = trial.step(batch_for(trial, 2, (19, 24)))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for key, parameter in sam.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            if "lora_A" not in key:  # its partner is zero at the start
                assert parameter.grad.abs().sum() > 0, key
