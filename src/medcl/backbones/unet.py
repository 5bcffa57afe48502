"""A plain U-Net in 2D and 3D, laid out for speed on CPUs with bf16 as much as on GPUs.

Why not MONAI's BasicUNet or DynUNet: measured slower for the same width (see Decisions in `docs/architecture.md`),
because their instance normalisation and their order of layers lose what channels-last and bf16 gain on a CPU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones import backbones
from medcl.backbones.layers import (
    CONV,
    DROPOUT,
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


@backbones.register("unet")
class UNetSettings(WithWeights):
    """U-Net (Ronneberger et al., MICCAI 2015) with batch or group normalisation and padded convolutions."""

    has_branches: ClassVar[bool] = True

    base: int = Field(16, ge=2, description="Channels of the finest level; doubled at each coarser one.")
    levels: int = Field(5, ge=2, le=7, description="Resolution levels, the finest included.")
    max_channels: int = Field(320, ge=2, description="Largest number of channels of a level.")
    norm: Literal["batch", "group"] = Field("batch", description="Normalisation after each convolution.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of whole channels at the two coarsest levels.")
    strides: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None,
        min_length=1,
        description="Step per axis from each level to the next, in place of `levels`; default: 2 along every axis.",
    )

    def build(self, *, in_channels: int, classes: int, ndim: int) -> UNet:
        """Return the network for images of `ndim` dimensions.

        Raises:
            SettingsError: A step of `strides` has not one number per axis.
        """
        check_strides("unet", self.strides, ndim)
        return UNet(self, in_channels=in_channels, classes=classes, ndim=ndim)


class _Block(nn.Sequential):
    """Two 3 x 3 (x 3) convolutions, each normalised and rectified."""

    def __init__(
        self, ndim: int, inside: int, outside: int, *, kernel: tuple[int, ...], settings: UNetSettings
    ) -> None:
        layers: list[nn.Module] = []
        padding = tuple(k // 2 for k in kernel)
        for channels in (inside, outside):
            layers += [
                CONV[ndim](channels, outside, kernel, padding=padding, bias=False),
                norm(ndim, outside, settings.norm),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class _Decoding(nn.Module):
    """The way up from the features to logits, which the U-Net and its further decoders share."""

    def __init__(self, settings: UNetSettings, *, classes: int, ndim: int) -> None:
        super().__init__()
        self.settings, self.classes, self.ndim = settings, classes, ndim
        strides = strides_of(settings.strides, settings.levels, ndim)
        self.layout = Layout.of(strides, settings.base, settings.max_channels)

    def _add_decoder(self) -> None:
        """Build the layers, then give this module's convolutions their first weights."""
        widths, kernels = self.layout.widths, self.layout.kernels
        conv = CONV[self.ndim]
        self.up = nn.ModuleList(conv(deep, shallow, 1, bias=False) for shallow, deep in pairwise(widths))
        self.decoder = nn.ModuleList(
            _Block(self.ndim, 2 * width, width, kernel=k, settings=self.settings)
            for width, k in zip(widths[:-1], kernels[:-1], strict=True)
        )
        self.head = conv(widths[0], self.classes, 1)
        start_convolutions(self)
        start_undecided(self.head)

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels, finest first, to logits (N, classes, *size)."""
        result = features[-1]
        for level in reversed(range(len(self.decoder))):
            # The 1 x 1 convolution comes before the upsampling: the same result on a grid 2**ndim times smaller.
            result = upsample(self.up[level](result), self.layout.strides[level])
            result = self.decoder[level](torch.cat((features[level], result), dim=1))
        return crop_to(self.head(result), size)


class UNetBranch(_Decoding):
    """A further decoder with weights of its own on the features of a U-Net."""

    def __init__(self, settings: UNetSettings, *, classes: int, ndim: int) -> None:
        super().__init__(settings, classes=classes, ndim=ndim)
        self._add_decoder()

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels, finest first, to logits (N, classes, *size)."""
        return self.decode(features, size)


class UNet(_Decoding):
    """Encoder, decoder and skips; pads odd sizes inside and crops them off again.

    Args:
        settings: Width, depth and normalisation.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: UNetSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__(settings, classes=classes, ndim=ndim)
        self.encoder = nn.ModuleList(
            _Block(ndim, i, o, kernel=k, settings=settings)
            for (i, o), k in zip(pairwise([in_channels, *self.layout.widths]), self.layout.kernels, strict=True)
        )
        self.dropout = DROPOUT[ndim](settings.dropout) if settings.dropout else nn.Identity()
        self._add_decoder()

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to the features of all levels, finest first, on grids padded to whole steps."""
        features = []
        level_features = pad_to(image, whole_step(self.layout.strides, self.ndim))
        for level, block in enumerate(self.encoder):
            if level:
                pool = functional.max_pool2d if self.ndim == 2 else functional.max_pool3d
                level_features = pool(level_features, self.layout.strides[level - 1])
            level_features = block(level_features)
            if level >= len(self.encoder) - 2:
                level_features = self.dropout(level_features)
            features.append(level_features)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to logits (N, classes, *S)."""
        return self.decode(self.encode(image), tuple(image.shape[2:]))

    def branch(self) -> UNetBranch:
        """Return a further decoder of the same structure with fresh weights."""
        return UNetBranch(self.settings, classes=self.classes, ndim=self.ndim)
