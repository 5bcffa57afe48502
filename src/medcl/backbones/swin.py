"""Swin-type U-Net: MONAI's SwinUNETR, taken apart into encoder and decoder, for any image size."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from medcl.backbones import backbones
from medcl.backbones.layers import crop_to, pad_to, start_undecided
from medcl.backbones.optional import need
from medcl.backbones.weights import WithWeights

_WHOLE = 32
"""Patches of 2 voxels, merged four times: sides are padded to multiples of this."""


@backbones.register("swin")
class SwinSettings(WithWeights):
    """Swin U-Net (SwinUNETR, Hatamizadeh et al., 2022), small enough to start from strokes; see `medcl pretrain`."""

    has_branches: ClassVar[bool] = True

    features: int = Field(12, ge=12, multiple_of=12, description="Channels of the finest level; doubled at each next.")
    blocks: tuple[int, int, int, int] = Field((2, 2, 2, 2), description="Attention blocks of the four stages.")
    heads: tuple[int, int, int, int] = Field((1, 2, 4, 8), description="Attention heads of the four stages.")
    window: int = Field(7, ge=2, description="Side of an attention window.")
    merging_v2: bool = Field(False, description="Convolution before each stage (SwinUNETR-V2, He et al., 2023).")

    def build(self, *, in_channels: int, classes: int, ndim: int) -> SwinUNet:
        """Return the network for images of `ndim` dimensions.

        Raises:
            MissingExtraError: MONAI or einops is not installed.
        """
        return SwinUNet(self, in_channels=in_channels, classes=classes, ndim=ndim)


class _SwinDecoder(nn.Module):
    """The way up of SwinUNETR: (features, size) -> logits."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.ups = nn.ModuleList([net.decoder1, net.decoder2, net.decoder3, net.decoder4, net.decoder5])
        self.head = net.out
        start_undecided(self.head.conv.conv)

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        result = features[-1]
        for level in reversed(range(len(self.ups))):
            result = self.ups[level](result, features[level])
        return crop_to(self.head(result), size)


class SwinUNet(nn.Module):
    """Swin encoder, convolutions on the skips, convolutional decoder.

    Batch normalisation takes the place of SwinUNETR's instance normalisation, which cannot norm a single voxel and is
    slower on CPUs.

    Args:
        settings: Width, depth, heads and window.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: SwinSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__()
        need("einops", extra="monai", backbone="swin")
        nets: Any = need("monai.networks.nets.swin_unetr", extra="monai", backbone="swin")
        net = nets.SwinUNETR(
            in_channels=in_channels,
            out_channels=classes,
            patch_size=2,
            depths=settings.blocks,
            num_heads=settings.heads,
            window_size=settings.window,
            feature_size=settings.features,
            norm_name="batch",
            spatial_dims=ndim,
            use_v2=settings.merging_v2,
        )
        self.ndim = ndim
        self.encoder = net.swinViT
        self.skips = nn.ModuleList([net.encoder1, net.encoder2, net.encoder3, net.encoder4, nn.Identity()])
        self.bottom = net.encoder10
        self.decoder = _SwinDecoder(net)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to features of six levels, finest first, on grids padded to multiples of 32."""
        image = pad_to(image, (_WHOLE,) * self.ndim)
        stages = self.encoder(image, True)  # normalised, as SwinUNETR reads them
        skips = [skip(values) for skip, values in zip(self.skips, (image, *stages[:-1]), strict=True)]
        return [*skips, self.bottom(stages[-1])]

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map features to logits (N, classes, *size)."""
        logits: Tensor = self.decoder(features, size)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to logits (N, classes, *S)."""
        return self.decode(self.encode(image), tuple(image.shape[2:]))

    def branch(self) -> _SwinDecoder:
        """Return a further decoder of the same structure with fresh weights."""
        branch = copy.deepcopy(self.decoder)
        for module in branch.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
        start_undecided(branch.head.conv.conv)
        return branch
