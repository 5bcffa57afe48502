"""What several families are built of: layers by number of dimensions, padding to whole steps, first weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medcl.errors import SettingsError

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUT: dict[int, Any] = {2: nn.Dropout2d, 3: nn.Dropout3d}


def check_strides(name: str, strides: tuple[tuple[int, ...], ...] | None, ndim: int) -> None:
    """Refuse steps that have not one number per axis.

    Raises:
        SettingsError: Says which.
    """
    for step in strides or ():
        if len(step) != ndim:
            raise SettingsError(
                f"backbone '{name}': expected strides with {ndim} numbers for {ndim}D images, got {step}; "
                f"write one number per axis ({'y, x' if ndim == 2 else 'z, y, x'})."
            )


def check_kernels(name: str, kernels: tuple[tuple[int, ...], ...] | None, levels: int, ndim: int) -> None:
    """Refuse kernels that are not one odd number per axis, or not one per level.

    Raises:
        SettingsError: Says which.
    """
    if kernels is not None and len(kernels) != levels:
        raise SettingsError(
            f"backbone '{name}': expected kernels for {levels} levels, got {len(kernels)}; write one per level."
        )
    for kernel in kernels or ():
        if len(kernel) != ndim or any(length % 2 == 0 for length in kernel):
            raise SettingsError(
                f"backbone '{name}': expected kernels of {ndim} odd numbers for {ndim}D images, got {kernel}."
            )


def strides_of(strides: Sequence[Sequence[int]] | None, levels: int, ndim: int) -> tuple[tuple[int, ...], ...]:
    """Return the step from each level to the next: as given, or 2 along every axis."""
    return tuple(tuple(s) for s in strides or ((2,) * ndim,) * (levels - 1))


@dataclass(frozen=True)
class Layout:
    """Step from each level to the next, channels and kernel of each level, finest first."""

    strides: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        strides: tuple[tuple[int, ...], ...],
        base: int,
        max_channels: int,
        kernels: tuple[tuple[int, ...], ...] | None = None,
    ) -> Layout:
        """Double the channels from level to level; kernels as given, or by what the steps leave alone."""
        widths = tuple(min(base * 2**i, max_channels) for i in range(len(strides) + 1))
        if kernels is not None:
            return cls(strides, widths, kernels)
        # An axis that the first steps leave alone is too coarse for a kernel across it (nnU-Net's rule, Isensee 2021).
        axes = range(len(strides[0]))
        chosen = [tuple(3 if any(s[a] > 1 for s in strides[: i + 1]) else 1 for a in axes) for i in range(len(strides))]
        return cls(strides, widths, (*chosen, chosen[-1]))


def norm(ndim: int, channels: int, kind: str) -> nn.Module:
    """Return batch normalisation, or group normalisation with as many groups as go into the channels, at most 8."""
    if kind == "batch":
        layer: nn.Module = BATCH_NORM[ndim](channels)
        return layer
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def whole_step(strides: Sequence[Sequence[int]], ndim: int) -> tuple[int, ...]:
    """Return the product of the steps of all levels, per axis."""
    whole = [1] * ndim
    for stride in strides:
        whole = [w * s for w, s in zip(whole, stride, strict=True)]
    return tuple(whole)


def without_pointwise_strides(network: nn.Module) -> nn.Module:
    """Let convolutions with a kernel of 1 take their stride by slicing what they read: the same result, in place.

    The gradient of torch 2.13 on a CPU for such a stride in channels-last frees memory twice and ends the process.
    """

    def thinned(step: tuple[int, ...]) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
        kept = (..., *(slice(None, None, s) for s in step))
        return lambda module, given: (given[0][kept],)  # type: ignore[index]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and max(module.kernel_size) == 1 < max(module.stride):
            module.register_forward_pre_hook(thinned(tuple(module.stride)))
            module.stride = (1,) * len(module.stride)
    return network


def pad_to(image: Tensor, multiple: Sequence[int]) -> Tensor:
    """Pad the spatial axes of (N, C, *S) with zeros at their ends, up to multiples."""
    missing = [-size % m for size, m in zip(image.shape[2:], multiple, strict=True)]
    if any(missing):
        image = functional.pad(image, [p for m in reversed(missing) for p in (0, m)])
    return image


def crop_to(values: Tensor, size: Sequence[int]) -> Tensor:
    """Cut the spatial axes of (N, C, *S) at their ends, down to `size`."""
    for axis, length in enumerate(size, start=2):
        if values.shape[axis] != length:
            values = values.narrow(axis, 0, length)
    return values


def upsample(values: Tensor, stride: Sequence[int]) -> Tensor:
    """Repeat each voxel of (N, C, *S) `stride` times per axis."""
    return functional.interpolate(values, scale_factor=[float(s) for s in stride], mode="nearest")


def start_undecided(head: nn.Module) -> None:
    """Give the layer that writes logits small weights, so that no class is favoured before anything is learnt."""
    nn.init.normal_(head.weight, std=0.01)  # type: ignore[arg-type]
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]


def start_convolutions(module: nn.Module) -> None:
    """Give all convolutions of a module first weights for leaky rectifiers (He et al., ICCV 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
