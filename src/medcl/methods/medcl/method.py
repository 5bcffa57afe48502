"""The MedCL method: two mixes, seven terms, each with its own weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from medcl.augment.mix import beta, inter_mix, intra_mix, random_boxes
from medcl.batch import Batch
from medcl.losses.consistency import mix_consistency
from medcl.losses.existence import class_existence
from medcl.losses.partial import balanced, faithful_dice, labelled_dice, partial_cross_entropy
from medcl.methods import Losses, Network, Task, methods
from medcl.methods.medcl.codes import (
    CodeHeads,
    batch_centres,
    class_and_group_maps,
    global_clustering,
    local_contrast,
)
from medcl.settings import Settings


class Weights(Settings):
    """Weight of each term; 0 removes it and what only it needs."""

    partial_ce: float = Field(1.0, ge=0, description="Cross-entropy on strokes.")
    dice: float = Field(1.0, ge=0, description="Dice on strokes.")
    mixed_partial_ce: float = Field(1.0, ge=0, description="Cross-entropy on the mixed strokes of mixed images.")
    mix_consistency: float = Field(1.0, ge=0, description="Prediction of the mix against mix of the predictions.")
    existence: float = Field(3.0, ge=0, description="No mass on classes that cannot be in the image or at the place.")
    local: float = Field(0.0, ge=0, description="Contrast between images on the individual code; needs two views.")
    global_: float = Field(
        1.0, ge=0, alias="global", description="Clustering of classes and groups on the anatomy code."
    )

    model_config = ConfigDict(**{**Settings.model_config, "populate_by_name": True})


@methods.register("medcl")
class MedCL(Settings):
    """MedCL (Zhang and Patel, MIDL 2025, PMLR 301:1845-1865), in a fixed form and in that of the reference code.

    `faithful=True` takes the formulas and numbers of the reference code (BWGZK-keke/MedCL, commit 6b7e6de) wherever
    the two differ and the code can run at all on other sizes and classes: its Dice over all pixels, the box of at
    least 0.9 of the side, the misaligned existence indicator, (whole, part) pairs repelled, centres of the batch
    alone. `docs/methods.md` lists each difference.
    """

    faithful: bool = Field(False, description="Use the formulas of the reference code.")
    weights: Weights = Field(Weights(), description="Weight of each term.")
    views: Literal[1, 2] = Field(
        1, description="Augmented views per image; the local contrast and the intra-image mix need two."
    )
    intra_mix: bool = Field(False, description="Mix two views of the same image outside a random box.")
    inter_mix: bool = Field(True, description="Mix images with each other.")
    mixing: float = Field(0.25, ge=0, le=1, description="Share of the steps that mix.")
    box: tuple[float, float] = Field((0.7, 1.0), description="Smallest and largest side of the box, share of the side.")
    consistency_gradient: Literal["both", "mixed"] = Field(
        "mixed",
        description="Whether the mix consistency changes both predictions, or only that of the mixed image.",
    )
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0: in the cross-entropies each drawn pixel counts alike; 1: each class in the batch does.",
    )
    alpha: float = Field(0.5, gt=0, description="Mixing weights are drawn from Beta(alpha, alpha).")
    centre_decay: float = Field(0.9, ge=0, lt=1, description="Memory of the class centres; 0 uses the batch alone.")
    code_grid: int = Field(32, ge=4, description="Class maps are pooled to this many cells per side.")
    code_width: int = Field(256, ge=8, description="Hidden units of the code heads.")
    code_dim: int = Field(128, ge=4, description="Length of a code.")
    temperature: float = Field(0.5, gt=0, description="Temperature of the local contrast.")
    start: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Share of the budget spent on strokes alone before mixes and unsupervised terms set in.",
    )
    ramp: float = Field(
        0.1, ge=0, le=1, description="Share of the budget over which the unsupervised terms then grow to their weight."
    )

    @model_validator(mode="before")
    @classmethod
    def _reference_numbers(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("faithful"):
            weights = values.get("weights", {})
            return {
                "box": (0.9, 1.0),
                "alpha": 0.5,
                "centre_decay": 0.0,
                "consistency_gradient": "both",
                "views": 2,
                "intra_mix": True,
                "mixing": 1.0,
                "start": 0.0,
                "ramp": 0.0,
                **values,
                "weights": {"existence": 1.0, "local": 1.0, **weights} if isinstance(weights, dict) else weights,
            }
        return values

    @model_validator(mode="after")
    def _box_order(self) -> Self:
        low, high = self.box
        if not 0 < low <= high <= 1:
            raise ValueError("box: expected 0 < smallest <= largest <= 1")
        return self

    @model_validator(mode="after")
    def _views_for_what_needs_them(self) -> Self:
        if self.views == 1 and (self.intra_mix or self.weights.local):
            raise ValueError(
                "views: the intra-image mix and the local contrast need two; set intra_mix to false and "
                "weights.local to 0, or views to 2"
            )
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        weights = self.weights
        if not (weights.partial_ce or weights.dice) and self.start:
            raise ValueError(
                "weights: partial_ce and dice are both 0, so nothing is learnt before `start`; set start to 0 too"
            )
        mixed = self.inter_mix and (weights.mixed_partial_ce or weights.mix_consistency)
        if not (weights.partial_ce or weights.dice or mixed or weights.existence or weights.local or weights.global_):
            raise ValueError("weights: all are 0; expected at least one term to learn from")
        return self

    def modules(self, task: Task) -> nn.Module | None:
        """Return the code heads, or None where neither code is used."""
        if not (self.weights.local or self.weights.global_):
            return None
        return CodeHeads(
            rows=task.classes + len(task.groups),
            ndim=task.ndim,
            grid=self.code_grid,
            width=self.code_width,
            dim=self.code_dim,
        )

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the seven weighted terms of one batch; terms of weight 0 are absent."""
        weights, generator = self.weights, network.generator
        started = network.progress >= self.start
        mixing = started and float(torch.rand((), generator=generator)) < self.mixing
        if mixing and self.intra_mix and batch.views == 2:
            batch = self._mix_views(batch, generator)
        logits = network(batch.image)
        probabilities = logits.float().softmax(dim=1)
        ramp = min(1.0, (network.progress - self.start) / self.ramp) if self.ramp else 1.0
        dice = faithful_dice if self.faithful else labelled_dice
        losses: Losses = {}
        if weights.partial_ce:
            target = balanced(batch.target, self.balance)
            losses["partial_ce"] = weights.partial_ce * partial_cross_entropy(logits, target)
        if weights.dice:
            losses["dice"] = weights.dice * dice(probabilities, batch.target)
        if not started:
            return losses
        if mixing and self.inter_mix and (weights.mixed_partial_ce or weights.mix_consistency):
            losses |= self._inter(batch, probabilities, network, ramp)
        if weights.existence:
            present = self._misaligned(batch) if self.faithful else batch.present
            absent = None if self.faithful else batch.absent
            losses["existence"] = ramp * weights.existence * class_existence(probabilities, present, absent)
        if network.extra is not None:
            losses |= self._codes(batch, probabilities, network, ramp)
        return losses

    def _mix_views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Mix each view with the other view of its image (they differ by a random rotation, zoom and warp)."""
        count, size = batch.image.shape[0], tuple(batch.image.shape[2:])
        device = batch.image.device
        box = random_boxes(count, size, self.box, generator).to(device)
        weight = beta((count,), self.alpha, generator).to(device)
        other = torch.arange(count, device=device) ^ 1
        image = intra_mix(batch.image, batch.image[other], box, weight)
        target = intra_mix(batch.target, batch.target[other], box, weight)
        # Where both views shine through, a class is ruled out only if it is ruled out in both.
        absent = batch.absent * torch.maximum(box, batch.absent[other])
        return replace(batch, image=image, target=target, absent=absent)

    def _inter(self, batch: Batch, probabilities: Tensor, network: Network, ramp: float) -> Losses:
        count = batch.image.shape[0]
        weight = beta((count,), self.alpha, network.generator).to(batch.image.device)
        # Sample n meets its partner in both orders; one of the two is enough and costs half.
        pairs = slice(None) if self.faithful else slice((count + 1) // 2)
        logits = network(inter_mix(batch.image, weight)[pairs])
        losses: Losses = {}
        if self.weights.mixed_partial_ce:
            losses["mixed_partial_ce"] = self.weights.mixed_partial_ce * partial_cross_entropy(
                logits, balanced(inter_mix(batch.target, weight)[pairs], self.balance), eps=1e-10
            )
        if self.weights.mix_consistency:
            unmixed = probabilities if self.consistency_gradient == "both" else probabilities.detach()
            losses["mix_consistency"] = (
                ramp
                * self.weights.mix_consistency
                * mix_consistency(inter_mix(unmixed, weight)[pairs], logits.float().softmax(dim=1))
            )
        return losses

    def _codes(self, batch: Batch, probabilities: Tensor, network: Network, ramp: float) -> Losses:
        heads, groups = network.extra, list(network.task.groups)
        assert isinstance(heads, CodeHeads)  # built by `modules`
        individual, anatomy = heads(class_and_group_maps(probabilities, groups))
        losses: Losses = {}
        if self.weights.local:
            losses["local"] = (
                ramp * self.weights.local * local_contrast(individual, batch.views, temperature=self.temperature)
            )
        if self.weights.global_:
            member = self._members(batch, groups)
            centres, seen = batch_centres(anatomy, member)
            centres = self._remembered(heads, centres, seen)
            losses["global"] = (
                ramp
                * self.weights.global_
                * global_clustering(
                    anatomy, centres, member, groups, classes=network.task.classes, part_pairs=self.faithful
                )
            )
        return losses

    def _members(self, batch: Batch, groups: list[tuple[int, ...]]) -> Tensor:
        """Return (N, R) bool: rows whose class (or any class of the group) may exist in the sample."""
        wholes = [batch.present[:, list(group)].any(dim=1, keepdim=True) for group in groups]
        member = torch.cat((batch.present, *wholes), dim=1)
        return torch.ones_like(member) if self.faithful else member

    def _remembered(self, heads: CodeHeads, centres: Tensor, seen: Tensor) -> Tensor:
        """Blend the batch's centres into the memory; gradient flows through the batch's share only."""
        if not self.centre_decay:
            return centres
        memory, filled = heads.centres.clone(), heads.filled[:, None].clone()
        blended = torch.where(filled, self.centre_decay * memory + (1 - self.centre_decay) * centres, centres)
        blended = torch.where(seen[:, None], blended, memory)
        with torch.no_grad():
            heads.centres.copy_(blended)
            heads.filled |= seen
        return blended

    @staticmethod
    def _misaligned(batch: Batch) -> Tensor:
        """Tile the indicator image by image although samples are ordered image-major, as the reference code does."""
        return batch.present[:: batch.views].repeat(batch.views, 1)
