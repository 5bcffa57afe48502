"""UNet++ from MONAI's layers: nested skips, supervision of every depth, and less of it at prediction."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medcl.backbones import backbones
from medcl.backbones.layers import crop_to, pad_to, start_convolutions, start_undecided
from medcl.backbones.optional import need
from medcl.backbones.weights import WithWeights

DEPTHS = 4
"""Nested U-Nets, and so outputs: after 1, 2, 3 and 4 steps down."""


@backbones.register("unet++")
class UNetPlusPlusSettings(WithWeights):
    """UNet++ (Zhou et al., IEEE TMI 2020) of MONAI's layers, with batch normalisation."""

    base: int = Field(16, ge=2, description="Channels of the finest level; doubled at each of the four coarser ones.")
    deep_supervision: bool = Field(
        True, description="Learn at every depth: in training the outputs are mixed with random weights per image."
    )
    prune: int | None = Field(
        None, ge=1, le=DEPTHS, description="Predict with the nested U-Net of this depth alone; default: mean of all."
    )

    def build(self, *, in_channels: int, classes: int, ndim: int) -> UNetPlusPlus:
        """Return the network for images of `ndim` dimensions.

        Raises:
            MissingExtraError: MONAI is not installed.
        """
        return UNetPlusPlus(self, in_channels=in_channels, classes=classes, ndim=ndim)


class UNetPlusPlus(nn.Module):
    """Four nested U-Nets on one encoder, each with logits at full resolution.

    Deep supervision without a word to the method: in training every image's logits are a convex combination of the four
    outputs with weights drawn anew, so whatever a method asks of the logits it asks of each output (derived; Zhou et
    al. add one loss per output). At prediction they are averaged (their accurate mode), or only the nested U-Net of
    depth `prune` is computed (their fast mode).

    Args:
        settings: Width, supervision and pruning.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: UNetPlusPlusSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__()
        nets: Any = need("monai.networks.nets.basic_unetplusplus", extra="monai", backbone="unet++")
        base = settings.base
        self.supervised, self.prune, self.ndim = settings.deep_supervision, settings.prune, ndim
        self.layers = nets.BasicUNetPlusPlus(
            spatial_dims=ndim,
            in_channels=in_channels,
            out_channels=classes,
            features=(base, 2 * base, 4 * base, 8 * base, 16 * base, base),
            norm="batch",
            bias=False,
        )
        start_convolutions(self.layers)
        for depth in range(1, DEPTHS + 1):
            if (depth == self.deepest and not self.supervised) or self.supervised:
                start_undecided(self._head(depth))
            else:
                delattr(self.layers, f"final_conv_0_{depth}")  # nothing would ever train it

    @property
    def deepest(self) -> int:
        """Depth of the output that counts without supervision of the others."""
        return DEPTHS if self.supervised else (self.prune or DEPTHS)

    def _head(self, depth: int) -> Any:
        return getattr(self.layers, f"final_conv_0_{depth}")

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to logits (N, classes, *S)."""
        size = image.shape[2:]
        reach = DEPTHS if self.training and self.supervised else (self.prune or DEPTHS)
        nodes = self._nodes(pad_to(image, (2**DEPTHS,) * self.ndim), reach)
        depths = [reach] if not self.supervised or (self.prune and not self.training) else range(1, reach + 1)
        logits = [self._head(depth)(nodes[depth]) for depth in depths]
        if len(logits) == 1:
            return crop_to(logits[0], size)
        weights = self._weights(logits[0], len(logits))
        return crop_to(sum(w * out for w, out in zip(weights, logits, strict=True)), size)

    def _nodes(self, image: Tensor, reach: int) -> list[Tensor]:
        """Return the nodes of the finest row, from the encoder's own to that of depth `reach`."""
        rows: list[list[Tensor]] = []  # rows[level][column]: what level `level` knows after `column` steps up
        for level in range(reach + 1):
            down = getattr(self.layers, f"conv_{level}_0")
            rows.append([down(rows[level - 1][0] if level else image)])
            for column in range(1, level + 1):
                above = level - column
                up = getattr(self.layers, f"upcat_{above}_{column}")
                rows[above].append(up(rows[above + 1][column - 1], torch.cat(rows[above], dim=1)))
        return rows[0]

    def _weights(self, like: Tensor, count: int) -> list[Any]:
        if not self.training:
            return [1 / count] * count
        # Exponential draws over their sum are uniform on the simplex: every output counts for some image.
        draws = torch.empty(count, like.shape[0], *(1,) * self.ndim, 1, device=like.device).exponential_()
        return list((draws / draws.sum(dim=0)).to(like.dtype))
