"""Scores during training: Dice on dense labels where there are any, else agreement with held-back strokes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.data.prepare import plan_grid
from medcl.data.store import PreparedCase, Store
from medcl.evaluation.metrics import dice
from medcl.inference.restore import restore_slabs
from medcl.inference.sliding import mask_of, predict_slabs
from medcl.training.sampling import Sampler


@dataclass(frozen=True)
class ValidationCase:
    """One case to score.

    Attributes:
        case: The prepared case.
        truth: (Z, Y, X) class indices with UNLABELLED, on the case's own grid for dense labels.
        dense: Whether `truth` is a dense label; strokes otherwise.
    """

    case: PreparedCase
    truth: np.ndarray
    dense: bool


def score(forward: Callable[[Tensor], Tensor], cases: list[ValidationCase], plan: Plan) -> dict[str, float]:
    """Score a network on validation cases.

    Dense labels are scored at the case's own resolution: 3D Dice per volume and structure, mean over cases (both
    empty counts 1; a structure that nobody looked for in a case is left out of it). Strokes are scored on the plan's
    grid as the share of stroke pixels that get their class, mean over classes ("stroke recall"); that is no Dice of
    the organ and is never called so.

    Args:
        forward: (N, channels, *S) -> logits.
        cases: All dense or all strokes.
        plan: Classes and grid.

    Returns:
        `dice` (mean) and `dice/<class>`, or `stroke_recall` and `stroke_recall/<class>`.
    """
    on_labels = cases[0].dense
    rows = []
    for item in cases:
        mask = _predict(forward, item, plan)
        rows.append(_dice_row(mask, item, plan) if on_labels else _recall_row(mask, item.truth, plan))
    table = np.array(rows, dtype=float)
    means = [float(np.nanmean(c)) if np.isfinite(c).any() else float("nan") for c in table.T]
    name = "dice" if on_labels else "stroke_recall"
    names = plan.classes[1:] if on_labels else plan.classes
    finite = [m for m in means if np.isfinite(m)]
    overall = float(np.mean(finite)) if finite else float("nan")
    return {name: overall, **{f"{name}/{c}": m for c, m in zip(names, means, strict=True)}}


def _predict(forward: Callable[[Tensor], Tensor], item: ValidationCase, plan: Plan) -> np.ndarray:
    """Return the mask on the case's own grid for dense labels, on the plan's grid for strokes."""
    array = np.asarray(item.case.image, dtype=np.float32)
    slabs = predict_slabs(forward, array, plan, flips=False)
    if not item.dense:
        return mask_of(slabs)
    grid = plan_grid(item.case.geometry, plan)
    turned = mask_of(restore_slabs(slabs, grid))
    return grid.turn_back(turned)


def _dice_row(mask: np.ndarray, item: ValidationCase, plan: Plan) -> list[float]:
    ignored = item.truth == UNLABELLED
    return [
        dice(mask == c, item.truth == c, ignored=ignored) if c in item.case.annotated else float("nan")
        for c in range(1, len(plan.classes))
    ]


def _recall_row(mask: np.ndarray, strokes: np.ndarray, plan: Plan) -> list[float]:
    return [
        float((mask[strokes == c] == c).mean()) if (strokes == c).any() else float("nan")
        for c in range(len(plan.classes))
    ]


@torch.no_grad()
def refresh_statistics(network: nn.Module, forward: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> None:
    """Measure batch normalisation anew for averaged weights, on unmixed images.

    During training the running statistics follow the last weights and mixed images; averaged weights see neither.
    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3 (precise BN).

    Args:
        network: Changed in place; left in eval mode. Networks without batch normalisation stay as they are.
        forward: Calls the network with the precision of the run.
        images: Batches (N, channels, *S).
    """
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if layers:
        momenta = [layer.momentum for layer in layers]
        network.eval()  # dropout stays off, as it is when the statistics are used
        for layer in layers:
            layer.train()
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
        for image in images:
            forward(image)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    network.eval()


def forward_in(
    network: Callable[[Tensor], Tensor], device: torch.device, precision: str, memory_format: torch.memory_format
) -> Callable[[Tensor], Tensor]:
    """Return a function that calls the network without gradient in the run's precision and memory layout."""

    def forward(image: Tensor) -> Tensor:
        cast = precision != "32-true"
        context = torch.autocast(device.type, torch.bfloat16) if cast else contextlib.nullcontext()
        with torch.inference_mode(), context:
            logits: Tensor = network(image.to(device).contiguous(memory_format=memory_format))
        return logits.float()

    return forward


def validation_cases(
    store: Store, ids: list[str], *, dense: bool, labels: Callable[[str], np.ndarray]
) -> list[ValidationCase]:
    """Collect what to score.

    Args:
        store: Prepared cases.
        ids: Which cases.
        dense: Score dense labels, at the case's own resolution; strokes on the plan's grid otherwise.
        labels: Reads the dense label of a case at its own resolution.
    """
    cases = []
    for case_id in ids:
        case = store[case_id]
        truth = labels(case_id) if dense else np.asarray(case.scribble)
        cases.append(ValidationCase(case, truth, dense))
    return cases


def clean_batches(sampler: Sampler, count: int) -> Iterator[Tensor]:
    """Yield images as they are drawn, without augmentation or mixing, cut to the patch."""
    for step in range(count):
        image = sampler.batch(step, rank=2**20).image  # a rank that no device has: training never sees these draws
        cut = tuple(slice((c - p) // 2, (c - p) // 2 + p) for c, p in zip(sampler.canvas, sampler.patch, strict=True))
        yield image[(slice(None), slice(None), *cut)]
