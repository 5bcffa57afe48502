"""Partial cross-entropy: the plainest way to learn from strokes."""

from __future__ import annotations

from pydantic import Field

from medcl.batch import Batch
from medcl.losses.partial import partial_cross_entropy
from medcl.methods import Losses, Network, methods
from medcl.settings import Settings


@methods.register("partial-ce")
class PartialCrossEntropy(Settings):
    """Cross-entropy on stroked pixels only (Tang et al., CVPR 2018, eq. 1)."""

    weight: float = Field(1.0, ge=0, description="Weight of the term.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy of the batch."""
        return {"partial_ce": self.weight * partial_cross_entropy(network(batch.image), batch.target)}
