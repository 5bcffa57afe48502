"""From a prepared image to class probabilities on the plan's grid, slab by slab, so that memory does not grow with z.

2D plans: whole slices in batches, or overlapping windows where a slice is larger than `LARGEST_SLICE`. In 2.5D each
comes with its neighbours. With several views the slices across each axis, averaged in one array of the whole volume.
3D plans: overlapping windows of the plan's patch. Overlaps are averaged with a Gaussian weight that falls towards the
window's edge, as in nnU-Net (Isensee et al., Nature Methods 2021): standard deviation one eighth of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from math import prod
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.data.plan import Plan, neighbours
from medcl.errors import DataError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Network = Callable[[Tensor], Tensor]
"""Maps images (N, C, *S) float32 to logits (N, classes, *S): a module in eval mode or an engine."""

LARGEST_SLICE = 640 * 640
"""Slices up to this many pixels go through a 2D network in one piece; larger ones in windows."""

SLICE_WINDOW = 512
"""Side of the windows in slices that are too large."""

LARGEST_VOTE = 2**28
"""Class probabilities of several views up to this many stay in memory (1 GiB); more lie in a temporary file."""

_ALIGN = 32
_EDGE_WEIGHT = 1e-3  # keeps the division stable where only the edge of one window reaches


def predict_slabs(
    network: Network,
    array: NDArray[np.float32],
    plan: Plan,
    *,
    flips: bool = True,
    batch_size: int | None = None,
    overlap: float = 0.5,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Tensor]:
    """Yield class probabilities of successive slabs of a prepared image.

    Args:
        network: See `Network`. Modules must be in eval mode.
        array: Prepared image (C, Z, Y, X), float32; may be memory-mapped.
        plan: Says whether the network sees slices or volumes, its patch and its classes.
        flips: Average over the in-plane mirror images (4 views), the ones that training draws too.
        batch_size: Slices or windows per call of the network; default 4 in 2D, 1 in 3D.
        overlap: Share of a window that the next one repeats, in [0, 0.9].
        progress: Called with the share of the network's work that is done, up to 1.

    Yields:
        (classes, n, Y, X) float32 on the network's device, in order of z; together exactly Z slices.

    Raises:
        DataError: The array has another number of channels than the plan, or no voxels.
        SettingsError: `overlap` or `batch_size` is out of range.
    """
    if array.ndim != 4 or array.shape[0] != len(plan.channels) or min(array.shape) < 1:
        names = ", ".join(channel.name for channel in plan.channels)
        raise DataError(
            f"expected a prepared image (C, Z, Y, X) of {len(plan.channels)} channel(s) ({names}), got {array.shape}."
        )
    if not 0 <= overlap <= 0.9:
        raise SettingsError(f"overlap: expected a share between 0 and 0.9, got {overlap}.")
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"batch_size: expected at least 1, got {batch_size}.")
    device = _device_of(network)
    predict: Network = partial(_mean_over_views, network, classes=len(plan.classes), flips=flips)
    if progress is not None:
        predict = _telling(predict, count_windows(array.shape[1:], plan, overlap), progress)
    if plan.ndim == 3:
        yield from _volume(predict, array, plan, batch_size or 1, overlap, device)
    elif plan.views == ("z",):
        yield from _slices(predict, array, plan, batch_size or 4, overlap, device)
    else:
        yield from _vote(predict, array, plan, batch_size or 4, overlap, device)


def count_windows(size: Sequence[int], plan: Plan, overlap: float) -> int:
    """Return how many slices or windows of an image (Z, Y, X) go through the network."""
    if plan.ndim == 3:
        padded, window = _windows(size, plan.patch, plan.patch)
        return prod(len(window_starts(s, w, overlap)) for s, w in zip(padded, window, strict=True))
    total = 0
    for axis in map("zyx".index, plan.views):
        plane = [n for a, n in enumerate(size) if a != axis]
        if not _too_large(_aligned(plane, plan.patch)):
            total += size[axis]
            continue
        padded, window = _windows(plane, plan.patch, (SLICE_WINDOW, SLICE_WINDOW))
        total += size[axis] * prod(len(window_starts(s, w, overlap)) for s, w in zip(padded, window, strict=True))
    return total


def _telling(predict: Network, total: int, progress: Callable[[float], None]) -> Network:
    """Return a network that tells after each call which share of all windows is done."""
    done = 0

    def call(batch: Tensor) -> Tensor:
        nonlocal done
        result = predict(batch)
        done += batch.shape[0]
        progress(min(1.0, done / total))
        return result

    return call


def gaussian_window(size: int) -> NDArray[np.float32]:
    """Return the weight of each position of a window along one axis, shape (size,), largest 1 in the middle."""
    centre = (size - 1) / 2
    weight = np.exp(-0.5 * ((np.arange(size) - centre) / max(size / 8, 1e-6)) ** 2)
    return np.maximum(weight / weight.max(), _EDGE_WEIGHT).astype(np.float32)


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where windows start along an axis so that they cover it evenly and none leaves it.

    Args:
        size: Length of the axis.
        window: Length of a window, at most `size`.
        overlap: Least share of a window that the next one repeats.
    """
    if window >= size:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(size - window) // step) + 1
    return [round(index * (size - window) / (count - 1)) for index in range(count)]


