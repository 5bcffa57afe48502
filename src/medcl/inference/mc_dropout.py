"""Monte Carlo dropout: several answers of one network whose dropout stays on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from medcl.errors import SettingsError
from medcl.inference.sliding import Network


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers that drop anything."""
    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


def with_dropout(network: nn.Module, device: torch.device, *, count: int, seed: int, name: str) -> list[Network]:
    """Return networks that answer with dropout on, each with randomness of its own.

    Source: Gal and Ghahramani (Dropout as a Bayesian Approximation, ICML 2016): passes with dropout are draws from an
    approximate posterior of the weights. Batch normalisation keeps its stored statistics. They run in torch: other
    engines fold dropout away.

    Args:
        network: Module in eval mode; it stays as it is.
        device: Where to run.
        count: Number of networks.
        seed: Seed; the same one gives the same answers to the same calls in the same order.
        name: Name of the backbone, for the message.

    Raises:
        SettingsError: The network has no dropout.
    """
    if not dropout_layers(network):
        raise SettingsError(
            f"mc-dropout: expected dropout layers in the network, but this model's {name} has none; train with "
            "--set backbone.dropout=0.1 where the backbone has that setting (unet), or use tta, checkpoints or runs."
        )
    noisy = copy.deepcopy(network).to(device).eval()
    for layer in dropout_layers(noisy):
        layer.train()
    return [_Draw(noisy, device, seed * 1_000_003 + number) for number in range(count)]


class _Draw:
    """One draw: calls with numbers 0, 1, ... have seeds of their own and leave torch's own randomness alone."""

    def __init__(self, network: nn.Module, device: torch.device, seed: int) -> None:
        self.network, self.device, self.seed, self.calls = network, device, seed, 0

    def __call__(self, batch: Tensor) -> Tensor:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(self.seed * 65_537 + self.calls)
            self.calls += 1
            return self.network(batch.to(self.device))
