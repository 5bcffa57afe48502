"""From what a person points at in an image to what the network is asked, slice by slice on the plan's grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medcl.backbones.prompts import Box, ClassPrompts, Point, Prompts
from medcl.data.grid import Grid
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.data.prepare import Prepared, prepare_map
from medcl.errors import DataError, SettingsError, unknown_name
from medcl.inference.sliding import LARGEST_SLICE

POINTS_PER_CLASS = 8
"""Points that stand for the strokes of a class in a slice, as far apart as they can be."""

SlicePrompts = dict[int, list[ClassPrompts]]
"""Slice on the plan's grid -> what is asked there."""


class PromptedNetwork:
    """Answers for the slices of one image in order of z, with prompts where a slice has some.

    Args:
        network: A `medcl.backbones.prompts.Promptable` in eval mode.
        prompts: From `place_prompts`.
    """

    def __init__(self, network: nn.Module, prompts: SlicePrompts) -> None:
        self.network, self.prompts, self.z = network, prompts, 0
        self.device = next(network.parameters()).device

    def __call__(self, batch: Tensor) -> Tensor:
        """Map the next slices (N, C, Y, X) to logits (N, classes, Y, X)."""
        batch, first = batch.to(self.device), self.z
        self.z += len(batch)
        asked = [self.prompts.get(z, []) for z in range(first, self.z)]
        with torch.no_grad():
            if not any(asked):
                return self.network(batch)
            rows = [
                self.network.prompted(image[None], prompts)  # type: ignore[operator]
                for image, prompts in zip(batch, asked, strict=True)
            ]
        return torch.cat(rows)


def ask(network: nn.Module, backbone: str, plan: Plan, prepared: Prepared, prompts: Prompts) -> PromptedNetwork:
    """Return the network with prompts for one prepared image.

    Raises:
        SettingsError: The network reads no prompts, or the slices are too large to go through it in one piece.
        DataError: A prompt lies outside the image, names an unknown class, or a map has another shape.
    """
    if not hasattr(network, "prompted"):
        raise SettingsError(
            f"prompts: expected a model that reads them, got one with the backbone '{backbone}'; train one with "
            "--backbone sam, or leave prompts out."
        )
    if prepared.array.shape[2] * prepared.array.shape[3] > LARGEST_SLICE:
        size = tuple(prepared.array.shape[2:])
        raise SettingsError(
            f"prompts: expected slices of at most {LARGEST_SLICE} pixels, got {size} on the plan's grid, which go "
            "through the network in windows; crop the image, or leave prompts out."
        )
    return PromptedNetwork(network, place_prompts(prompts, prepared.grid, plan))


def place_prompts(prompts: Prompts, grid: Grid, plan: Plan) -> SlicePrompts:
    """Bring prompts to the plan's grid and say what is asked of each class in each slice.

    A class is asked for where it has a point, stroke, box or mask of its own. Points and strokes of every other class,
    background included, then say where it is not. Strokes become `POINTS_PER_CLASS` points.

    Args:
        prompts: In voxels of the image as stored.
        grid: The image's way to the plan's grid.
        plan: Classes.

    Raises:
        DataError: A prompt lies outside the image, names an unknown class, or a map has another shape.
    """
    drawn: dict[int, list[tuple[int, float, float]]] = {}  # slice -> (class, y, x)
    boxes: dict[int, dict[int, tuple[float, float, float, float]]] = {}
    for point in prompts.points:
        z, y, x = _placed(_inside(point.at, grid, point), grid)
        drawn.setdefault(round(z), []).append((_index(point.of, plan), y, x))
    for box in prompts.boxes:
        z, rectangle = _rectangle(box, grid)
        index = _index(box.of, plan)
        if index == 0 or index in boxes.setdefault(z, {}):
            raise DataError(
                f"prompts: expected at most one box per structure and slice, got {box}; "
                "give one that holds all of it, and none for the background."
            )
        boxes[z][index] = rectangle
    for z, plane in _planes(prompts.strokes, grid, plan, "strokes"):
        for index in np.unique(plane[plane != UNLABELLED]).tolist():
            places = _far_apart(np.argwhere(plane == index), POINTS_PER_CLASS)
            drawn.setdefault(z, []).extend((index, float(y), float(x)) for y, x in places)
    masks = dict(_planes(prompts.mask, grid, plan, "mask"))
    result: SlicePrompts = {}
    for z in sorted({*drawn, *boxes, *masks}):
        points, rectangles, mask = drawn.get(z, []), boxes.get(z, {}), masks.get(z)
        masked = set() if mask is None else {int(c) for c in np.unique(mask) if c > 0}
        for index in sorted({c for c, _, _ in points if c} | set(rectangles) | masked):
            shown = mask == index if mask is not None and index in masked else None
            asked = [(y, x, c == index) for c, y, x in points]
            result.setdefault(z, []).append(ClassPrompts(index, asked, rectangles.get(index), shown))
    return result


