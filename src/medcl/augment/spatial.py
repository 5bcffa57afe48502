"""Random rotation, zoom, shift, mirror and elastic warp in one resampling; what leaves the image becomes unlabelled."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from medcl.batch import Batch
from medcl.settings import AugmentSettings


def random_grid(
    count: int, source: tuple[int, ...], patch: tuple[int, ...], settings: AugmentSettings, generator: torch.Generator
) -> Tensor:
    """Draw sampling grids that cut a turned, zoomed, shifted, mirrored and warped patch out of a canvas.

    Args:
        count: Number of samples N.
        source: Size of the canvas, (Y, X) or (Z, Y, X).
        patch: Size of the result, same order.
        settings: Strengths, resolved for the data (`AugmentSettings.resolved`).
        generator: Source of randomness, on the CPU.

    Returns:
        (N, *patch, D) coordinates for `grid_sample` (last axis x, y(, z); -1..1 spans the canvas,
        align_corners=False). In 3D rotation and zoom act in the (Y, X) plane, as slices may be thick; where the canvas
        is no deeper than the patch, nothing moves along Z.
    """
    ndim = len(patch)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    angle = uniform(count) * ((settings.rotation_degrees or 0.0) * torch.pi / 180)
    zoom = (1 + settings.scale) ** uniform(count)
    aspect = (1 + settings.scale / 3) ** uniform(count)
    mirror = torch.where(uniform(count, ndim) > 0, 1.0, -1.0) if settings.flip else torch.ones(count, ndim)
    size = torch.tensor(patch[::-1], dtype=torch.float32)
    shift = uniform(count, ndim) * settings.shift * size
    # A canvas as deep as its patch means thick slices, see the sampler: between them lies nothing to see, and beyond
    # them no image.
    thick = ndim == 3 and source[0] == patch[0]
    if thick:
        shift[:, 2] = 0
    if not settings.shift:
        # Centres of an odd and an even grid lie half a pixel apart, where nearest neighbour drops and doubles strokes.
        shift = shift + torch.tensor([(s - p) % 2 / 2 for s, p in zip(source, patch, strict=True)][::-1])
    cos, sin = angle.cos(), angle.sin()
    # Positions in pixels around the centre, axes in the order x, y(, z).
    matrix = torch.eye(ndim).repeat(count, 1, 1)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * zoom * aspect, -sin * zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = sin * zoom * aspect, cos * zoom
    matrix = matrix * mirror[:, None, :]
    axes = [torch.arange(s, dtype=torch.float32) - (s - 1) / 2 for s in patch]
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    grid = torch.einsum("nij,...j->n...i", matrix, mesh)
    grid = grid + shift.reshape(count, *(1,) * ndim, ndim)
    if settings.elastic:
        coarse = uniform(count, ndim, *(min(4, s) for s in patch))
        strength = torch.rand(count, generator=generator) * settings.elastic / 2
        warp = functional.interpolate(coarse, size=patch, mode=_LINEAR[ndim], align_corners=True)
        if ndim == 3:
            warp[:, 2] *= 0.0 if thick else 0.25  # slices move less: neighbours are far apart
        grid = grid + (warp.movedim(1, -1) * size * strength.reshape(count, *(1,) * (ndim + 1)))
    return grid * 2 / torch.tensor(source[::-1], dtype=torch.float32)


_LINEAR = {2: "bicubic", 3: "trilinear"}


def warp(batch: Batch, grid: Tensor) -> Batch:
    """Resample images and strokes on a grid.

    Outside the canvas images are 0 (their mean after normalisation), and nothing is annotated or known to be absent.

    Args:
        batch: N samples on a canvas.
        grid: (N, *patch, D) as `random_grid` returns.

    Returns:
        N samples of the patch size. Strokes keep their values (nearest neighbour): thin ones would fade otherwise.
    """
    grid = grid.to(batch.image.device)
    image = functional.grid_sample(batch.image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    kinds = {name: getattr(batch, name) for name in ("target", "absent", "grown")}
    kinds["raters"] = None if batch.raters is None else batch.raters.flatten(1, 2)
    kinds = {name: values for name, values in kinds.items() if values is not None}
    maps = torch.cat(tuple(kinds.values()), dim=1)
    maps = functional.grid_sample(maps, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    warped = maps.split([values.shape[1] for values in kinds.values()], dim=1)
    changed = dict(zip(kinds, warped, strict=True))
    if batch.raters is not None:
        changed["raters"] = changed["raters"].unflatten(1, batch.raters.shape[1:3])
    return replace(batch, image=image, **changed)


def spatial(batch: Batch, patch: tuple[int, ...], settings: AugmentSettings, generator: torch.Generator) -> Batch:
    """Apply one random spatial change per sample; see `random_grid` and `warp`."""
    source = tuple(batch.image.shape[2:])
    return warp(batch, random_grid(batch.image.shape[0], source, patch, settings, generator))
