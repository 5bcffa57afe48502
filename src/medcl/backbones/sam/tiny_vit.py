"""MobileSAM's image encoder: a TinyViT of 5 million numbers at the stride of SAM's ViT.

Sources: TinyViT (Wu et al., ECCV 2022, section 3 and the released tiny_vit_5m), MobileSAM (Zhang et al., 2023), whose
last stage keeps its resolution. Batch normalisation is folded into the convolutions when weights are loaded, so that
a frozen encoder has no statistics that training could move; a fresh encoder has none.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STEPS = (2, 2, 1)
"""Step from each stage to the next: with the stem's 4 a stride of 16, as SAM's patches have."""

EXPANSION = 4
"""Channels inside a block as a multiple of its width."""


class TinyViT(nn.Module):
    """(N, 3, Y, X), multiples of 16, to an embedding (N, 256, Y / 16, X / 16)."""

    def __init__(self) -> None:
        from transformers import SamVisionConfig
        from transformers.models.sam.modeling_sam import SamVisionNeck

        super().__init__()
        first = WIDTHS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first // 2, 3, 2, 1), nn.GELU(), nn.Conv2d(first // 2, first, 3, 2, 1)
        )  # fmt: skip
        self.stages = nn.ModuleList(_Stage(index) for index in range(len(WIDTHS)))
        self.neck = SamVisionNeck(SamVisionConfig(hidden_size=WIDTHS[-1]))

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, Y, X) to (N, 256, Y / 16, X / 16)."""
        features = self.stem(image)
        for stage in self.stages:
            features = stage(features)
        return self.neck(features.permute(0, 2, 3, 1))


class _Stage(nn.Module):
    """Blocks of one width, then the step to the next stage."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width = WIDTHS[index]
        self.blocks = nn.ModuleList(
            _Block(width, HEADS[index], WINDOWS[index]) if index else _Convolutions(width) for _ in range(DEPTHS[index])
        )
        following = dict(enumerate(pairwise(WIDTHS)))
        self.merge = _Merge(*following[index], STEPS[index]) if index in following else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return self.merge(features)


class _Convolutions(nn.Module):
    """An inverted bottleneck (MobileNetV2) with a residual, rectified after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.conv3 = nn.Conv2d(inner, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(features))))
        return functional.gelu(self.conv3(inner) + features)


class _Merge(nn.Module):
    """To the width and resolution of the next stage."""

    def __init__(self, width: int, wider: int, step: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, wider, 1)
        self.conv2 = nn.Conv2d(wider, wider, 3, step, 1, groups=wider)
        self.conv3 = nn.Conv2d(wider, wider, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(features)))))


class _Mlp(nn.Module):
    """Two linear layers, named as in SAM's blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, EXPANSION * width)
        self.lin2 = nn.Linear(EXPANSION * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(functional.gelu(self.lin1(tokens)))


class _Attention(nn.Module):
    """Attention within a window, with a learned bias for each distance along y and x."""

    pairs: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.biases = nn.Parameter(torch.zeros(heads, window * window))
        along = torch.arange(window)
        away = (along[:, None] - along[None, :]).abs()
        pairs = away[:, None, :, None] * window + away[None, :, None, :]  # (y, x) of a query, (y, x) of a key
        self.register_buffer("pairs", pairs.reshape(window**2, window**2), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (windows, window * window, width) to the same shape."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.biases[:, self.pairs].to(q.dtype)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Window attention, a depthwise convolution, an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.layer_norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, window)
        self.local_conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        count, width, rows, columns = features.shape
        side = self.window
        tokens = features.permute(0, 2, 3, 1)
        # Padding comes before the norm, as in the released weights: what is beyond the edge is the norm's bias.
        padded = functional.pad(tokens, (0, 0, 0, -columns % side, 0, -rows % side))
        high, wide = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.reshape(count, high, side, wide, side, width).transpose(2, 3).reshape(-1, side * side, width)
        windows = self.attn(self.layer_norm1(windows))
        mixed = windows.reshape(count, high, wide, side, side, width).transpose(2, 3)
        mixed = mixed.reshape(count, high * side, wide * side, width)[:, :rows, :columns]
        local = self.local_conv((tokens + mixed).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (local + self.mlp(self.layer_norm2(local))).permute(0, 3, 1, 2)
