"""Learn a distribution of masks from several people's: Probabilistic U-Net, and the distances of PULASki."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones.latent import Gaussian
from medcl.backbones.layers import CONV, start_convolutions
from medcl.batch import Batch
from medcl.errors import SettingsError
from medcl.losses.distances import DISTANCES, mask_distances
from medcl.losses.partial import labelled_dice, partial_cross_entropy
from medcl.methods import Losses, Network, Task, methods
from medcl.settings import Settings


@methods.register("probabilistic-unet")
class Probabilistic(Settings):
    """Probabilistic U-Net (Kohl et al., NeurIPS 2018) with a distance between sampled and drawn masks (PULASki).

    A posterior, which sees the annotation, finds the latent point from which the network explains it; the prior, which
    sees the image alone, learns to find such points. The distance compares masks sampled from the prior with those of
    all raters (Chatterjee et al., Medical Image Analysis 2025). With `medcl train --set raters=sampled` each draw shows
    the posterior one person's map, and the distance all of them.
    """

    from_labels: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    wants_raters: ClassVar[bool] = True
    default_backbone: ClassVar[str] = "probabilistic-unet"

    ce_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy of the mask at the posterior's point.")
    dice_weight: float = Field(1.0, ge=0, description="Weight of the Dice loss of that mask.")
    beta: float = Field(0.01, ge=0, description="Weight of the divergence of the posterior from the prior.")
    distance: Literal["none", "energy", "sinkhorn", "hausdorff", "kernel"] = Field(
        "energy", description="Statistical distance between sampled and drawn masks; none: Kohl's method."
    )
    distance_weight: float = Field(1.0, ge=0, description="Weight of the statistical distance.")
    samples: int = Field(6, ge=2, le=64, description="Masks drawn from the prior for the distance.")
    width: int = Field(8, ge=2, description="Channels of the posterior's first level.")

    def modules(self, task: Task) -> nn.Module:
        """Return the posterior; it is needed for training alone."""
        return Posterior(task, self.width)

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return reconstruction, divergence and statistical distance of the batch; terms of weight 0 are absent."""
        if network.latent is None or network.extra is None:
            raise SettingsError(
                "method 'probabilistic-unet': expected a backbone with a latent space; use backbone=probabilistic-unet."
            )
        features, prior = network.latent.describe(batch.image)
        posterior = network.extra(batch.image, batch.target)
        logits = network.latent.combine(features, posterior.at(self._noise(posterior.mean, network)))
        losses = {"ce": self.ce_weight * partial_cross_entropy(logits, batch.target)}
        if self.dice_weight:
            losses["dice"] = self.dice_weight * labelled_dice(logits.float().softmax(dim=1), batch.target)
        if self.beta:
            told = batch.target.flatten(1).sum(dim=1) > 0  # where nothing is annotated the posterior knows nothing
            divergence = torch.where(told, posterior.kl(prior), 0.0).sum() / told.sum().clamp(min=1)
            losses["kl"] = self.beta * divergence
        if self.distance != "none" and self.distance_weight:
            sampled = [
                network.latent.combine(features, prior.at(self._noise(prior.mean, network))).float().softmax(dim=1)
                for _ in range(self.samples)
            ]
            drawn = batch.target[:, None] if batch.raters is None else batch.raters
            pairs = mask_distances(torch.stack(sampled, dim=1), drawn)
            losses[self.distance] = self.distance_weight * DISTANCES[self.distance](pairs)
        return losses

    def _noise(self, like: Tensor, network: Network) -> Tensor:
        return torch.randn(like.shape, generator=network.generator).to(like.device)


class Posterior(nn.Module):
    """From image and annotation to a distribution of the latent point.

    Args:
        task: Channels of the image, classes, dimensions and latent axes.
        width: Channels of the first level, doubled at each of two more.
    """

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        conv = CONV[task.ndim]
        channels = (task.channels + task.classes, width, 2 * width, 4 * width)
        self.levels = nn.ModuleList(
            conv(i, o, 3, stride=1 if level == 0 else 2, padding=1) for level, (i, o) in enumerate(pairwise(channels))
        )
        start_convolutions(self.levels)
        self.last = nn.Linear(channels[-1], 2 * task.latent)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor, target: Tensor) -> Gaussian:
        """Map images (N, channels, *S) and annotation (N, C, *S), zero where unlabelled, to where the point lies."""
        values = torch.cat((image, target), dim=1)
        for level in self.levels:
            values = functional.leaky_relu(level(values), 0.01)
        return Gaussian.of(self.last(values.flatten(2).mean(dim=2)))
