"""Upsampling by attention within windows: the finer level asks, the coarser one answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medcl.backbones.layers import CONV, crop_to, pad_to, upsample

_NEVER = -1e4
"""Added to the score of a place that is padding; finite, so that bf16 and export agree on it."""


class WindowUpsampling(nn.Module):
    """Each fine voxel gathers from the coarse voxels of its own window, on top of plain upsampling.

    Source: window attention upsample (Li et al., *More than Encoder: Introducing Transformer Decoder to Upsample*, BIBM
    2022): queries from the skip, keys and values from the coarse features, a bias per pair of places in the window.
    The first summand is nearest-neighbour upsampling here, theirs is bilinear (derived: it keeps channels-last fast).

    Args:
        ndim: 2 or 3.
        deep: Channels of the coarse features.
        shallow: Channels of the skip and of the result.
        stride: Step per axis from the fine to the coarse grid.
        window: Side of a window on the coarse grid.
    """

    def __init__(self, ndim: int, deep: int, shallow: int, *, stride: tuple[int, ...], window: int) -> None:
        super().__init__()
        self.stride, self.coarse = stride, (window,) * ndim
        self.fine = tuple(window * s for s in stride)
        self.heads = next(h for h in (4, 2, 1) if shallow % h == 0)
        conv = CONV[ndim]
        self.project = conv(deep, shallow, 1, bias=False)
        self.query = conv(shallow, shallow, 1)
        self.key_value = conv(deep, 2 * shallow, 1)
        # Scores of bounded size, as those of a transformer's normalised tokens: bf16 cannot tell large ones apart.
        self.query_norm, self.key_norm = nn.LayerNorm(shallow), nn.LayerNorm(shallow)
        self.out = conv(shallow, shallow, 1)
        self.bias = nn.Parameter(0.02 * torch.randn(self.heads, math.prod(self.fine), math.prod(self.coarse)))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Map coarse features (N, deep, *s) and the skip (N, shallow, *(s * stride)) to (N, shallow, *(s * stride))."""
        size, fine_size = deep.shape[2:], skip.shape[2:]
        query = split_windows(pad_to(self.query(skip), self.fine), self.fine)
        key, value = split_windows(pad_to(self.key_value(deep), self.coarse), self.coarse).chunk(2, dim=-1)
        there = split_windows(pad_to(deep.new_ones((deep.shape[0], 1, *size)), self.coarse), self.coarse)
        query, key, value = (
            self._heads(x) for x in (self.query_norm(query), self.key_norm(key), value)
        )  # (windows, heads, places, channels)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + self.bias
        scores = scores + (1 - there.reshape(-1, 1, 1, there.shape[1])) * _NEVER
        gathered = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        grid = [-(-s // w) for s, w in zip(fine_size, self.fine, strict=True)]
        return upsample(self.project(deep), self.stride) + self.out(
            crop_to(join_windows(gathered, self.fine, grid), fine_size)
        )

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def split_windows(values: Tensor, window: Sequence[int]) -> Tensor:
    """Cut (N, C, *S), whose sides are multiples of the window's, into tokens (N * windows, places, C)."""
    batch, channels, *size = values.shape
    ndim = len(window)
    parts = [n for s, w in zip(size, window, strict=True) for n in (s // w, w)]
    cut = values.reshape(batch, channels, *parts)
    counts, places = range(2, 2 + 2 * ndim, 2), range(3, 3 + 2 * ndim, 2)
    return cut.permute(0, *counts, *places, 1).reshape(-1, math.prod(window), channels)


def join_windows(tokens: Tensor, window: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Put tokens (N * windows, places, C) back into (N, C, *S); `grid` is the number of windows per axis."""
    ndim, channels = len(window), tokens.shape[-1]
    cut = tokens.reshape(-1, *grid, *window, channels)
    axes = [axis for k in range(ndim) for axis in (1 + k, 1 + ndim + k)]
    whole = [g * w for g, w in zip(grid, window, strict=True)]
    return cut.permute(0, 1 + 2 * ndim, *axes).reshape(-1, channels, *whole)
