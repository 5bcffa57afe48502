"""Occlusion: what is lost when one place is covered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from medcl.inference.explain.scene import Scene, cells
from medcl.inference.explain.settings import ExplainSettings


def occlusion(scene: Scene, settings: ExplainSettings) -> Tensor:
    """Cover one box after another that touches the region with 0, the mean of a prepared image.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2; covering
    the region of interest alone: Alzubaidi et al., XAI-CLIP, arXiv 2602.07017, 2026. A pixel's saliency is the mean
    loss of score over the boxes that cover it.

    Returns:
        (*S) float32: score lost; 0 outside the region and the reach of its boxes, below 0 where covering helps.
    """
    side = cells(settings.cell_mm, scene.spacing_mm)
    boxes = list(_boxes(scene, side, settings.step))
    reference = float(scene.score(scene.image[None])[0])
    total, count = torch.zeros(scene.size), torch.zeros(scene.size)
    for first in range(0, len(boxes), scene.batch_size):
        part = boxes[first : first + scene.batch_size]
        images = scene.image.repeat(len(part), *(1,) * scene.image.ndim)
        for image, box in zip(images, part, strict=True):
            image[(slice(None), *box)] = 0
        for score, box in zip(scene.score(images).tolist(), part, strict=True):
            total[box] += reference - score
            count[box] += 1
    return total / count.clamp(min=1)


def _boxes(scene: Scene, side: tuple[int, ...], step: float) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of the whole image's grid that touch the region.

    Those of the whole image, so that a place has the saliency that covering everything would give it: boxes of a grid
    of the region's own, which end at its border, miss what lies across it and score worse (benchmarks/explain.py).
    """
    starts = []
    for (low, high), length, count in zip(scene.region, side, scene.size, strict=True):
        last = max(0, count - length)
        grid = [*range(0, last, max(1, round(length * step))), last]
        starts.append([start for start in grid if start < high and start + length > low])
    for corner in product(*starts):
        yield tuple(
            slice(start, min(start + length, count))
            for start, length, count in zip(corner, side, scene.size, strict=True)
        )
