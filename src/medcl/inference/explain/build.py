"""From a prepared image to the scenes that are explained, and from their maps back to the image's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medcl.data.plan import Plan, neighbours
from medcl.data.prepare import Prepared
from medcl.errors import DataError, SettingsError, unknown_name
from medcl.inference.explain.scene import Box, Scene, box_around, cells
from medcl.inference.explain.settings import ExplainSettings
from medcl.inference.model import Model
from medcl.inference.postprocess import keep_largest
from medcl.inference.restore import restore_slabs
from medcl.inference.sliding import LARGEST_SLICE, mask_of, predict_slabs

_STEP = 32


class NotPredictedError(DataError):
    """The structure to explain is not in the prediction, or not in a slice that was asked for."""


@dataclass
class Place:
    """Where a scene lies on the plan's grid (Z, Y, X).

    Attributes:
        scene: The question.
        where: The part of the plan's grid that the scene shows; in 2D one slice.
        inside: The part of the scene that is image and not padding.
        name: In words, for reports.
    """

    scene: Scene
    where: tuple[slice, slice, slice]
    inside: tuple[slice, ...]
    name: str


def class_index(plan: Plan, name: str) -> int:
    """Return the index of a structure.

    Raises:
        SettingsError: Unknown, or the background.
    """
    if name not in plan.classes[1:]:
        raise SettingsError(unknown_name("structure", name, plan.classes[1:]))
    return plan.classes.index(name)


def members_of(plan: Plan, region: str, index: int) -> tuple[int, ...] | None:
    """Return the classes whose surroundings are the region; None for the whole image.

    Raises:
        SettingsError: Neither "predicted", "whole", a structure nor a group.
    """
    if region == "whole":
        return None
    if region == "predicted":
        return (index,)
    if region in plan.classes[1:]:
        return (plan.classes.index(region),)
    if region in plan.groups:
        return tuple(plan.groups[region])
    raise SettingsError(unknown_name("region", region, ["predicted", "whole", *plan.classes[1:], *plan.groups]))


def find_mask(model: Model, prepared: Prepared) -> np.ndarray:
    """Return the mask on the plan's grid (Z, Y, X), with the pieces that prediction keeps."""
    slabs = predict_slabs(model.engine, prepared.array, model.plan, flips=False)
    return keep_largest(mask_of(slabs), model.unions("auto"))


def places(
    model: Model,
    prepared: Prepared,
    mask: np.ndarray,
    index: int,
    settings: ExplainSettings,
    slices: Sequence[int] | None,
) -> Iterator[Place]:
    """Yield what is to be explained: in 2D each slice that has the structure, in 3D the window around it.

    Args:
        model: The model.
        prepared: The image on the plan's grid.
        mask: Prediction on the plan's grid.
        index: The class to explain.
        settings: Region and batch size.
        slices: 2D: numbers of slices (plan's grid, across the plan's first view); default: all with the structure.

    Raises:
        NotPredictedError: The structure is predicted nowhere, or not in a slice that was asked for.
        SettingsError: A slice number is out of range, or slices are chosen in 3D.
    """
    plan = model.plan
    if not (mask == index).any():
        raise NotPredictedError(
            f"expected {plan.classes[index]} in the prediction, found none; there is nothing to explain in this image."
        )
    members = members_of(plan, settings.region, index)
    if plan.ndim == 3:
        if slices is not None:
            raise SettingsError("slices: a 3D model sees volumes, not slices; leave it out.")
        yield _window(model, prepared, mask, index, members, settings)
        return
    axis = "zyx".index(plan.views[0])
    array, masks = np.moveaxis(prepared.array, 1 + axis, 1), np.moveaxis(mask, axis, 0)
    depth = array.shape[1]
    chosen = np.flatnonzero((masks == index).any(axis=(1, 2))).tolist() if slices is None else list(slices)
    for z in chosen:
        if not 0 <= z < depth:
            raise SettingsError(f"slices: expected numbers between 0 and {depth - 1}, got {z}.")
        if not (masks[z] == index).any():
            raise NotPredictedError(
                f"slice {z}: expected {plan.classes[index]} in the prediction, found none; choose others."
            )
        shown = np.asarray(array[:, list(neighbours(z, plan.context, depth))], dtype=np.float32)
        channels = shown.swapaxes(0, 1).reshape(-1, *shown.shape[2:])
        where = [slice(None)] * 3
        where[axis] = slice(z, z + 1)
        spacing = tuple(s for a, s in enumerate(prepared.spacing_mm) if a != axis)
        low = [0, 0]
        if np.prod(channels.shape[1:]) > LARGEST_SLICE:  # too large for one look: the part around the structure
            channels, masks_here, low = _cropped(channels, masks[z], index, plan.patch)
            others = [a for a in range(3) if a != axis]
            for a, begin, length in zip(others, low, channels.shape[1:], strict=True):
                where[a] = slice(begin, begin + length)
        else:
            masks_here = masks[z]
        yield _place(model, channels, masks_here, index, members, settings, spacing, tuple(where), f"slice {z}")