def _slices(
    predict: Network, array: NDArray[np.float32], plan: Plan, batch_size: int, overlap: float, device: torch.device
) -> Iterator[Tensor]:
    size, depth = array.shape[2:], array.shape[1]
    padded = _aligned(size, plan.patch)
    if _too_large(padded):
        padded, window = _windows(size, plan.patch, (SLICE_WINDOW, SLICE_WINDOW))
        for z in range(depth):
            image = _padded(_with_neighbours(array, [z], plan.context, device)[0], padded)
            blend = _Blend(len(plan.classes), padded, window, overlap, device)
            blend.add_all(predict, image, batch_size)
            yield blend.mean()[:, None, : size[0], : size[1]]
        return
    for first in range(0, depth, batch_size):
        rows = range(first, min(first + batch_size, depth))
        probabilities = predict(_padded(_with_neighbours(array, rows, plan.context, device), padded).contiguous())
        yield probabilities.transpose(0, 1)[..., : size[0], : size[1]]


def _too_large(padded: Sequence[int]) -> bool:
    return padded[0] * padded[1] > LARGEST_SLICE


def _with_neighbours(array: NDArray[np.float32], rows: Iterable[int], context: int, device: torch.device) -> Tensor:
    """Return slices with their neighbours as channels, (n, slices * C, Y, X), as the sampler of training gives them."""
    shown = [neighbours(z, context, array.shape[1]) for z in rows]
    lowest = shown[0][0]
    part = _tensor(array[:, lowest : shown[-1][-1] + 1], device).transpose(0, 1)
    chosen = torch.tensor(shown, device=device) - lowest
    return part[chosen].flatten(1, 2)


def _vote(
    predict: Network, array: NDArray[np.float32], plan: Plan, batch_size: int, overlap: float, device: torch.device
) -> Iterator[Tensor]:
    """Average the probabilities of the slices across each axis of `plan.views`.

    Source: multi-view fusion, one of the 2.5D solutions compared by Zhang et al. (Bridging 2D and 3D Segmentation
    Networks for Computation-Efficient Volumetric Medical Image Segmentation, 2022). Probabilities of all voxels are
    held, in float16 on disk where they are many.
    """
    shape = (len(plan.classes), *array.shape[1:])
    with TemporaryFile(prefix="medcl-") as file:
        total: NDArray[Any] = (
            np.zeros(shape, np.float32)
            if prod(shape) <= LARGEST_VOTE
            else np.memmap(file, np.float16, "w+", shape=shape)
        )
        for axis in map("zyx".index, plan.views):
            turned, place = np.moveaxis(array, 1 + axis, 1), 0
            votes = np.moveaxis(total, 1 + axis, 1)
            for slab in _slices(predict, turned, plan, batch_size, overlap, device):
                votes[:, place : place + slab.shape[1]] += slab.cpu().numpy() / len(plan.views)
                place += slab.shape[1]
        for z in range(shape[1]):
            yield _tensor(total[:, z : z + 1], device)
        del total  # a file in use cannot be removed everywhere


def _volume(
    predict: Network, array: NDArray[np.float32], plan: Plan, batch_size: int, overlap: float, device: torch.device
) -> Iterator[Tensor]:
    """Blend windows of one z position after the other; what no later window reaches is final and leaves."""
    depth, *plane = array.shape[1:]
    padded, window = _windows(array.shape[1:], plan.patch, plan.patch)
    starts = window_starts(padded[0], window[0], overlap)
    weight = torch.from_numpy(gaussian_window(window[0])).to(device)
    total = torch.zeros(padded[0], device=device)
    for start in starts:
        total[start : start + window[0]] += weight
    rolling = torch.zeros((len(plan.classes), window[0], *plane), device=device)
    for start, following in zip(starts, [*starts[1:], padded[0]], strict=True):
        chunk = _tensor(array[:, start : start + window[0]], device)
        blend = _Blend(len(plan.classes), (window[0], *padded[1:]), window, overlap, device)
        blend.add_all(predict, _padded(chunk, (window[0], *padded[1:])), batch_size)
        rolling += blend.mean()[..., : plane[0], : plane[1]] * weight[:, None, None]
        final = min(following, depth) - start
        if final > 0:
            yield rolling[:, :final] / total[start : start + final, None, None]
        done = following - start
        rolling = torch.cat((rolling[:, done:], torch.zeros_like(rolling[:, :done])), dim=1)


