"""Uncertainty-aware mean teacher whose predictions follow when the image is turned."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from medcl.augment.turn import random_angles, turn
from medcl.batch import Batch
from medcl.losses.partial import partial_cross_entropy
from medcl.losses.pseudo import certainty_limit, entropy_map, trusted_distance
from medcl.methods import Losses, Network, methods
from medcl.methods.regularised import Growing


@methods.register("ustm")
class USTM(Growing):
    """Partial cross-entropy, and agreement with a teacher where it is certain (Liu et al., Pattern Recognition 2022).

    The teacher sees the turned image `passes` times with noise; the student's prediction is turned after the fact and
    drawn to the mean of what the teacher says, where the entropy of that mean is low.
    """

    weight: float = Field(0.5, ge=0, description="Weight of the distance to the teacher once it is fully grown.")
    ramp: float = Field(1.0, ge=0, le=1, description="Share of the budget over which the distance then grows.")
    teacher_decay: float | None = Field(
        None, gt=0, lt=1, description="Averaging decay of the teacher per step; default: that of the run (optim.ema)."
    )
    passes: int = Field(4, ge=1, description="Noisy passes of the teacher per step.")
    noise: float = Field(0.1, ge=0, description="Standard deviation of that noise, cut off at twice its value.")
    rotation_degrees: float = Field(30.0, ge=0, le=180, description="Largest turn of the image, either way.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the partial cross-entropy and, from `start` on, the distance to the teacher."""
        logits = network(batch.image)
        losses = {"partial_ce": self.ce_weight * partial_cross_entropy(logits, batch.target)}
        strength = self.strength(network)
        if strength:
            angles = random_angles(batch.image.shape[0], self.rotation_degrees, network.generator)
            mean = self._teacher_mean(turn(batch.image, angles), network)
            inside = (
                turn(torch.ones_like(batch.image[:, :1]), angles) > 0.999
            )  # nothing is known about what was not seen
            trusted = inside & (entropy_map(mean) < certainty_limit(network.progress))
            student = turn(logits.float().softmax(dim=1), angles)
            losses["consistency"] = strength * trusted_distance(student, mean, trusted)
        return losses

    def _teacher_mean(self, image: Tensor, network: Network) -> Tensor:
        assert network.teacher is not None  # `teacher_decay` asks for one
        total = torch.zeros(())
        for _ in range(self.passes):
            noise = torch.randn(image.shape, generator=network.generator) * self.noise
            noisy = image + noise.clamp(-2 * self.noise, 2 * self.noise).to(image.device)
            total = total.to(image.device) + network.teacher(noisy, dropout=True).float().softmax(dim=1)
        return total / self.passes
