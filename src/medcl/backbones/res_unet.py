"""U-Net with a residual encoder and decoder in sizes S, B and L, and with attention as options of its blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from medcl.backbones import backbones
from medcl.backbones.attention import DualAttention, GuidedAttention
from medcl.backbones.layers import (
    CONV,
    Layout,
    check_strides,
    crop_to,
    norm,
    pad_to,
    start_convolutions,
    start_undecided,
    strides_of,
    upsample,
    whole_step,
)
from medcl.backbones.weights import WithWeights
from medcl.backbones.window_upsampling import WindowUpsampling

SIZES = {"S": (16, 1), "B": (32, 1), "L": (64, 2)}
"""Channels of the finest level and residual blocks per level (STU-Net, Huang et al., 2023, table 1)."""

WIDEST = 16
"""Channels of a level are at most this multiple of the finest level's (16 to 256, 32 to 512, 64 to 1024)."""


@backbones.register("res-unet")
class ResUNetSettings(WithWeights):
    """Residual U-Net whose depth and width grow together (STU-Net, Huang et al., arXiv 2304.06716, 2023)."""

    has_branches: ClassVar[bool] = True

    size: Literal["S", "B", "L"] = Field("S", description="Width and depth together: 16 x 1, 32 x 1 or 64 x 2.")
    levels: int = Field(6, ge=2, le=7, description="Resolution levels, the finest included.")
    base: int | None = Field(None, ge=2, description="Channels of the finest level, in place of those of the size.")
    norm: Literal["batch", "group"] = Field("batch", description="Normalisation after each convolution.")
    attention: Literal["none", "dual", "guided"] = Field(
        "none", description="Attention on the skips: spatial and channel (dual), or gated by all scales (guided)."
    )
    up: Literal["nearest", "window-attention"] = Field("nearest", description="How the decoder goes to a finer level.")
    window: int = Field(4, ge=2, le=8, description="Side of the coarse window of window-attention upsampling.")
    strides: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None,
        min_length=1,
        description="Step per axis from each level to the next, in place of `levels`; default: 2 along every axis.",
    )

    def build(self, *, in_channels: int, classes: int, ndim: int) -> ResUNet:
        """Return the network for images of `ndim` dimensions.

        Raises:
            SettingsError: A step of `strides` has not one number per axis.
        """
        check_strides("res-unet", self.strides, ndim)
        return ResUNet(self, in_channels=in_channels, classes=classes, ndim=ndim)

    def layout(self, ndim: int) -> Layout:
        """Return steps, channels and kernels of all levels."""
        base = self.base or SIZES[self.size][0]
        return Layout.of(strides_of(self.strides, self.levels, ndim), base, WIDEST * base)

    @property
    def depth(self) -> int:
        """Residual blocks per level."""
        return SIZES[self.size][1]


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the first one takes the step (He et al., CVPR 2016)."""

    def __init__(
        self,
        ndim: int,
        inside: int,
        outside: int,
        *,
        kernel: tuple[int, ...],
        kind: str,
        stride: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        padding, step = tuple(k // 2 for k in kernel), stride or (1,) * ndim
        self.first = CONV[ndim](inside, outside, kernel, stride=step, padding=padding, bias=False)
        self.first_norm = norm(ndim, outside, kind)
        self.second = CONV[ndim](outside, outside, kernel, padding=padding, bias=False)
        self.second_norm = norm(ndim, outside, kind)
        same = inside == outside and stride is None
        self.shortcut = nn.Identity() if same else CONV[ndim](inside, outside, 1, stride=step, bias=False)
        self.rectify = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, values: Tensor) -> Tensor:
        """Map (N, inside, *S) to (N, outside, *S / stride)."""
        result = self.rectify(self.first_norm(self.first(values)))
        result = self.second_norm(self.second(result)) + self.shortcut(values)
        rectified: Tensor = self.rectify(result)
        return rectified


def residual_blocks(
    ndim: int,
    inside: int,
    outside: int,
    *,
    count: int,
    kernel: tuple[int, ...],
    kind: str,
    stride: tuple[int, ...] | None = None,
) -> nn.Sequential:
    """Return residual blocks in a row, the first of which takes the step."""
    first = ResidualBlock(ndim, inside, outside, kernel=kernel, kind=kind, stride=stride)
    rest = [ResidualBlock(ndim, outside, outside, kernel=kernel, kind=kind) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)


class _NearestUp(nn.Module):
    """A 1 x 1 convolution, then each voxel repeated: weights that fit any step."""

    def __init__(self, ndim: int, deep: int, shallow: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride
        self.project = CONV[ndim](deep, shallow, 1, bias=False)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return upsample(self.project(deep), self.stride)


class ResDecoder(nn.Module):
    """The way up from features to logits, which the network and its further branches share.

    Args:
        settings: Width, depth, attention and upsampling.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: ResUNetSettings, *, classes: int, ndim: int) -> None:
        super().__init__()
        layout = settings.layout(ndim)
        pairs = list(zip(pairwise(layout.widths), layout.strides, strict=True))
        self.up: nn.ModuleList = nn.ModuleList(
            WindowUpsampling(ndim, deep, shallow, stride=stride, window=settings.window)
            if settings.up == "window-attention"
            else _NearestUp(ndim, deep, shallow, stride)
            for (shallow, deep), stride in pairs
        )
        self.blocks = nn.ModuleList(
            residual_blocks(ndim, 2 * shallow, shallow, count=settings.depth, kernel=kernel, kind=settings.norm)
            for ((shallow, _), _), kernel in zip(pairs, layout.kernels[:-1], strict=True)
        )
        self.dual = (
            nn.ModuleList(DualAttention(ndim, width) for width in layout.widths[:-1])
            if settings.attention == "dual"
            else None
        )
        self.guided = GuidedAttention(ndim, layout.widths) if settings.attention == "guided" else None
        self.head = CONV[ndim](layout.widths[0], classes, 1)
        start_convolutions(self)
        start_undecided(self.head)

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels, finest first, to logits (N, classes, *size)."""
        skips = self.guided(features) if self.guided is not None else features[:-1]
        result = features[-1]
        for level in reversed(range(len(self.blocks))):
            skip = skips[level] if self.dual is None else self.dual[level](skips[level])
            result = self.blocks[level](torch.cat((skip, self.up[level](result, skip)), dim=1))
        return crop_to(self.head(result), size)


class ResUNet(nn.Module):
    """Residual encoder and decoder; pads odd sizes inside and crops them off again.

    Args:
        settings: Size, levels, normalisation, attention and upsampling.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: ResUNetSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__()
        self.settings, self.classes, self.ndim = settings, classes, ndim
        layout = settings.layout(ndim)
        self.whole = whole_step(layout.strides, ndim)
        self.encoder = nn.ModuleList(
            residual_blocks(ndim, i, o, count=settings.depth, kernel=kernel, kind=settings.norm, stride=stride)
            for (i, o), kernel, stride in zip(
                pairwise([in_channels, *layout.widths]), layout.kernels, (None, *layout.strides), strict=True
            )
        )
        start_convolutions(self.encoder)
        self.decoder = ResDecoder(settings, classes=classes, ndim=ndim)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to the features of all levels, finest first, on grids padded to whole steps."""
        features, values = [], pad_to(image, self.whole)
        for blocks in self.encoder:
            values = blocks(values)
            features.append(values)
        return features

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels, finest first, to logits (N, classes, *size)."""
        logits: Tensor = self.decoder(features, size)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to logits (N, classes, *S)."""
        return self.decode(self.encode(image), tuple(image.shape[2:]))

    def branch(self) -> ResDecoder:
        """Return a further decoder of the same structure with fresh weights."""
        return ResDecoder(self.settings, classes=self.classes, ndim=self.ndim)
