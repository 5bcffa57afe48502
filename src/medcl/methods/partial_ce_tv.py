"""Partial cross-entropy and smooth class maps."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.total_variation import total_variation
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-tv")
class PartialCETotalVariation(Regularised):
    """Total variation of the class maps (Javanmardi et al., arXiv 1605.01368, 2016)."""

    weight: float = Field(0.1, ge=0, description="Weight of the total variation once it is fully grown.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the total variation of the class maps."""
        return {"total_variation": total_variation(logits.softmax(dim=1))}
