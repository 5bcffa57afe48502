"""Spatial and channel attention on the skips of a U-Net, at a cost that grows with the voxels and not their square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones.layers import CONV


class DualAttention(nn.Module):
    """Spatial, then channel attention, each added to what came in.

    Source: the dual attention block of TransDAE (2024), its two parts as published before: efficient attention (Shen et
    al., WACV 2021, eq. 4), in which keys are summed over all places first, and cross-covariance attention over
    channels (El-Nouby et al., NeurIPS 2021, eq. 3). One head; the block's own mix-FFN is left to the convolutions that
    follow.

    Args:
        ndim: 2 or 3.
        channels: Channels in and out.
    """

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        conv = CONV[ndim]
        self.spatial_norm, self.channel_norm = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.spatial = conv(channels, 3 * channels, 1, bias=False)
        self.spatial_out = conv(channels, channels, 1)
        self.channel = conv(channels, 3 * channels, 1, bias=False)
        self.channel_out = conv(channels, channels, 1)
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, values: Tensor) -> Tensor:
        """Map (N, C, *S) to (N, C, *S)."""
        query, key, value = self.spatial(self.spatial_norm(values)).flatten(2).chunk(3, dim=1)  # (N, C, places)
        context = key.softmax(dim=2) @ value.transpose(1, 2)  # (N, C of keys, C of values)
        spread = context.transpose(1, 2) @ query.softmax(dim=1)
        values = values + self.spatial_out(spread.reshape(values.shape))
        query, key, value = self.channel(self.channel_norm(values)).flatten(2).chunk(3, dim=1)
        alike = functional.normalize(key, dim=2) @ functional.normalize(query, dim=2).transpose(1, 2)
        mixed = (alike * self.temperature).softmax(dim=1).transpose(1, 2) @ value
        return values + self.channel_out(mixed.reshape(values.shape))


class GuidedAttention(nn.Module):
    """Skips gated by a map of all scales together.

    Source: after multi-scale guided attention (Sinha and Dolz, IEEE JBHI 2020): the features of all levels are brought
    to one grid and fused, and each level is weighted by channel and by place with the fused map beside it. Their
    position attention, quadratic in the voxels, is a sigmoid gate here (derived; attention gates, Oktay et al., 2018).

    Args:
        ndim: 2 or 3.
        widths: Channels of all levels, finest first.
    """

    def __init__(self, ndim: int, widths: Sequence[int]) -> None:
        super().__init__()
        conv, common = CONV[ndim], widths[0]
        self.reduce = nn.ModuleList(conv(width, common, 1) for width in widths)
        self.fuse = conv(len(widths) * common, common, 1)
        self.join = nn.ModuleList(conv(width + common, width, 1) for width in widths[:-1])
        self.channel = nn.ModuleList(nn.Linear(width, width) for width in widths[:-1])
        self.place = nn.ModuleList(conv(width, 1, 1) for width in widths[:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the features of all levels, finest first, to the skips of all but the coarsest one."""
        grid = features[min(1, len(features) - 1)].shape[2:]  # half resolution: enough for a gate
        common = [_resized(reduce(f), grid) for reduce, f in zip(self.reduce, features, strict=True)]
        fused = self.fuse(torch.cat(common, dim=1))
        skips = []
        for skip, join, channel, place in zip(features, self.join, self.channel, self.place, strict=False):
            joined = functional.leaky_relu(join(torch.cat((skip, _resized(fused, skip.shape[2:])), dim=1)), 0.01)
            weights = channel(joined.flatten(2).mean(dim=2))
            weights = weights.reshape(*weights.shape, *(1,) * (skip.ndim - 2))
            # Twice a sigmoid: at the start the gates let the skips pass as they are.
            skips.append(skip * (2 * weights.sigmoid()) * (2 * place(joined).sigmoid()))
        return skips


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(values, size=tuple(size), mode="nearest")