def _cropped(
    channels: np.ndarray, mask: np.ndarray, index: int, patch: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    box = box_around(mask == index, tuple(side // 2 for side in patch))
    part = tuple(slice(low, high) for low, high in box)
    return channels[(slice(None), *part)], mask[part], [low for low, _ in box]


def _window(
    model: Model,
    prepared: Prepared,
    mask: np.ndarray,
    index: int,
    members: tuple[int, ...] | None,
    settings: ExplainSettings,
) -> Place:
    """Return the window of the patch's size, as prediction looks through, around the structure's largest piece."""
    voxels = np.argwhere(keep_largest((mask == index).astype(np.uint8), [(1,)]))
    middle = voxels.mean(axis=0)
    part = _around(middle.astype(int), mask.shape, model.plan.patch)
    if not (mask[part] == index).any():  # the piece bends around its own middle, as a ring does
        nearest = voxels[((voxels - middle) ** 2).sum(axis=1).argmin()]
        part = _around(nearest, mask.shape, model.plan.patch)
    array = np.asarray(prepared.array[(slice(None), *part)], np.float32)
    name = "window " + ", ".join(f"{s.start}-{s.stop - 1}" for s in part)
    return _place(model, array, mask[part], index, members, settings, prepared.spacing_mm, part, name)


def _around(centre: np.ndarray, size: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    """Return the part of an image that a patch around a place shows, moved inwards at borders."""
    where = []
    for middle, length, side in zip(centre.tolist(), size, patch, strict=True):
        low = min(max(0, middle - side // 2), max(0, length - side))
        where.append(slice(low, min(length, low + side)))
    return tuple(where)


def _place(
    model: Model,
    channels: np.ndarray,
    mask: np.ndarray,
    index: int,
    members: tuple[int, ...] | None,
    settings: ExplainSettings,
    spacing: tuple[float, ...],
    where: tuple[slice, ...],
    name: str,
) -> Place:
    size = channels.shape[1:]
    multiples = [_STEP] * 2 if len(size) == 2 else [side & -side for side in model.plan.patch]
    padded = [-(-length // m) * m for length, m in zip(size, multiples, strict=True)]
    missing = [p for length, target in zip(reversed(size), reversed(padded), strict=True) for p in (0, target - length)]
    image = functional.pad(torch.from_numpy(np.ascontiguousarray(channels)), missing)
    asked = functional.pad(torch.from_numpy(np.ascontiguousarray(mask == index)), missing)
    region: Box = tuple((0, length) for length in size)
    if members is not None:
        around = np.isin(mask, members)
        if around.any():
            region = box_around(around, cells(settings.margin_mm, spacing))
    scene = Scene(
        image.to(model.engine.device),
        asked,
        index,
        region,
        spacing,
        model.engine,
        model.network,
        batch_size=settings.batch_size,
    )
    inside = tuple(slice(0, length) for length in size)
    return Place(scene, where, inside, name)  # type: ignore[arg-type]


def to_image(maps: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Bring a map on the plan's grid (Z, Y, X) to the voxels of the image, (Z, Y, X) float32."""
    slabs = (torch.from_numpy(np.ascontiguousarray(maps[None, z : z + 1])) for z in range(maps.shape[0]))
    turned = torch.cat([slab[0] for slab in restore_slabs(slabs, prepared.grid)]).numpy()
    return np.ascontiguousarray(prepared.grid.turn_back(turned))


def on_plan_grid(found: Sequence[tuple[Place, Tensor]], size: Sequence[int], axis: int) -> np.ndarray:
    """Put the maps of all places on the plan's grid; 0 where nothing was explained.

    Args:
        found: Places and their maps (*S).
        size: (Z, Y, X).
        axis: 2D: the axis that the slices lie across.
    """
    maps = np.zeros(tuple(size), np.float32)
    for place, saliency in found:
        values = saliency.cpu().numpy()[place.inside]
        maps[place.where] = np.expand_dims(values, axis) if values.ndim == 2 else values
    return maps
