"""Pseudo labels by random walks from the strokes."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.partial import labelled_dice, partial_cross_entropy
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised
from medcl.scribbles.random_walker import Walk


@methods.register("random-walker")
class RandomWalker(Regularised):
    """Cross-entropy and Dice on random-walker labels (Grady, IEEE PAMI 2006) where the walker is sure."""

    weight: float = Field(1.0, ge=0, description="Weight of the pseudo labels once they are fully grown.")
    dice_weight: float = Field(1.0, ge=0, description="Weight of the Dice on pseudo labels against their CE.")
    walk: Walk = Field(Walk(), description="How the labels are made.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return cross-entropy and Dice on strokes and pseudo labels together."""
        assert batch.grown is not None  # `walk` asks for it
        pseudo = batch.target + batch.grown
        losses = {"pseudo_ce": partial_cross_entropy(logits, pseudo)}
        if self.dice_weight:
            losses["pseudo_dice"] = self.dice_weight * labelled_dice(logits.softmax(dim=1), pseudo)
        return losses
