"""Does adapting harm? Told from held-out images alone, without a label.

No single sign is safe: a collapsed network is perfectly consistent and certain, one that finds hearts everywhere loses
no class. Each sign below is cheap, says something a person understands, and goes wrong in another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcl.augment.intensity import intensity
from medcl.batch import Batch
from medcl.data.plan import Plan
from medcl.evaluation.metrics import dice
from medcl.inference.postprocess import keep_largest
from medcl.inference.sliding import most_likely, predict_slabs
from medcl.inference.uncertainty import normalised_entropy
from medcl.settings import AugmentSettings
from medcl.training.adaptation.images import Target
from medcl.training.adaptation.settings import GuardSettings
from medcl.training.adaptation.sizes import ClassSizes, volumes_of, voxel_ml

CHANGES = 2
"""Changed copies of each held-out image."""

LARGEST_MISFIT = math.log(10)
"""A structure that is not found counts like one ten times too small."""

IMPLAUSIBLE = math.log(2)
"""Volumes that are off by more than this on average are no sound start."""


@dataclass(frozen=True)
class Vitals:
    """What is seen on the held-out images.

    Attributes:
        consistency: Mean Dice between the mask of an image and those of copies with other brightness, contrast, gamma,
            blur and noise; over structures that either mask has.
        stray: Mean share of what the network finds that is cut off because it lies outside the one piece that training
            found a structure to be; prediction cuts it off as well, and all other values are taken after it.
        misfit: Mean over cases and structures of abs(log(volume / volume in training)), at most log 10; None without
            class sizes.
        entropy: Mean normalised entropy where a structure is predicted; 1 where nothing is.
        volumes_ml: Mean volume of each structure.
        found: Share of the cases in which each structure is found.
    """

    consistency: float
    stray: float
    misfit: float | None
    entropy: float
    volumes_ml: dict[str, float]
    found: dict[str, float]

    @property
    def score(self) -> float:
        """One number, higher is better: consistency - stray / 10 - misfit / 5 (derived, see docs/adapt.md)."""
        return self.consistency - 0.1 * self.stray - 0.2 * (self.misfit or 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold, with the score."""
        return {**asdict(self), "score": self.score}


def vitals(
    forward: Callable[[Tensor], Tensor],
    targets: Sequence[Target],
    plan: Plan,
    *,
    sizes: ClassSizes | None,
    one_piece: Sequence[tuple[int, ...]],
    seed: int = 0,
) -> Vitals:
    """Look at held-out images through a network.

    Args:
        forward: (N, channels, *S) -> logits, without gradient.
        targets: Held-out images.
        plan: The model's plan.
        sizes: Volumes in training, where they are known.
        one_piece: Unions of classes that are one piece; see `ModelInfo.one_piece`.
        seed: Of the changes; the same for every network that is compared.
    """
    classes = len(plan.classes)
    agree, strays, volumes, unsure = [], [], [], []
    for number, target in enumerate(targets):
        array = np.asarray(target.prepared.array, np.float32)
        raw, entropy = _mask(forward, array, plan)
        mask = keep_largest(raw, one_piece)
        inside = mask > 0
        unsure.append(float(entropy[inside].mean()) if inside.any() else 1.0)
        volumes.append(volumes_of(mask, classes, voxel_ml(target.prepared)))
        strays += [1 - float(inside.sum()) / float((raw > 0).sum())] if raw.any() else []
        for change in range(CHANGES):
            copied = changed_copy(array, seed * 1000 + number * CHANGES + change)
            changed = keep_largest(_mask(forward, copied, plan)[0], one_piece)
            agree += [
                dice(mask == c, changed == c) for c in range(1, classes) if (mask == c).any() or (changed == c).any()
            ]
    table = np.array(volumes)
    names = plan.classes[1:]
    misfit = None
    if sizes is not None:
        wanted = np.array([sizes.mean_ml[name] for name in names])
        known = wanted > 0  # of what training never met nothing can be said
        distance = np.abs(np.log(np.maximum(table[:, known], 1e-9) / wanted[known]))
        misfit = float(np.minimum(distance, LARGEST_MISFIT).mean()) if known.any() else None
    return Vitals(
        consistency=float(np.mean(agree)) if agree else 0.0,
        stray=float(np.mean(strays)) if strays else 0.0,
        misfit=misfit,
        entropy=float(np.mean(unsure)),
        volumes_ml=dict(zip(names, table.mean(axis=0).tolist(), strict=True)),
        found=dict(zip(names, (table > 0).mean(axis=0).tolist(), strict=True)),
    )


def changed_copy(array: np.ndarray, seed: int) -> np.ndarray:
    """Return a prepared image (C, Z, Y, X) as another acquisition might show it; nothing moves."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.from_numpy(np.array(array, np.float32))[None]
    nothing, flags = torch.zeros(1, 1, *image.shape[2:]), torch.zeros(1, 1, dtype=torch.bool)
    settings = AugmentSettings(gamma=0.4, brightness=0.2, contrast=0.3, noise=0.15, blur=0.8, probability=1.0)
    return intensity(Batch(image, nothing, flags, ~flags, nothing), settings, generator).image[0].numpy()


def harm(before: Vitals, after: Vitals, limits: GuardSettings) -> list[str]:
    """Say why the adapted network is worse, one sentence a reason; empty where nothing speaks against it."""
    reasons = []
    if after.consistency < limits.least_consistency:
        reasons.append(
            f"the images are too far from what the model learned: agreement {after.consistency:.3f} even after "
            f"(at least {limits.least_consistency:g} is asked for); draw a few strokes on them and train."
        )
    for name, share in before.found.items():
        if share - after.found[name] > limits.lost_class:
            reasons.append(
                f"{name} was found in {share:.0%} of the held-out images before, in {after.found[name]:.0%} after."
            )
    if before.consistency - after.consistency > limits.consistency and not _was_consistently_wrong(
        before, after, limits
    ):
        reasons.append(
            f"masks change more when the image's contrast does: agreement {before.consistency:.3f} before, "
            f"{after.consistency:.3f} after."
        )
    if after.stray - before.stray > limits.stray:
        reasons.append(
            f"structures fall apart: {before.stray:.1%} was cut off as stray pieces before, {after.stray:.1%} after."
        )
    if before.misfit is not None and after.misfit is not None and after.misfit - before.misfit > limits.misfit:
        reasons.append(
            f"volumes move away from those of training: off by a factor of {math.exp(before.misfit):.2f} before, "
            f"{math.exp(after.misfit):.2f} after."
        )
    return reasons


def _was_consistently_wrong(before: Vitals, after: Vitals, limits: GuardSettings) -> bool:
    """Whether agreement was cheap before: volumes off by a factor of two or more, and clearly nearer now.

    A network that finds a structure everywhere, or nowhere, gives the same answer whatever the contrast.
    """
    if before.misfit is None or after.misfit is None:
        return False
    return before.misfit > IMPLAUSIBLE and before.misfit - after.misfit > limits.misfit


def _mask(forward: Callable[[Tensor], Tensor], array: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    masks, entropies = [], []
    for slab in predict_slabs(forward, array, plan, flips=False, overlap=0.25):
        masks.append(most_likely(slab).cpu().numpy())
        entropies.append(normalised_entropy(slab).cpu().numpy())
    return np.concatenate(masks), np.concatenate(entropies)
