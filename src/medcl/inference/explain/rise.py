"""RISE: which places are visible when the answer is good."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from medcl.inference.explain.scene import Scene, cells
from medcl.inference.explain.settings import ExplainSettings

_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


def rise(scene: Scene, settings: ExplainSettings) -> Tensor:
    """Cover random cells of the region many times and weigh each cover by the score that is left.

    Source: Petsiuk, Das and Saenko, RISE, BMVC 2018, eq. 4: the saliency of a pixel is the expected score given that
    it is visible; masks are small random grids, enlarged bilinearly and shifted at random (section 3.2). Here the mean
    over the masks themselves takes the place of their expectation (eq. 6 divides by E[M]), and the mean score is taken
    off, so that a pixel that makes no difference has 0: what lies outside the region is always visible.

    Returns:
        (*S) float32: score gained where visible; 0 outside the region.
    """
    region = [high - low for low, high in scene.region]
    side = cells(settings.cell_mm, scene.spacing_mm)
    grid = [max(1, math.ceil(length / cell)) for length, cell in zip(region, side, strict=True)]
    count = max(settings.least_masks, math.ceil(settings.masks_per_cell * math.prod(grid)))
    generator = torch.Generator().manual_seed(settings.seed)
    weighted, visible, mean = torch.zeros(region), torch.zeros(region), 0.0
    for first in range(0, count, scene.batch_size):
        number = min(scene.batch_size, count - first)
        masks = random_masks(number, grid, side, region, settings.visible, generator)
        images = scene.image.repeat(number, *(1,) * scene.image.ndim)
        images[(slice(None), slice(None), *scene.part)] *= masks[:, None].to(images.device)
        scores = scene.score(images)
        weighted += torch.einsum("n,n...->...", scores, masks)
        visible += masks.sum(dim=0)
        mean += float(scores.sum()) / count
    result = torch.zeros(scene.size)
    result[scene.part] = weighted / visible.clamp(min=1e-6) - mean
    return result


def random_masks(
    count: int, grid: list[int], side: tuple[int, ...], size: list[int], visible: float, generator: torch.Generator
) -> Tensor:
    """Return smooth random masks, 1 where an image stays visible.

    Args:
        count: How many.
        grid: Cells along each axis.
        side: Places of a cell along each axis.
        size: Size of the masks, at most grid * side.
        visible: Share of cells that stay visible.
        generator: Source of randomness.

    Returns:
        (count, *size) float32 in 0..1.
    """
    coarse = (torch.rand(count, 1, *(cells + 1 for cells in grid), generator=generator) < visible).float()
    full = [(cells + 1) * length for cells, length in zip(grid, side, strict=True)]
    fine = functional.interpolate(coarse, size=full, mode=_SMOOTH[len(grid)], align_corners=False)[:, 0]
    masks = torch.empty(count, *size)
    for number in range(count):
        shift = [int(torch.randint(length, (), generator=generator)) for length in side]
        masks[number] = fine[number][tuple(slice(s, s + n) for s, n in zip(shift, size, strict=True))]
    return masks
