"""Which backbone for this data set, budget and machine: a rule in words and numbers, see docs/backbones.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medcl.benchmark.cost import Cost
from medcl.errors import SettingsError

ENOUGH_IMAGES = 4000
"""A backbone must be able to see this many training images in the budget: 1,000 steps of four (derived: below that, the
validation curves of docs/results.md still rise steeply)."""

PASSES = 3.0
"""Forward and backward passes of a MedCL step, in those of a plain one (measured: two to four)."""

REFERENCE = "unet"
"""Chosen where there is no Dice to go by."""


def efficiency(cost: Cost, all_costs: Sequence[Cost]) -> float:
    """Return how cheap a backbone is among others, in 0..1; 1 if it is the cheapest in everything.

    Mean over parameters, multiply-adds and prediction time of 1 / (1 + log10(cost / smallest cost)): ten times as dear
    counts a half, a hundred times a third. Adding an expensive backbone does not change the order of the others.
    """
    shares = []
    for field in ("parameters", "gmacs", "predict_ms"):
        own, smallest = float(getattr(cost, field)), min(float(getattr(other, field)) for other in all_costs)
        shares.append(1 / (1 + math.log10(max(own / smallest, 1.0))))
    return sum(shares) / len(shares)


def u_scores(costs: Sequence[Cost], dice: Mapping[str, float]) -> dict[str, float]:
    """Return accuracy and cost of each backbone in one number, in 0..1.

    The harmonic mean of Dice and `efficiency`, after the idea of U-Bench's U-Score (Tang et al., arXiv 2510.07041,
    2025), which joins normalised accuracy with parameters, multiply-adds and speed; its normalisation over a hundred
    networks is replaced, as it means nothing for six (derived).

    Args:
        costs: What was measured; those without figures are left out.
        dice: Name -> mean Dice; those without are left out.
    """
    known = [cost for cost in costs if not cost.problem]
    scores = {}
    for cost in known:
        if cost.name in dice:
            accuracy, cheap = dice[cost.name], efficiency(cost, known)
            scores[cost.name] = 2 * accuracy * cheap / (accuracy + cheap) if accuracy > 0 else 0.0
    return scores


@dataclass(frozen=True)
class Advice:
    """A choice and why.

    Attributes:
        name: Name of the chosen one among those measured.
        reasons: Sentences, in the order of the rule.
    """

    name: str
    reasons: tuple[str, ...]


def advise(
    costs: Sequence[Cost], dice: Mapping[str, float], *, minutes: float, memory_mb: float | None = None
) -> Advice:
    """Choose a backbone.

    1. Out are those that cannot run here, and those whose training needs more memory than there is.
    2. Out are those that would see fewer than `ENOUGH_IMAGES` images in the budget, a MedCL step being `PASSES` plain
       ones; if that is all of them, the one that sees most is chosen.
    3. Of the rest, the highest U-Score; without any Dice the plain U-Net, or the fastest if that one is out.

    Args:
        costs: What was measured at the data set's patch, channels and classes.
        dice: Name -> mean Dice from a benchmark; may be empty.
        minutes: Budget of the training.
        memory_mb: Memory there is; None: not limited.

    Raises:
        SettingsError: None can run here; says why each cannot.
    """
    reasons = [f"{cost.name} is out: {cost.problem}" for cost in costs if cost.problem]
    fits = []
    for cost in costs:
        if cost.problem:
            continue
        if memory_mb is not None and (cost.memory_mb or 0) > memory_mb:
            reasons.append(f"{cost.name} is out: needs {cost.memory_mb:.0f} MB of memory, there are {memory_mb:.0f}")
        else:
            fits.append(cost)
    if not fits:
        raise SettingsError(f"no backbone can be trained here: {'; '.join(reasons) or 'none was measured'}.")
    seen = {cost.name: 60 * minutes * (cost.images_per_second or 0) / PASSES for cost in fits}
    quick = [cost for cost in fits if seen[cost.name] >= ENOUGH_IMAGES]
    for cost in fits:
        if cost not in quick:
            reasons.append(
                f"{cost.name} is out: would see {seen[cost.name]:.0f} images in {minutes:g} minutes, "
                f"fewer than {ENOUGH_IMAGES}"
            )
    if not quick:
        chosen = max(seen, key=lambda name: seen[name])
        return Advice(chosen, (*reasons, f"{chosen} sees most of all; a longer budget would help more than a choice"))
    scores = {name: score for name, score in u_scores(costs, dice).items() if name in {c.name for c in quick}}
    if scores:
        chosen = max(scores, key=lambda name: scores[name])
        reasons.append(f"{chosen} has the highest U-Score of those left: {scores[chosen]:.3f}")
        return Advice(chosen, tuple(reasons))
    names = [cost.name for cost in quick]
    chosen = REFERENCE if REFERENCE in names else max(names, key=lambda name: seen[name])
    why = "the plain U-Net" if chosen == REFERENCE else "the fastest of those left"
    return Advice(chosen, (*reasons, f"{chosen} is {why}; there is no Dice of a benchmark to compare by"))
