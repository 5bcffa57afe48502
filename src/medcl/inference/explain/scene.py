"""One input of the network with the question that is asked of it, on the plan's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medcl.inference.sliding import Network

Box = tuple[tuple[int, int], ...]
"""First and one past the last place along each axis of a grid."""


@dataclass
class Scene:
    """What the network is shown, and which answer is explained.

    Attributes:
        image: (channels, *S) float32, prepared and padded to what the network takes.
        asked: (*S) bool: the pixels that the network gives to the class, at least one.
        index: The class.
        region: Where covers are tried.
        spacing_mm: Of the axes of S.
        network: (N, channels, *S) -> logits; an engine, or a module in eval mode.
        module: The module itself, for gradients.
        batch_size: Images at a time.
        passes: Images that went through the network so far.
    """

    image: Tensor
    asked: Tensor
    index: int
    region: Box
    spacing_mm: tuple[float, ...]
    network: Network
    module: nn.Module
    batch_size: int = 16
    passes: int = 0

    @property
    def size(self) -> tuple[int, ...]:
        """S."""
        return tuple(self.image.shape[1:])

    @property
    def part(self) -> tuple[slice, ...]:
        """The region as slices of S."""
        return tuple(slice(low, high) for low, high in self.region)

    def score(self, images: Tensor) -> Tensor:
        """Return how much of the answer is left in images: the mean probability of the class over the asked pixels.

        Args:
            images: (N, channels, *S).

        Returns:
            (N,) in 0..1, on the CPU.
        """
        found = []
        box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in torch.where(self.asked))
        asked = self.asked[box]
        with torch.inference_mode():
            for batch in images.split(self.batch_size):
                logits = self.network(batch.contiguous())[(slice(None), slice(None), *box)]
                shares = torch.softmax(logits.float(), dim=1)[:, self.index].cpu()
                found.append(shares[:, asked].mean(dim=1))
                self.passes += batch.shape[0]
        return torch.cat(found)


def box_around(mask: np.ndarray, margin: Sequence[int]) -> Box:
    """Return the box of a mask with a margin along each axis, cut at the border of the grid.

    Args:
        mask: (*S) bool with at least one True.
        margin: Places to add on each side.
    """
    box = []
    for axis, (extra, length) in enumerate(zip(margin, mask.shape, strict=True)):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        where = np.flatnonzero(mask.any(axis=others))
        box.append((max(0, int(where[0]) - extra), min(length, int(where[-1]) + 1 + extra)))
    return tuple(box)


def cells(length_mm: float, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return a length in places along each axis, at least one."""
    return tuple(max(1, round(length_mm / spacing)) for spacing in spacing_mm)
