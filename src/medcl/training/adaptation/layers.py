"""Which numbers of a network adaptation may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from medcl.errors import SettingsError
from medcl.training.validation import refresh_statistics

BATCH = (nn.modules.batchnorm._BatchNorm,)
NORMS = (*BATCH, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def choose_parameters(network: nn.Module, which: str) -> list[nn.Parameter]:
    """Return what learns, and freeze everything else.

    Source of "norm": Wang et al., Tent, ICLR 2021: scale and shift of the normalisation layers alone.

    Args:
        network: Changed in place (`requires_grad`).
        which: "norm", "all" or "none".

    Raises:
        SettingsError: No normalisation layer has a scale and shift.
    """
    network.requires_grad_(False)
    if which == "none":
        return []
    if which == "all":
        chosen = list(network.parameters())
    else:
        layers = [module for module in network.modules() if isinstance(module, NORMS)]
        chosen = [parameter for layer in layers for parameter in layer.parameters(recurse=False)]
        if not chosen:
            raise SettingsError(
                "parameters 'norm': expected normalisation layers with scale and shift, the network has none; "
                "use parameters=all."
            )
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


class BatchStatistics:
    """Running statistics of batch normalisation: those of the model, and those of new images, measured once.

    Source: Li et al., Revisiting Batch Normalization for Practical Domain Adaptation, 2016, takes the new ones;
    Schneider et al., NeurIPS 2020, mix as here: (1 - share) source + share target.

    Args:
        network: In eval mode afterwards, with its own statistics.
        forward: Calls the network without gradient.
        images: Batches (N, channels, *S).
    """

    def __init__(self, network: nn.Module, forward: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> None:
        self._layers = [m for m in network.modules() if isinstance(m, BATCH) and m.running_mean is not None]
        self._old = self._copies()
        if self._layers:
            refresh_statistics(network, forward, images)
        self._new = self._copies()
        self.mix(0.0)

    def __bool__(self) -> bool:
        """Whether the network has any."""
        return bool(self._layers)

    def mix(self, share: float) -> None:
        """Give the network its statistics with a share of those of the new images, 0..1."""
        with torch.no_grad():
            for layer, old, new in zip(self._layers, self._old, self._new, strict=True):
                for buffer, before, after in zip(_buffers(layer), old, new, strict=True):
                    buffer.copy_(torch.lerp(before, after, share))

    def _copies(self) -> list[tuple[Tensor, ...]]:
        return [tuple(buffer.clone() for buffer in _buffers(layer)) for layer in self._layers]


def _buffers(layer: nn.Module) -> tuple[Tensor, Tensor]:
    mean, variance = layer.running_mean, layer.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    return mean, variance
