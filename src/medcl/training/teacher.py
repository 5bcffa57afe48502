"""The averaged weights of a training, and what they say about a batch while the training runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medcl.training.schedule import averaging_decay


def averaged_copy(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy that follows the network as an exponential moving average, with a short memory at the start."""

    def update(averaged: Any, current: Any, count: Any) -> None:
        keep = averaging_decay(int(count), decay)
        moved = [(a, c) for a, c in zip(averaged, current, strict=True) if a.data_ptr() != c.data_ptr()]
        if moved:
            torch._foreach_lerp_([a for a, _ in moved], [c for _, c in moved], 1 - keep)

    model = AveragedModel(network, multi_avg_fn=update, use_buffers=False)
    for own, source in zip(model.module.parameters(), network.parameters(), strict=True):
        if not source.requires_grad:
            own.data = source.data  # frozen numbers are held and averaged once
    model.requires_grad_(False)
    model.eval()
    return model


class Teacher:
    """Logits of the averaged weights, without gradient; see `medcl.methods.Teacher`.

    The running statistics of averaged weights are those of the random start until validation measures them, so batch
    normalisation uses the batch at hand, as the network in training does. No buffer changes.

    Args:
        network: The averaged network, in eval mode.
        forward: Calls it: (N, channels, *S) -> logits.
    """

    def __init__(self, network: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        self.network, self.forward = network, forward

    @torch.no_grad()
    def __call__(self, image: Tensor, *, dropout: bool = False) -> Tensor:
        """Return logits (N, C, *S) of images (N, channels, *S)."""
        with _batch_statistics(self.network, dropout=dropout):
            return self.forward(image)


@contextmanager
def _batch_statistics(network: nn.Module, *, dropout: bool) -> Iterator[None]:
    """Let batch normalisation use the batch and leave its buffers alone; dropout acts if asked for."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    dropouts = [m for m in network.modules() if dropout and isinstance(m, nn.modules.dropout._DropoutNd)]
    try:
        for layer in norms:
            # In training without tracking, the layer neither reads nor writes its running statistics.
            layer.training, layer.track_running_stats = True, False
        for drop in dropouts:
            drop.training = True
        yield
    finally:
        for layer in norms:
            layer.training, layer.track_running_stats = False, True
        for drop in dropouts:
            drop.training = False
