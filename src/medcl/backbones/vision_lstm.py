"""Residual U-Net with Vision-LSTM blocks at its coarsest levels (xLSTM-UNet), in plain torch."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones import backbones
from medcl.backbones.layers import CONV, check_strides, pad_to
from medcl.backbones.res_unet import ResUNet, ResUNetSettings

GATE_CAP = 10.0
"""Gates are bent into this range by a tanh before they become exponents: they sum over hundreds of numbers, and a few
steps of a fast optimiser move them far. Source: soft-capped gates of xLSTM 7B (Beck et al., 2025), there at 15; 10 is
derived."""


@backbones.register("vision-lstm")
class VisionLSTMSettings(ResUNetSettings):
    """U-Net with matrix LSTMs over its coarse features (xLSTM-UNet, Chen et al., arXiv 2407.01530, 2024)."""

    levels: int = Field(5, ge=2, le=7, description="Resolution levels, the finest included.")
    lstm_levels: int = Field(1, ge=1, le=7, description="Coarsest levels with LSTM blocks; 1: the bottleneck alone.")
    lstm_blocks: int = Field(2, ge=1, description="LSTM blocks per such level, reading forwards and backwards in turn.")
    heads: int = Field(4, ge=1, description="Heads of each LSTM.")

    def build(self, *, in_channels: int, classes: int, ndim: int) -> VisionLSTMUNet:
        """Return the network for images of `ndim` dimensions.

        Raises:
            SettingsError: A step of `strides` has not one number per axis.
        """
        check_strides("vision-lstm", self.strides, ndim)
        return VisionLSTMUNet(self, in_channels=in_channels, classes=classes, ndim=ndim)


class VisionLSTMUNet(ResUNet):
    """The residual U-Net, whose coarsest features are read as a sequence of voxels before they go up.

    Args:
        settings: Those of the residual U-Net, and where the LSTMs are.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: VisionLSTMSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__(settings, in_channels=in_channels, classes=classes, ndim=ndim)
        widths = settings.layout(ndim).widths
        first = max(0, len(widths) - settings.lstm_levels)
        self.first_lstm = first
        self.lstm = nn.ModuleList(
            nn.Sequential(
                *(
                    VisionLSTMBlock(ndim, width, heads=settings.heads, backwards=k % 2 == 1)
                    for k in range(settings.lstm_blocks)
                )
            )
            for width in widths[first:]
        )

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to the features of all levels, finest first, on grids padded to whole steps."""
        features, values = [], pad_to(image, self.whole)
        for level, blocks in enumerate(self.encoder):
            values = blocks(values)
            if level >= self.first_lstm:
                values = self.lstm[level - self.first_lstm](values)
            features.append(values)
        return features


class VisionLSTMBlock(nn.Module):
    """A matrix LSTM over the voxels of a feature map, gated, added to what came in.

    Source: Vision-LSTM (Alkin et al., ICLR 2025): widened twice, a depth-wise convolution before queries and keys, a
    learnt skip around the LSTM, the other half of the widened channels as gate; blocks read the voxels first to last
    and last to first in turn.

    Args:
        ndim: 2 or 3.
        channels: Channels in and out.
        heads: Heads of the LSTM; fewer where the channels cannot be shared out.
        backwards: Read from the last voxel to the first.
    """

    def __init__(self, ndim: int, channels: int, *, heads: int, backwards: bool) -> None:
        super().__init__()
        inner = 2 * channels
        self.heads = next(h for h in range(min(heads, inner), 0, -1) if inner % h == 0)
        self.backwards = backwards
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 2 * inner, bias=False)
        self.local = CONV[ndim](inner, inner, 3, padding=1, groups=inner)
        self.query_key = nn.Linear(inner, 2 * inner, bias=False)
        self.value = nn.Linear(inner, inner, bias=False)
        self.gates = nn.Linear(3 * inner, 2 * self.heads)
        self.out_norm = nn.GroupNorm(self.heads, inner)
        self.skip = nn.Parameter(torch.ones(inner))
        self.narrow = nn.Linear(inner, channels, bias=False)
        nn.init.normal_(self.gates.weight, std=0.01)
        with torch.no_grad():  # input gates near 1; forget gates that remember a few to some hundred voxels
            self.gates.bias[: self.heads].zero_()
            self.gates.bias[self.heads :].copy_(torch.linspace(3.0, 6.0, self.heads))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, *S) to (N, C, *S)."""
        tokens = features.flatten(2).transpose(1, 2)  # (N, T, C)
        values, gate = self.widen(self.norm(tokens)).chunk(2, dim=2)
        grid = values.transpose(1, 2).reshape(features.shape[0], -1, *features.shape[2:])
        local = functional.silu(self.local(grid)).flatten(2).transpose(1, 2)
        queries, keys = self.query_key(local).chunk(2, dim=2)
        values = self.value(values)
        gates = self.gates(torch.cat((queries, keys, values), dim=2)).float()
        given, kept = (GATE_CAP * torch.tanh(gates / GATE_CAP)).transpose(1, 2).chunk(2, dim=1)
        inputs = (*(self._heads(x) for x in (queries, keys, values)), given, kept)
        read = matrix_lstm(*(x.flip(2) if self.backwards else x for x in inputs))
        if self.backwards:
            read = read.flip(2)
        read = read.transpose(1, 2).flatten(2)  # (N, T, inner)
        normed = self.out_norm(read.flatten(0, 1)).reshape(read.shape)  # each voxel and head on its own
        result = self.narrow((normed + self.skip * local) * functional.silu(gate))
        return features + result.transpose(1, 2).reshape(features.shape)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def matrix_lstm(queries: Tensor, keys: Tensor, values: Tensor, given: Tensor, kept: Tensor) -> Tensor:
    """Read a sequence with a matrix memory, all steps at once.

    The memory is C_t = f_t C_(t-1) + i_t v_t k_t^T with i = exp(given) and f = sigmoid(kept); what is read at step t is
    C_t q_t over max(|n_t . q_t|, 1), n_t being the same sum over the keys alone; keys are divided by the root of d.

    Source: Beck et al., xLSTM, NeurIPS 2024, eq. 19-27 and the parallel form of their appendix. Memory and work grow
    with the square of the steps; computed in float32, as the gates are exponents.

    Args:
        queries: (N, heads, T, d).
        keys: (N, heads, T, d).
        values: (N, heads, T, d).
        given: (N, heads, T), logarithm of the input gate.
        kept: (N, heads, T), forget gate before its sigmoid.

    Returns:
        (N, heads, T, d), in the type of the values.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q, k, v, given, kept = (x.float() for x in (queries, keys, values, given, kept))
        remembered = functional.logsigmoid(kept).cumsum(dim=2)
        steps = torch.arange(q.shape[2], device=q.device)
        past = steps[:, None] >= steps[None, :]
        exponents = remembered[..., :, None] - remembered[..., None, :] + given[..., None, :]
        exponents = exponents.masked_fill(~past, -math.inf)
        # The scale cancels out of the result, so no gradient needs to pass through it.
        largest = exponents.amax(dim=3, keepdim=True).detach()
        scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[3]) * (exponents - largest).exp()
        weight = torch.maximum(scores.sum(dim=3, keepdim=True).abs(), (-largest).exp())
        return ((scores / weight) @ v).to(values.dtype)
