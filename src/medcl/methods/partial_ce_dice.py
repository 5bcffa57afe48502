"""Partial cross-entropy and partial Dice, as nnU-Net learns with an ignore label."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.partial import labelled_dice
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-dice")
class PartialCEDice(Regularised):
    """Dice on annotated pixels beside the cross-entropy (Gotkowski et al., arXiv 2403.12834, 2024)."""

    weight: float = Field(1.0, ge=0, description="Weight of the Dice loss once it is fully grown.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the Dice loss on annotated pixels."""
        return {"dice": labelled_dice(logits.softmax(dim=1), batch.target)}
