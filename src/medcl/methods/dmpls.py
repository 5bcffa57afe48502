"""Two decoders that teach each other by pseudo labels mixed from both."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from medcl.batch import Batch
from medcl.losses.partial import labelled_dice, partial_cross_entropy
from medcl.losses.pseudo import hard_labels
from medcl.methods import Losses, Network, methods
from medcl.methods.regularised import Growing


@methods.register("dmpls")
class DMPLS(Growing):
    """Dual branches with dynamically mixed pseudo labels (Luo et al., MICCAI 2022, eq. 1 to 4).

    Both decoders learn from strokes, and by Dice from argmax(b p1 + (1 - b) p2) on all pixels, b drawn anew each step.
    """

    branches: ClassVar[int] = 2

    ce_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy on strokes, mean of both decoders.")
    weight: float = Field(0.5, ge=0, description="Weight of the Dice on pseudo labels once it is fully grown.")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Share of the feature channels that the second decoder does not see."
    )

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy and, from `start` on, the Dice on pseudo labels, each the mean of both."""
        both = network.both(batch.image, dropout=self.dropout)
        strokes = torch.stack([partial_cross_entropy(logits, batch.target) for logits in both])
        losses = {"partial_ce": self.ce_weight * strokes.mean()}
        strength = self.strength(network)
        if strength:
            first, second = (logits.float().softmax(dim=1) for logits in both)
            share = float(torch.rand((), generator=network.generator))
            pseudo = hard_labels((share * first + (1 - share) * second).detach())
            losses["pseudo_dice"] = strength * (labelled_dice(first, pseudo) + labelled_dice(second, pseudo)) / 2
        return losses
