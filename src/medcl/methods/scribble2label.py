"""Pseudo labels from predictions averaged over time."""

from __future__ import annotations

import torch
from pydantic import Field

from medcl.batch import Batch
from medcl.losses.partial import partial_cross_entropy
from medcl.losses.pseudo import reliable_labels
from medcl.methods import Losses, Network, methods
from medcl.methods.regularised import Growing


@methods.register("scribble2label")
class Scribble2Label(Growing):
    """Cross-entropy on strokes and on pixels whose averaged prediction is sure (Lee and Jeong, MICCAI 2020).

    The paper keeps one averaged map per training image, y <- a p + (1 - a) y, and adds a prediction every few epochs.
    Here the teacher stands for the memory: y = a p + (1 - a) p_teacher, with p of this very step. That needs no map per
    image (memory and checkpoints stay small, and patches may be warped at will), and a pixel on which the network has
    changed its mind still falls below the threshold; but y is smoother in time than single predictions averaged.
    """

    weight: float = Field(0.5, ge=0, description="Weight of the cross-entropy on pseudo labels once it is fully grown.")
    start: float = Field(0.1, ge=0, lt=1, description="Share of the budget spent on strokes alone.")
    teacher_decay: float | None = Field(
        None, gt=0, lt=1, description="Averaging decay of the teacher per step; default: that of the run (optim.ema)."
    )
    alpha: float = Field(0.2, ge=0, le=1, description="Share of this step's prediction in the averaged one.")
    threshold: float = Field(0.8, ge=0, lt=1, description="Smallest averaged probability of a pseudo label.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy and, from `start` on, that on pseudo labels."""
        logits = network(batch.image)
        losses = {"partial_ce": self.ce_weight * partial_cross_entropy(logits, batch.target)}
        strength = self.strength(network)
        if strength:
            assert network.teacher is not None  # `teacher_decay` asks for one
            with torch.no_grad():
                memory = network.teacher(batch.image).float().softmax(dim=1)
                averaged = self.alpha * logits.float().softmax(dim=1) + (1 - self.alpha) * memory
                pseudo = reliable_labels(averaged, batch.target, self.threshold)
            losses["pseudo_ce"] = strength * partial_cross_entropy(logits, pseudo)
        return losses