def _index(of: str | int, plan: Plan) -> int:
    if isinstance(of, str):
        if of not in plan.classes:
            raise DataError(f"prompts: {unknown_name('class', of, plan.classes)}")
        return plan.classes.index(of)
    if not 0 <= of < len(plan.classes):
        raise DataError(f"prompts: expected a class from 0 to {len(plan.classes) - 1}, got {of}.")
    return of


def _inside(at: Sequence[float], grid: Grid, what: Point | Box) -> tuple[float, float, float]:
    """Return a voxel (z, y, x) of the image, or raise."""
    size = grid.geometry.size
    place = tuple(float(v) for v in at)
    if len(place) == 2 and size[0] == 1:
        place = (0.0, *place)
    if len(place) != 3 or not all(-0.5 <= v <= n - 0.5 for v, n in zip(place, size, strict=True)):
        raise DataError(f"prompts: expected voxels (z, y, x) within {size}, counted from 0, got {what}.")
    return place[0], place[1], place[2]


def _placed(voxel: tuple[float, float, float], grid: Grid) -> tuple[float, float, float]:
    """Bring a voxel of the image to the plan's grid; the centres of voxels are whole numbers on both."""
    turned = [voxel[axis] for axis in grid.order]
    lengths = grid.turned_size
    mirrored = [n - 1 - v if flip else v for v, n, flip in zip(turned, lengths, grid.flips, strict=True)]
    z, y, x = ((v + 0.5) * size / n - 0.5 for v, size, n in zip(mirrored, grid.size, lengths, strict=True))
    return z, y, x


def _rectangle(box: Box, grid: Grid) -> tuple[int, tuple[float, float, float, float]]:
    """Return the slice and (y0, x0, y1, x1) of a box on the plan's grid."""
    corners = [_placed(_inside(at, grid, box), grid) for at in (box.low, box.high)]
    slices = {round(z) for z, _, _ in corners}
    if len(slices) != 1:
        raise DataError(f"prompts: expected a box within one slice, got {box}; give a box for each slice.")
    (y0, y1), (x0, x1) = (sorted(c[axis] for c in corners) for axis in (1, 2))
    return slices.pop(), (y0, x0, y1, x1)


def _planes(array: np.ndarray | None, grid: Grid, plan: Plan, what: str) -> list[tuple[int, np.ndarray]]:
    """Return the slices of a map that say something, on the plan's grid."""
    if array is None:
        return []
    volume = np.asarray(array)[None] if np.ndim(array) == 2 else np.asarray(array)
    if volume.shape != tuple(grid.geometry.size):
        raise DataError(f"prompts: expected {what} of shape {grid.geometry.size} like the image, got {volume.shape}.")
    strange = sorted({int(v) for v in np.unique(volume)} - {UNLABELLED, *range(len(plan.classes))})
    if strange:
        raise DataError(
            f"prompts: expected classes 0 to {len(plan.classes) - 1} and {UNLABELLED} in {what}, got {strange[:5]}."
        )
    placed = prepare_map(volume, grid, plan)
    return [(z, plane) for z, plane in enumerate(placed) if (plane != UNLABELLED).any()]


def _far_apart(places: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of (n, 2) places, each the farthest from those before it; the first is the middle one."""
    chosen = [len(places) // 2]
    distance = np.linalg.norm(places - places[chosen[0]], axis=1)
    for _ in pairwise(range(min(count, len(places)))):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return places[chosen]


def read_prompts(path: Path | str) -> Prompts:
    """Read prompts from a JSON file.

    `{"points": [{"of": "LV", "at": [4, 80, 75]}], "boxes": [{"of": "RV", "low": [4, 50, 40], "high": [4, 90, 70]}]}`

    Raises:
        DataError: Not such a file.
    """
    from medcl.files import read_json

    content = read_json(path)
    try:
        if not isinstance(content, dict) or set(content) - {"points", "boxes"}:
            raise TypeError(f"keys {sorted(content)}" if isinstance(content, dict) else type(content).__name__)
        points = tuple(Point(**entry) for entry in content.get("points", ()))
        return Prompts(points=points, boxes=tuple(Box(**entry) for entry in content.get("boxes", ())))
    except TypeError as error:
        raise DataError(
            f'{path}: expected {{"points": [{{"of": CLASS, "at": [z, y, x]}}], "boxes": [{{"of": CLASS, "low": '
            f'[z, y, x], "high": [z, y, x]}}]}}, got something else ({error}).'
        ) from None
