"""The images that a model is adapted to: prepared once, drawn by slices of one case or by windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medcl.data.io import read_image
from medcl.data.plan import Plan, neighbours
from medcl.data.prepare import Prepared, prepare_image
from medcl.errors import DataError
from medcl.inference.files import InputCase
from medcl.inference.segment import check_image
from medcl.inference.sliding import LARGEST_SLICE, SLICE_WINDOW

_STEP = 32
"""Slices are padded to multiples of this, as in prediction."""


@dataclass(frozen=True)
class Target:
    """One image to adapt to.

    Attributes:
        id: Name of the case.
        prepared: The image on the plan's grid; its array is a map of a file.
    """

    id: str
    prepared: Prepared


def prepare_targets(
    cases: Sequence[InputCase],
    plan: Plan,
    scratch: Path,
    *,
    tell: Callable[[int, int, str], None] = lambda number, total, case: None,
) -> list[Target]:
    """Read and prepare images into files of a folder.

    Raises:
        DataError: One cannot be read or does not fit the model; says which.
    """
    targets = []
    for number, case in enumerate(cases):
        tell(number, len(cases), case.id)
        if case.problem is not None:
            raise DataError(case.problem)
        image = read_image(case.source)
        check_image(image, plan, ", ".join(str(source) for source in case.sources))
        prepared = prepare_image(image, plan)
        path = scratch / f"{number}.npy"
        np.save(path, prepared.array)
        targets.append(Target(case.id, Prepared(np.load(path, mmap_mode="r"), prepared.grid)))
    return targets


class Draws:
    """Draws batches: step k is a pure function of images, seed and k.

    2D: slices of one case, evenly spread over it. 3D, and where a slice is too large: windows of one case. Each comes
    with the places of it that count, drawn so that the mean over images of the mean over their places is, in
    expectation, the mean over the case: a class ratio taken so is that of the case, whatever is padded and wherever
    windows lie.
    """

    def __init__(self, targets: Sequence[Target], plan: Plan, *, batch_size: int, seed: int) -> None:
        self.targets, self.plan, self.batch_size, self.seed = targets, plan, batch_size, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Target]:
        """Return images (N, channels, *S), the places that count (N, *S) bool, and the case that they are from."""
        rng = np.random.default_rng([self.seed, step])
        order = np.random.default_rng([self.seed, 2**20, step // len(self.targets)]).permutation(len(self.targets))
        target = self.targets[order[step % len(self.targets)]]
        array = target.prepared.array
        if self.plan.ndim == 3:
            return *_stacked([_window(array, self.plan.patch, rng) for _ in range(self.batch_size)]), target
        axis = "zyx".index(self.plan.views[rng.integers(len(self.plan.views))])
        turned = np.moveaxis(array, 1 + axis, 1)
        depth = turned.shape[1]
        count = min(self.batch_size, depth)
        rows = ((np.arange(count) + rng.random()) * depth / count).astype(int) % depth
        return *_stacked([self._slice(turned, int(z), rng) for z in rows]), target

    def _slice(self, array: np.ndarray, z: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shown = np.asarray(array[:, list(neighbours(z, self.plan.context, array.shape[1]))], dtype=np.float32)
        channels = shown.swapaxes(0, 1).reshape(-1, *shown.shape[2:])  # slice by slice, as the sampler stacks them
        padded = [-(-side // _STEP) * _STEP for side in channels.shape[1:]]
        if padded[0] * padded[1] > LARGEST_SLICE:
            padded = [min(side, SLICE_WINDOW) for side in padded]
        return _window(channels, padded, rng)


def _stacked(cuts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.stack([cut for cut, _ in cuts])), torch.from_numpy(np.stack([own for _, own in cuts]))


def _window(array: np.ndarray, size: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window (C, *size) at random; what is smaller is padded with zeros, the mean of prepared images.

    Windows that start anywhere see the middle of an image more often than its rim. So the image is divided, at cuts
    that are drawn anew each time, into parts no larger than the window; one part is drawn by its size, and counts
    alone. The mean over the part is then in expectation the mean over the image.

    Returns:
        The window, and (*size) bool: the places of it that are the part.
    """
    result, own = np.zeros((array.shape[0], *size), np.float32), np.zeros(tuple(size), bool)
    there, here, part = [slice(None)], [slice(None)], []
    for side, wanted in zip(array.shape[1:], size, strict=True):
        low, high = 0, side
        if side > wanted:
            # a part is drawn by its size where a place is drawn evenly and its part taken
            cut, place = int(rng.integers(wanted)), int(rng.integers(side))
            low = (place - cut) // wanted * wanted + cut
            low, high = max(0, low), min(side, low + wanted)
        begin = min(low, max(0, side - wanted))
        there.append(slice(begin, begin + wanted))
        here.append(slice(0, min(side, wanted)))
        part.append(slice(low - begin, high - begin))
    result[tuple(here)] = array[tuple(there)]
    own[tuple(part)] = True
    return result, own


def split(cases: Sequence[Target], share: float, seed: int) -> tuple[list[Target], list[Target]]:
    """Divide cases into those that are learned from and those that only the guard sees.

    Fewer than four cases are too few to hold any back: the guard then looks at all, and so says less.

    Returns:
        Learned from, held out.
    """
    if len(cases) < 4:
        return list(cases), list(cases)
    count = min(len(cases) - 1, max(2, round(share * len(cases))))  # something has to be learned from
    chosen = set(np.random.default_rng([seed, 7]).permutation(len(cases))[:count].tolist())
    learn = [case for number, case in enumerate(cases) if number not in chosen]
    return learn, [case for number, case in enumerate(cases) if number in chosen]
