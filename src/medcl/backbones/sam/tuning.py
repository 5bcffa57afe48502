"""What of a SAM is trained: low-rank updates, adapters, the decoder, or everything."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

PROMPTED = ("prompt_encoder.point_embed.", "prompt_encoder.not_a_point_embed.", "prompt_encoder.mask_embed.")
"""What only prompts pass through: training has none, so nothing could be learned there."""


class SplitQkv(nn.Module):
    """Queries, keys and values from a linear layer each, in the place of SAM's fused one.

    Low-rank updates of queries and values alone (SAMed) need them apart: an update of the fused layer would change the
    keys too, and share its rank among all three.

    Args:
        fused: The layer to take apart, (3 width, width).
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        width = fused.in_features
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        with torch.no_grad():
            for index, part in enumerate((self.q, self.k, self.v)):
                rows = slice(index * width, (index + 1) * width)
                part.weight.copy_(fused.weight[rows])
                part.bias.copy_(fused.bias[rows])

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to (..., 3 width)."""
        return torch.cat((self.q(tokens), self.k(tokens), self.v(tokens)), dim=-1)

    def fused(self) -> nn.Linear:
        """Return the fused layer that does the same."""
        parts: tuple[Any, ...] = (self.q, self.k, self.v)
        layer = nn.Linear(self.k.in_features, 3 * self.k.out_features)
        with torch.no_grad():
            layer.weight.copy_(torch.cat([part.weight for part in parts]))
            layer.bias.copy_(torch.cat([part.bias for part in parts]))
        return layer


class AdaptedMlp(nn.Module):
    """A block's MLP with an adapter beside it.

    Args:
        mlp: The block's own.
        adapter: Reads the same tokens; zero at the start.
    """

    def __init__(self, mlp: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.mlp, self.adapter = mlp, adapter

    def forward(self, tokens: Tensor) -> Tensor:
        """Map normalised tokens (N, h, w, width) or (N, tokens, width) to the same shape."""
        return self.mlp(tokens) + self.adapter(tokens)


class Bottleneck(nn.Module):
    """Down, GELU, up (Medical SAM Adapter, Wu et al., 2023); starts as zero, so that the network starts as SAM.

    Args:
        width: Channels of a token.
        ratio: Channels in the middle as a share of `width`.
    """

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, max(1, int(width * ratio)))
        self.up = nn.Linear(self.down.out_features, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        return self.up(nn.functional.gelu(self.down(tokens)))


class GatedConvolutions(nn.Module):
    """SAM-Med2D's adapter (Cheng et al., 2023, figure 4, names as in its released weights).

    Channels are weighed by a gate that sees the whole map; a strided convolution and its transpose are added; a layer
    norm follows. Its weights are zero at the start here, so that the network starts as SAM until weights are loaded.

    Args:
        width: Channels of a token.
        ratio: Channels in the gate as a share of `width`.
    """

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        inner = int(width * ratio)
        gate = (nn.Linear(width, inner, bias=False), nn.ReLU(), nn.Linear(inner, width, bias=False), nn.Sigmoid())
        self.channel = nn.Sequential(*gate)
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, h, w, width) with even h and w to the same shape."""
        gated = tokens * self.channel(tokens.mean(dim=(1, 2), keepdim=True))
        local = self.spatial(gated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.norm(tokens + local)


def add_adapters(encoder: nn.Module, kind: str, ratio: float) -> None:
    """Put an adapter beside the MLP of each block, in place.

    Args:
        encoder: A SAM ViT or a TinyViT.
        kind: "bottleneck" or "sam-med2d".
        ratio: Width of the adapter as a share of the block's.
    """
    for block in [m for m in encoder.modules() if hasattr(m, "mlp")]:
        mlp: Any = block.mlp
        width = mlp.lin1.in_features
        adapter = Bottleneck(width, ratio) if kind == "bottleneck" else GatedConvolutions(width, ratio)
        block.mlp = AdaptedMlp(mlp, adapter)


def add_lora(part: nn.Module, rank: int, alpha: float) -> None:
    """Give every attention of an encoder or decoder low-rank updates of queries and values, in place.

    Source: LoRA (Hu et al., ICLR 2022) by `peft`, placed as in SAMed (Zhang and Liu, 2023, section 3.2), which has it
    in the encoder and, in its small form, in the decoder's attention too.

    Args:
        part: Image encoder or mask decoder.
        rank: Rank of each update.
        alpha: They count alpha / rank.
    """
    from peft import LoraConfig, inject_adapter_in_model

    for module in list(part.modules()):
        if isinstance(getattr(module, "qkv", None), nn.Linear):
            module.qkv = SplitQkv(module.qkv)  # type: ignore[arg-type]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=r".*\.(q|v|q_proj|v_proj)")  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's advice about saving, which goes another way here
        inject_adapter_in_model(config, part)


def merge_lora(network: nn.Module) -> nn.Module:
    """Add the low-rank updates to the weights they belong to, in place, and fuse queries, keys and values again.

    The result gives the same output and has the names and shapes of a SAM without updates.

    Returns:
        The network.
    """
    from peft.tuners.lora import LoraLayer

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(module, name, child.get_base_layer())
    for module in list(network.modules()):
        if isinstance(getattr(module, "qkv", None), SplitQkv):
            module.qkv = module.qkv.fused()  # type: ignore[operator, union-attr]
    return network


def train_only(network: nn.Module, tune: str) -> None:
    """Freeze what is not trained.

    | tune | image encoder | decoder |
    |---|---|---|
    | full | all | all |
    | decoder | nothing | all |
    | adapter | adapters | all |
    | lora | low-rank updates | low-rank updates, tokens, their networks, upscaling |

    Positions, and what only prompts pass through, never change; a stem that mixes channels is trained unless the
    encoder is frozen.

    Args:
        network: A SAM or a further decoder of one.
        tune: A key of the table.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_trained(name, tune))
    stem: Any = getattr(network, "stem", None)
    if stem is not None and stem.in_channels in (1, 3):
        stem.weight.requires_grad_(False)  # shown as they are


def _is_trained(name: str, tune: str) -> bool:
    if name.startswith(PROMPTED) or name.endswith("positional_embedding"):
        return False
    if tune == "full":
        return True
    if name.startswith("vision_encoder."):
        return (tune == "lora" and ".lora_" in name) or (tune == "adapter" and ".adapter." in name)
    if name.startswith("stem."):
        return tune != "decoder"
    return tune != "lora" or ".lora_" in name or not name.startswith("mask_decoder.transformer.")
