"""The sizes of SAM as configurations of `transformers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CHANNELS = 256
"""Channels of the image embedding of every published size."""


@dataclass(frozen=True)
class Size:
    """What distinguishes one ViT encoder from another.

    Attributes:
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads.
        whole: Blocks that attend to the whole image; the others attend within windows.
        patch: Side of the patch that becomes a token.
        window: Side of a window, in tokens.
        channels: Channels of the image embedding and of the decoder.
        decoder_width: Width of the decoder's MLPs.
    """

    width: int
    depth: int
    heads: int
    whole: tuple[int, ...]
    patch: int = 16
    window: int = 14
    channels: int = CHANNELS
    decoder_width: int = 2048


SIZES = {
    "tiny": Size(96, 4, 3, (1, 3), patch=8, window=7, channels=64, decoder_width=128),
    "vit_b": Size(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Size(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Size(1280, 32, 16, (7, 15, 23, 31)),
}
"""Published sizes (Kirillov et al., ICCV 2023, and the released code), and one of ours that trains from nothing."""


def size_of_width(width: int) -> str | None:
    """Return the published size whose tokens have this many channels."""
    return next((name for name, size in SIZES.items() if size.width == width), None)


def decoder_size(name: str) -> Size:
    """Return the size whose decoder goes with an encoder; MobileSAM has that of the others."""
    return SIZES.get(name, SIZES["vit_b"])


def vision_config(name: str, input_size: int) -> Any:
    """Return the configuration of an image encoder.

    Args:
        name: A key of `SIZES`.
        input_size: Side of the square image.
    """
    from transformers import SamVisionConfig

    size = SIZES[name]
    config = SamVisionConfig(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        global_attn_indexes=size.whole,
        image_size=input_size,
        patch_size=size.patch,
        window_size=size.window,
        output_channels=size.channels,
        num_pos_feats=size.channels // 2,
        # That of torch's linear layers; the library's own default leaves a fresh encoder without any signal.
        initializer_range=(3 * size.width) ** -0.5,
    )
    config._attn_implementation = "sdpa"
    return config


def prompt_config(name: str, input_size: int) -> Any:
    """Return the configuration of the prompt encoder that goes with an image encoder."""
    from transformers import SamPromptEncoderConfig

    size = decoder_size(name)
    return SamPromptEncoderConfig(hidden_size=size.channels, image_size=input_size, patch_size=size.patch)


def decoder_config(name: str, classes: int) -> Any:
    """Return the configuration of a mask decoder with one mask token per class."""
    from transformers import SamMaskDecoderConfig

    size = decoder_size(name)
    config = SamMaskDecoderConfig(
        hidden_size=size.channels,
        mlp_dim=size.decoder_width,
        num_multimask_outputs=classes - 1,  # the library counts the single-mask token apart
        iou_head_hidden_dim=size.channels,
    )
    config._attn_implementation = "eager"
    return config
