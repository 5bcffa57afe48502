"""Partial cross-entropy and confident predictions off the strokes."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.entropy import unlabelled_entropy
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-entropy")
class PartialCEEntropy(Regularised):
    """Entropy minimisation where nothing is annotated (Grandvalet and Bengio, NIPS 2004)."""

    weight: float = Field(0.1, ge=0, description="Weight of the entropy once it is fully grown.")
    start: float = Field(0.2, ge=0, lt=1, description="Share of the budget spent on strokes alone.")
    ramp: float = Field(0.3, ge=0, le=1, description="Share of the budget over which the entropy then grows.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the entropy of the pixels without annotation."""
        return {"entropy": unlabelled_entropy(logits, batch.target)}
