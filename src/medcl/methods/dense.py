"""Dense supervision: cross-entropy and Dice on whole label maps, the upper bound for every stroke method."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from medcl.batch import Batch
from medcl.losses.partial import labelled_dice, partial_cross_entropy
from medcl.methods import Losses, Network, methods
from medcl.settings import Settings


@methods.register("dense")
class Dense(Settings):
    """Cross-entropy + Dice (Isensee et al., Nature Methods 2021); pixels without annotation still count for nothing."""

    from_labels: ClassVar[bool] = True

    ce_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy.")
    dice_weight: float = Field(1.0, ge=0, description="Weight of the Dice loss.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return cross-entropy and Dice of the batch."""
        logits = network(batch.image)
        return {
            "ce": self.ce_weight * partial_cross_entropy(logits, batch.target),
            "dice": self.dice_weight * labelled_dice(logits.float().softmax(dim=1), batch.target),
        }
