"""Positive-unlabelled learning: class ratios say how many unlabelled pixels are no part of a structure."""

from __future__ import annotations

from pydantic import Field

from medcl.augment.mix import random_boxes
from medcl.batch import Batch
from medcl.losses.consistency import pixel_consistency
from medcl.losses.partial import partial_cross_entropy
from medcl.losses.unlabelled_ratio import negative_loss, ruled_out
from medcl.methods import Losses, Network, methods
from medcl.methods.regularised import Growing


@methods.register("shapepu")
class ShapePU(Growing):
    """Strokes, negative labels from class ratios, and shapes that survive a hole (Zhang and Zhuang, MICCAI 2022)."""

    weight: float = Field(1.0, ge=0, description="Weight of the negative labels once they are fully grown.")
    start: float = Field(0.2, ge=0, lt=1, description="Share of the budget spent without negative labels.")
    ramp: float = Field(0.1, ge=0, le=1, description="Share of the budget over which they then grow.")
    shape_weight: float = Field(0.05, ge=0, description="Weight of the agreement with the image that has a hole.")
    hole: float = Field(0.15, gt=0, lt=1, description="Side of the hole, share of the image's.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy, the agreement and, from `start` on, the negative loss."""
        logits = network(batch.image)
        losses = {"partial_ce": self.ce_weight * partial_cross_entropy(logits, batch.target)}
        probabilities = logits.float().softmax(dim=1)
        strength = self.strength(network)
        if strength:
            losses["negative"] = strength * negative_loss(probabilities, ruled_out(probabilities, batch.target))
        if self.shape_weight:
            count, size = batch.image.shape[0], tuple(batch.image.shape[2:])
            kept = 1 - random_boxes(count, size, (self.hole, self.hole), network.generator).to(batch.image.device)
            holed = network(batch.image * kept).float().softmax(dim=1)
            losses["shape"] = self.shape_weight * pixel_consistency(probabilities, holed, kept)
        return losses