class _Blend:
    """Weighted mean over windows; weights are products over axes, so is their sum, and no map of it is kept.

    A 3D block is one window deep, so its z weight is 1 here and applied by the caller.
    """

    def __init__(
        self, classes: int, size: Sequence[int], window: Sequence[int], overlap: float, device: torch.device
    ) -> None:
        self.window = tuple(window)
        self.starts = [window_starts(s, w, overlap) for s, w in zip(size, window, strict=True)]
        in_plane = len(size) - 2
        profiles = [gaussian_window(w) if axis >= in_plane else np.ones(w, np.float32) for axis, w in enumerate(window)]
        self.sum = torch.zeros((classes, *size), device=device)
        self.profiles = [_along(torch.from_numpy(p).to(device), axis, len(size)) for axis, p in enumerate(profiles)]
        self.totals = []
        for axis, (length, starts, profile) in enumerate(zip(size, self.starts, profiles, strict=True)):
            total = np.zeros(length, np.float32)
            for start in starts:
                total[start : start + len(profile)] += profile
            self.totals.append(_along(torch.from_numpy(total).to(device), axis, len(size)))

    def add_all(self, predict: Network, image: Tensor, batch_size: int) -> None:
        """Add the predictions of all windows of an image (C, *size)."""
        corners = list(product(*self.starts))
        for first in range(0, len(corners), batch_size):
            places = [
                tuple(slice(c, c + w) for c, w in zip(corner, self.window, strict=True))
                for corner in corners[first : first + batch_size]
            ]
            batch = torch.stack([image[(slice(None), *place)] for place in places])
            for place, probabilities in zip(places, predict(batch), strict=True):
                for profile in self.profiles:
                    probabilities = probabilities * profile
                self.sum[(slice(None), *place)] += probabilities

    def mean(self) -> Tensor:
        """Return the weighted mean (classes, *size)."""
        for total in self.totals:
            self.sum /= total
        return self.sum


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _mean_over_views(network: Network, batch: Tensor, *, classes: int, flips: bool) -> Tensor:
    """Return probabilities (N, classes, *S), averaged over the in-plane mirror images where `flips`."""
    views: list[tuple[int, ...]] = [(), (-1,), (-2,), (-2, -1)] if flips else [()]
    total: Tensor | None = None
    with torch.no_grad():
        for axes in views:
            logits = network(batch.flip(axes) if axes else batch)
            if logits.shape != (batch.shape[0], classes, *batch.shape[2:]):
                raise SettingsError(
                    f"the network returned {tuple(logits.shape)} for an input of {tuple(batch.shape)}; expected "
                    f"{classes} class channels at the same size."
                )
            # a plain function may answer on another device than it was asked on
            probabilities = torch.softmax(logits.float().to(batch.device), dim=1)
            if axes:
                probabilities = probabilities.flip(axes)
            total = probabilities if total is None else total.add_(probabilities)
    assert total is not None
    return total.div_(len(views)) if len(views) > 1 else total


def _aligned(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Round sizes up to what the network halves without rest: the powers of two in the training patch, at most 32.

    Aligned sizes are few, so that an engine which compiles per size compiles seldom.
    """
    multiples = [min(_ALIGN, length & -length) for length in patch]
    return tuple(-(-length // multiple) * multiple for length, multiple in zip(size, multiples, strict=True))


def _windows(
    size: Sequence[int], patch: Sequence[int], largest: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the size to pad an image to, and the window that slides over it.

    Only axes shorter than the window are padded: windows are of aligned sizes by themselves, and on small volumes
    padding the rest too more than doubles their number.
    """
    window = tuple(min(most, length) for most, length in zip(largest, _aligned(size, patch), strict=True))
    return tuple(max(length, w) for length, w in zip(size, window, strict=True)), window


def _padded(image: Tensor, size: Sequence[int]) -> Tensor:
    """Append zeros (the mean of normalised images) at the end of the last axes up to `size`."""
    missing = [target - length for length, target in zip(image.shape[-len(size) :], size, strict=True)]
    if not any(missing):
        return image
    return functional.pad(image, [p for m in reversed(missing) for p in (0, m)])


def _tensor(part: np.ndarray, device: torch.device) -> Tensor:
    """Copy a small part of the image: it may be a read-only map of a file, or float16."""
    return torch.from_numpy(np.array(part, dtype=np.float32)).to(device)


def _device_of(network: Network) -> torch.device:
    if isinstance(network, nn.Module):
        parameter = next(network.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")
    return torch.device(getattr(network, "device", "cpu"))


def most_likely(probabilities: Tensor) -> Tensor:
    """Return the index of the largest of (classes, ...); among equals the lowest.

    Same answer as argmax over the first axis, which torch computes ten times slower on a CPU.
    """
    best = probabilities[0].clone()
    dtype = torch.int16 if probabilities.shape[0] > 256 else torch.uint8
    index = torch.zeros(best.shape, dtype=dtype, device=best.device)
    for number, candidate in enumerate(probabilities[1:], start=1):
        index.masked_fill_(candidate > best, number)
        torch.maximum(best, candidate, out=best)
    return index


def mask_of(slabs: Iterable[Tensor]) -> np.ndarray:
    """Return the mask (Z, Y, X) of slabs (classes, z, Y, X) of class scores that follow each other along Z."""
    return np.concatenate([most_likely(slab).cpu().numpy() for slab in slabs])
