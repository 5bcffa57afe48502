"""The network's own features of a scan, slice by slice (2D) or window by window (3D)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.data.plan import Plan, neighbours
from medcl.inference.engines import device_has_bf16
from medcl.inference.sliding import window_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGN = 32


@dataclass(frozen=True)
class Unit:
    """A slice or window and what the network makes of it.

    Attributes:
        place: Where it lies on the plan's grid, (z, y, x) slices.
        image: (C, *S) float32 as the network saw it, without neighbours and padding. S is (Y, X) or (Z, Y, X).
        levels: Features (channels, *s), fine to coarse, one per grid of the encoder, cropped like the image.
        probabilities: (classes, *S).
        strange: (*S) what a network that scores familiarity itself says (`strangeness`), or None.
    """

    place: tuple[slice, slice, slice]
    image: Tensor
    levels: tuple[Tensor, ...]
    probabilities: Tensor
    strange: Tensor | None = None


def look(network: nn.Module, array: NDArray[np.float32], plan: Plan) -> Iterator[Unit]:
    """Run a network over a prepared image and yield what it sees.

    Args:
        network: What `build_for_plan` built, in eval mode.
        array: Prepared image (C, Z, Y, X).
        plan: Its plan. Plans of several views are looked at across z only.

    Yields:
        2D: one unit per slice, in order. 3D: windows of the plan's patch that cover the image with little overlap.
    """
    device = next(network.parameters()).device
    fast = device_has_bf16(device)
    if plan.ndim == 2:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for place, shown in _inputs(array, plan):
        batch = torch.from_numpy(shown)[None].to(device)
        size = batch.shape[2:]
        padded = [-(-n // step) * step for n, step in zip(size, _steps(size, plan), strict=True)]
        missing = [want - have for have, want in zip(size[::-1], padded[::-1], strict=True)]
        batch = functional.pad(batch, [p for m in missing for p in (0, m)])
        if plan.ndim == 2:
            batch = batch.to(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            levels, logits, strange = run_with_features(network, batch)
        crop = (slice(None), *(slice(0, n) for n in size))
        yield Unit(
            place,
            _own_channels(batch[0], plan)[crop].contiguous(),
            tuple(_cropped(f[0].float(), size, padded).contiguous() for f in levels),
            logits[0].float().softmax(0)[crop].contiguous(),
            None if strange is None else strange[0].float()[crop[1:]],
        )


def run_with_features(network: nn.Module, batch: Tensor) -> tuple[list[Tensor], Tensor, Tensor | None]:
    """Return the features of every grid on the way down, fine to coarse, the logits and the network's own score.

    Networks in two parts (`medcl.backbones.Branching`) say what their features are. Of others the last output on each
    grid is taken, up to the first time that the grid is the coarsest.

    Args:
        network: Any module from (N, C, *S) to logits.
        batch: (N, C, *S).

    Returns:
        Features (N, channels, *s); logits (N, classes, *S); (N, *S) of networks with `strangeness`, else None.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == batch.ndim and not any(True for _ in module.children()):
            seen.append(output)

    size = tuple(batch.shape[2:])
    if hasattr(network, "encode") and hasattr(network, "decode"):
        features: list[Tensor] = network.encode(batch)  # type: ignore[operator]
        levels = [f for f in features if f.ndim == batch.ndim]
        centres = getattr(network, "centres", None)
        if centres is not None and hasattr(network, "strangeness"):
            answers = centres(features, network.pixels.decode(features, size))  # type: ignore[union-attr,operator]
            return levels, centres.logits(answers), -answers.amax(dim=1)
        return levels, network.decode(features, size), None  # type: ignore[operator]
    hooks = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        logits = network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return _on_the_way_down(seen), logits, None


def _on_the_way_down(outputs: list[Tensor]) -> list[Tensor]:
    """Return the last output per grid before a finer grid follows the coarsest one."""
    sizes = [output[0, 0].numel() for output in outputs]
    coarsest = sizes.index(min(size for size in sizes if size > 1) if max(sizes) > 1 else min(sizes))
    last = coarsest
    while last + 1 < len(sizes) and sizes[last + 1] == sizes[coarsest]:
        last += 1
    kept: dict[int, Tensor] = {}
    for size, output in zip(sizes[: last + 1], outputs[: last + 1], strict=True):
        kept[size] = output
    return [kept[size] for size in sorted(kept, reverse=True)]


def _inputs(array: NDArray[np.float32], plan: Plan) -> Iterator[tuple[tuple[slice, slice, slice], NDArray[np.float32]]]:
    depth, *plane = array.shape[1:]
    if plan.ndim == 2:
        rows, columns = (slice(0, size) for size in plane)
        for z in range(depth):
            shown = np.stack([array[:, n] for n in neighbours(z, plan.context, depth)])
            yield (slice(z, z + 1), rows, columns), np.ascontiguousarray(shown.reshape(-1, *plane), dtype=np.float32)
        return
    window = [min(n, p) for n, p in zip(array.shape[1:], plan.patch, strict=True)]
    starts = [window_starts(n, w, 0.1) for n, w in zip(array.shape[1:], window, strict=True)]
    for corner in product(*starts):
        deep, high, wide = (slice(c, c + w) for c, w in zip(corner, window, strict=True))
        yield (deep, high, wide), np.ascontiguousarray(array[:, deep, high, wide], dtype=np.float32)


def _own_channels(shown: Tensor, plan: Plan) -> Tensor:
    """Return the channels of the slice itself, without those of its neighbours."""
    count = len(plan.channels)
    first = plan.context * count if plan.ndim == 2 else 0
    return shown[first : first + count]


def _steps(size: torch.Size, plan: Plan) -> tuple[int, ...]:
    return tuple(min(_ALIGN, p & -p) for p in plan.patch)


def _cropped(features: Tensor, size: torch.Size, padded: list[int]) -> Tensor:
    """Leave out features that only saw padding."""
    keep = [max(1, -(-n * f // p)) for n, p, f in zip(size, padded, features.shape[1:], strict=True)]
    return features[(slice(None), *(slice(0, k) for k in keep))]
