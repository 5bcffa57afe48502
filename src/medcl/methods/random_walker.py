"""Pseudo labels by random walks from the strokes, made anew for every augmented batch."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from medcl.batch import Batch
from medcl.data.labels import UNLABELLED
from medcl.losses.partial import labelled_dice, partial_cross_entropy
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised
from medcl.scribbles.random_walker import random_walk


@methods.register("random-walker")
class RandomWalker(Regularised):
    """Cross-entropy and Dice on random-walker labels (Grady, IEEE PAMI 2006) where the walker is sure."""

    weight: float = Field(1.0, ge=0, description="Weight of the pseudo labels once they are fully grown.")
    dice_weight: float = Field(1.0, ge=0, description="Weight of the Dice on pseudo labels against their CE.")
    beta: float = Field(130.0, ge=0, description="How much the walker avoids edges of the image.")
    certainty: float = Field(0.9, ge=0.5, le=1, description="Smallest probability of a pseudo label.")
    shrink: int = Field(2, ge=1, description="The walk takes place on a grid this much coarser in the plane.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return cross-entropy and Dice on the pseudo labels, strokes included."""
        pseudo = pseudo_labels(batch, beta=self.beta, certainty=self.certainty, shrink=self.shrink)
        losses = {"pseudo_ce": partial_cross_entropy(logits, pseudo)}
        if self.dice_weight:
            losses["pseudo_dice"] = self.dice_weight * labelled_dice(logits.softmax(dim=1), pseudo)
        return losses


@torch.no_grad()
def pseudo_labels(batch: Batch, *, beta: float = 130.0, certainty: float = 0.9, shrink: int = 2) -> Tensor:
    """Extend the strokes of each image to where a random walker is sure.

    Strokes keep their weights. A pixel stays unlabelled where the walker is less sure than `certainty` or its class is
    known not to be there (`Batch.absent`). An image keeps its strokes alone if some class may be in it but has no
    stroke (`Batch.present`): the walker would hand that class's pixels to the others.

    Args:
        batch: Images and strokes.
        beta: See `random_walk`.
        certainty: Smallest probability of a pseudo label, above one half.
        shrink: Images and strokes are averaged over blocks of this side in the plane before the walk.

    Returns:
        (N, C, *S) weights, all zero where nothing is drawn or sure.
    """
    target = batch.target.float()
    classes, size = target.shape[1], target.shape[2:]
    block = (1,) * (len(size) - 2) + (shrink, shrink)
    pool = functional.avg_pool2d if len(size) == 2 else functional.avg_pool3d
    coarse = pool(batch.image.float(), block, ceil_mode=True).cpu().numpy()
    seeds = _seeds(pool(target, block, ceil_mode=True)).cpu().numpy()
    walkable = [
        set(np.unique(s)) >= set(p.nonzero().flatten().tolist()) for s, p in zip(seeds, batch.present, strict=True)
    ]
    guesses = [
        random_walk(image, seed, classes=classes, beta=beta) if able else np.zeros((classes, *seed.shape), np.float32)
        for image, seed, able in zip(coarse, seeds, walkable, strict=True)
    ]
    likely = torch.from_numpy(np.stack(guesses)).to(target.device)
    likely = functional.interpolate(likely, size=size, mode="bilinear" if len(size) == 2 else "trilinear")
    sure = (likely > 0.5) & (likely >= certainty)
    free = target.sum(dim=1, keepdim=True) == 0
    return target + sure * free * (1 - batch.absent.float())


def _seeds(pooled: Tensor) -> Tensor:
    """Return (N, *s) class indices of blocks that mostly belong to one class's strokes, UNLABELLED elsewhere."""
    best, second = pooled.topk(2, dim=1).values.unbind(dim=1)
    return torch.where(best > second, pooled.argmax(dim=1), UNLABELLED)
