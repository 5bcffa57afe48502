"""What stroke losses with a regulariser share: cross-entropy on strokes, and terms that start late and grow."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.partial import partial_cross_entropy
from medcl.methods import Losses, Network
from medcl.settings import Settings


class Growing(Settings):
    """Options of a method with cross-entropy on strokes and other terms that set in later."""

    ce_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy on strokes.")
    weight: float = Field(0.1, ge=0, description="Weight of the other terms once they are fully grown.")
    start: float = Field(0.0, ge=0, lt=1, description="Share of the budget spent on strokes alone.")
    ramp: float = Field(0.0, ge=0, le=1, description="Share of the budget over which the terms then grow.")

    def strength(self, network: Network) -> float:
        """Return the weight of the other terms at this moment, 0 before `start`."""
        return self.weight * grown(network.progress, start=self.start, ramp=self.ramp)


class Regularised(Growing, ABC):
    """Partial cross-entropy plus the terms that a method names in `terms`; a method of this kind is only its terms."""

    @abstractmethod
    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the named terms besides the cross-entropy, before their weight.

        Args:
            batch: Images and strokes.
            logits: (N, C, *S) float32 of the batch's images.
        """

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy and, from `start` on, the weighted terms."""
        logits = network(batch.image)
        losses = {"partial_ce": self.ce_weight * partial_cross_entropy(logits, batch.target)}
        strength = self.strength(network)
        if strength:
            with torch.autocast(logits.device.type, enabled=False):
                terms = self.terms(batch, logits.float())
            losses |= {name: strength * term for name, term in terms.items()}
        return losses


def grown(progress: float, *, start: float, ramp: float) -> float:
    """Return 0 before `start`, then a straight line to 1 at `start + ramp`; all three are shares of the budget."""
    if progress < start:
        return 0.0
    return min(1.0, (progress - start) / ramp) if ramp else 1.0
