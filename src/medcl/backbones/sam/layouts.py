"""Names of published SAM weights, brought to those of `transformers`.

| layout | who writes it | known by |
|---|---|---|
| sam | segment-anything, MedSAM, SAMed's base (.pth) | `image_encoder.blocks.` |
| sam-med2d | SAM-Med2D: the same with an adapter in each block, under `model` | `.Adapter.` |
| mobile-sam | MobileSAM: TinyViT in the place of the ViT | `image_encoder.patch_embed.seq.` |
| hugging-face | `SamModel.save_pretrained` | `vision_encoder.` |
| medcl | this package | `stem.` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from medcl.errors import ModelError

LAYOUTS = {
    "medcl": ("stem.",),
    "mobile-sam": ("image_encoder.patch_embed.seq.",),
    "sam": ("image_encoder.blocks.", "image_encoder.patch_embed.proj."),
    "hugging-face": ("vision_encoder.",),
}
"""Layout -> beginnings of names that only it has; SAM-Med2D's is told from SAM's by its adapters."""

_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"

_MLP = {"layers.0": "proj_in", "layers.1": "layers.0", "layers.2": "proj_out"}

_NECK = [
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
]

_PROMPTS_AND_DECODER = [
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", _POSITIONS),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
]

_VIT = [
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^(image_encoder\.blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^(image_encoder\.blocks\.\d+)\.Adapter\.", r"\1.mlp.adapter."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.pos_embed$", "vision_encoder.pos_embed"),
]

_TINY_VIT = [
    (r"^image_encoder\.patch_embed\.seq\.", "vision_encoder.stem."),
    (r"^(image_encoder\.layers\.\d+)\.downsample\.", r"\1.merge."),
    (r"^(image_encoder\.layers\.\d+\.blocks\.\d+)\.attn\.norm\.", r"\1.layer_norm1."),
    (r"^(image_encoder\.layers\.\d+\.blocks\.\d+)\.attn\.attention_biases$", r"\1.attn.biases"),
    (r"^(image_encoder\.layers\.\d+\.blocks\.\d+)\.mlp\.norm\.", r"\1.layer_norm2."),
    (r"^(image_encoder\.layers\.\d+\.blocks\.\d+)\.mlp\.fc(\d)\.", r"\1.mlp.lin\2."),
    (r"^image_encoder\.layers\.", "vision_encoder.stages."),
]

_UNUSED = re.compile(
    r"^(image_encoder\.(norm_head|head)\.|pixel_(mean|std)$|mask_decoder\.iou_prediction_head\.|.*attention_bias_idxs$)"
)
"""Image classes of TinyViT, constants, and scores of masks: nothing here reads them."""

_TINY_HEADS = (2, 4, 5, 10)


def layout_of(tensors: Mapping[str, Tensor], source: Path | str) -> str:
    """Return which layout a state dict has.

    Raises:
        ModelError: None that is known.
    """
    for layout, beginnings in LAYOUTS.items():
        if any(name.startswith(beginnings) for name in tensors):
            adapted = layout == "sam" and any(".Adapter." in name for name in tensors)
            return "sam-med2d" if adapted else layout
    raise ModelError(
        f"{source}: expected weights of SAM (segment-anything, MedSAM, SAM-Med2D, MobileSAM, Hugging Face), got names "
        f"such as {', '.join(list(tensors)[:4])}; give one of those."
    )


def plain_names(tensors: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Return a state dict under the names of `transformers`; numbers change only where TinyViT's are folded.

    Args:
        tensors: As read.
        layout: What `layout_of` returned; not "medcl".
    """
    used = {name: value for name, value in tensors.items() if not _UNUSED.match(name)}
    if layout == "hugging-face":
        shared = used.pop("shared_image_embedding.positional_embedding", None)
        return used if shared is None else {**used, _POSITIONS: shared}
    rules = [*_NECK, *_PROMPTS_AND_DECODER, *(_TINY_VIT if layout == "mobile-sam" else _VIT)]
    if layout == "mobile-sam":
        used = _sorted_by_kind(_folded(used))
    return {_renamed(name, rules): value for name, value in used.items()}


def _renamed(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    mlp = re.match(r"^(mask_decoder\.output_hypernetworks_mlps\.\d+)\.(layers\.\d)\.(.*)$", name)
    return f"{mlp[1]}.{_MLP[mlp[2]]}.{mlp[3]}" if mlp else name


def _folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold batch normalisation into the convolution before it: w' = w g / sqrt(v + e), b' = b - m g / sqrt(v + e)."""
    result = {}
    for name, value in tensors.items():
        if ".bn." in name:
            continue
        if not name.endswith(".c.weight"):
            result[name] = value
            continue
        stem = name.removesuffix("c.weight")
        try:
            gain, bias, mean, variance = (
                tensors[f"{stem}bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
        except KeyError:
            result[name] = value  # the comparison of names says what is missing
            continue
        factor = gain / torch.sqrt(variance + 1e-5)
        result[f"{stem}weight"] = value * factor[:, None, None, None]
        result[f"{stem}bias"] = bias - mean * factor
    return result


def _sorted_by_kind(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring TinyViT's rows, which hold queries, keys and values of each head in turn, to the order of SAM's."""
    result = dict(tensors)
    for name, value in tensors.items():
        found = re.match(r"^image_encoder\.layers\.(\d)\.blocks\.\d+\.attn\.qkv\.", name)
        if found and int(found[1]) < len(_TINY_HEADS):
            heads = _TINY_HEADS[int(found[1])]
            rows = value.unflatten(0, (heads, 3, -1))
            result[name] = rows.transpose(0, 1).flatten(0, 2)
    return result
