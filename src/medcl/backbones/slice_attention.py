"""Attention over neighbouring slices, before any 2D backbone: each pixel weighs what the slices around it show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEATURES = 8
"""Features per slice and pixel that the attention compares and sums."""


class SliceAttention(nn.Module):
    """Lets the slice to segment look at its neighbours, then hands both to a 2D network.

    The same two 3 x 3 convolutions describe each slice. At each pixel the middle slice asks (query) and all slices
    answer (key, value): softmax over slices of q . k / sqrt(FEATURES) weighs the values. The network reads the middle
    slice and the weighed sum, so that a neighbour that shows something else, as thick slices do, can be left aside.

    Source: the middle slice that attends to its neighbours is CSA-Net's idea (Kumar et al., Computers in Biology and
    Medicine 2024), whose attention compares all pixels of coarse features. Attention per pixel, before the network, is
    derived: its cost grows with the number of pixels only and it goes with every backbone.

    Args:
        network: (N, channels + FEATURES, Y, X) -> logits.
        channels: Channels of one slice.
        context: Neighbours on each side.
    """

    def __init__(self, network: nn.Module, *, channels: int, context: int) -> None:
        super().__init__()
        self.network, self.channels, self.context = network, channels, context
        self.describe = nn.Sequential(
            nn.Conv2d(channels, FEATURES, 3, padding=1, bias=False),
            nn.BatchNorm2d(FEATURES),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(FEATURES, FEATURES, 3, padding=1),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.query = nn.Conv2d(FEATURES, FEATURES, 1)
        # A bias of the keys would change all slices alike, which softmax does not see; `place` tells them apart.
        self.key = nn.Conv2d(FEATURES, FEATURES, 1, bias=False)
        self.value = nn.Conv2d(FEATURES, FEATURES, 1)
        self.place = nn.Parameter(torch.zeros(2 * context + 1))

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, slices * channels, Y, X) to what the network reads and to the weights (N, slices, Y, X)."""
        slices = image.split(self.channels, dim=1)
        # all slices in one batch: one set of batch statistics, and one call
        described = self.describe(torch.cat(slices))
        apart = (len(slices), -1, FEATURES, *described.shape[-2:])
        keys, values = self.key(described).reshape(apart), self.value(described).reshape(apart)
        asked = self.query(described.reshape(apart)[self.context])
        scores = (asked * keys).sum(dim=2) / FEATURES**0.5 + self.place[:, None, None, None]
        weights = scores.softmax(dim=0)
        total = (weights[:, :, None] * values).sum(dim=0)
        return torch.cat((slices[self.context], total.to(image.dtype)), dim=1), weights.movedim(0, 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, slices * channels, Y, X) to the network's features; see `medcl.backbones.Branching`."""
        features: list[Tensor] = self.network.encode(self.attend(image)[0])  # type: ignore[operator]
        return features

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the network's features to logits (N, classes, *size)."""
        logits: Tensor = self.network.decode(features, size)  # type: ignore[operator]
        return logits

    def branch(self) -> nn.Module:
        """Return a further decoder of the network with fresh weights."""
        further: nn.Module = self.network.branch()  # type: ignore[operator]
        return further

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, slices * channels, Y, X) to logits (N, classes, Y, X)."""
        logits: Tensor = self.network(self.attend(image)[0])
        return logits
