"""A SAM that starts from published weights: names compared, positions resized, a token for every class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones.sam.layouts import layout_of, plain_names
from medcl.backbones.sam.sizes import size_of_width
from medcl.backbones.weights import Differences, read_weights, transfer
from medcl.errors import ModelError

if TYPE_CHECKING:
    from medcl.backbones.sam import SamSettings

_HUB = re.compile(r"^[\w.-]+/[\w.-]+$")
_FRESH = re.compile(r"(\.lora_|\.mlp\.adapter\.|^stem\.)")
"""What no published file of SAM itself holds."""


def start_from(
    network: nn.Module, weights: Path, settings: SamSettings, *, in_channels: int, classes: int
) -> list[str]:
    """Load weights of any known layout into a network; see `SamSettings.load`."""
    source = _fetched(weights)
    given = read_weights(source)
    tensors = given.tensors
    layout = layout_of(tensors, source)
    if layout == "medcl" or given.covers is not None:  # a model of ours, or what `medcl pretrain` wrote
        return transfer(network, given, in_channels=in_channels, classes=classes)
    plain = plain_names(tensors, layout)
    _check_size(plain, layout, settings, source)
    own = network.state_dict()
    words = _resize_positions(plain, own, settings.input_size)
    _spread_single_mask(plain, classes)
    ready, missing, used = {}, [], set()
    for name, mine in own.items():
        plain_name, rows = _plain(name)
        found = plain.get(plain_name)
        if found is None and not _FRESH.search(name):
            missing.append(plain_name)
        used.add(plain_name)
        if found is None:
            ready[name] = mine
        elif rows is None:
            ready[name] = found
        else:
            ready[name] = found.chunk(3)[rows]
    left = Differences(
        tuple(dict.fromkeys(missing)),
        tuple(name for name in plain if name not in used),
        {n: (tuple(ready[n].shape), tuple(own[n].shape)) for n in own if ready[n].shape != own[n].shape},
    )
    if left:
        raise ModelError(f"{source}: expected the weights of a SAM {settings.size}, but they differ: {left}.")
    network.load_state_dict(ready)
    fresh = sorted({_kind(n) for n in own if _FRESH.search(n) and _plain(n)[0] not in plain} - {""})
    kept = sum(1 for n in own if _plain(n)[0] in plain)
    return [
        f"weights: {source} (layout {layout}, {settings.size}), {kept} of {len(own)} tensors",
        *words,
        f"weights: each of the {classes} classes starts as SAM's token for a single mask",
        *([f"weights: not in the file, start fresh: {', '.join(fresh)}"] if fresh else []),
    ]


def _fetched(weights: Path) -> Path:
    """Return the file or folder, or what a hub id such as facebook/sam-vit-base names."""
    if weights.exists() or not _HUB.match(weights.as_posix()):
        return weights  # reading says what is wrong with it
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(weights.as_posix(), "model.safetensors")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"{weights}: no such file or folder here, and it cannot be fetched from the Hugging Face hub ({reason}); "
            "check the path, or download model.safetensors elsewhere and give that file."
        ) from None
    assert found is not None
    return Path(found)


def _plain(name: str) -> tuple[str, int | None]:
    """Return the name that a tensor of the network has in a plain SAM, and which third of it, if it is one."""
    name = name.replace(".base_layer.", ".").replace(".mlp.mlp.", ".mlp.")
    part = re.match(r"^(.*\.qkv)\.([qkv])\.(weight|bias)$", name)
    return (f"{part[1]}.{part[3]}", "qkv".index(part[2])) if part else (name, None)


def _kind(name: str) -> str:
    return "low-rank updates" if ".lora_" in name else "adapters" if ".adapter." in name else ""


def _check_size(plain: Mapping[str, Tensor], layout: str, settings: SamSettings, source: Path) -> None:
    """Refuse another size than that of the settings, with the setting that would do."""
    found = "vit_t" if layout == "mobile-sam" else None
    patches = plain.get("vision_encoder.patch_embed.projection.weight")
    if patches is not None:
        found = size_of_width(patches.shape[0])
    if found is not None and found != settings.size:
        raise ModelError(
            f"{source}: expected weights of a SAM {settings.size}, got those of a {found}; set backbone.size={found}."
        )
    if any(".mlp.adapter." in name for name in plain) and settings.adapter != "sam-med2d":
        raise ModelError(
            f"{source}: holds SAM-Med2D's adapters, and a network without them would not be that model; "
            "set backbone.adapter=sam-med2d."
        )


def _resize_positions(plain: dict[str, Tensor], own: Mapping[str, Tensor], side: int) -> list[str]:
    """Interpolate position embeddings to the network's grid, in place.

    Absolute ones bilinearly over the grid, relative ones of blocks that see the whole image linearly along their length
    (as SAM-Med2D, Cheng et al., 2023, does when it goes from 1024 to 256).
    """
    name = "vision_encoder.pos_embed"
    if name not in plain or name not in own or plain[name].ndim != 4 or plain[name].shape == own[name].shape:
        return []
    before, after = plain[name].shape[1], own[name].shape[1]
    grid = plain[name].float().permute(0, 3, 1, 2)
    plain[name] = functional.interpolate(grid, size=(after, after), mode="bilinear").permute(0, 2, 3, 1)
    for key in [k for k in plain if k.endswith((".rel_pos_h", ".rel_pos_w"))]:
        if key in own and plain[key].shape[0] == 2 * before - 1 and own[key].shape[0] == 2 * after - 1:
            along = plain[key].float().T[None]
            plain[key] = functional.interpolate(along, size=2 * after - 1, mode="linear")[0].T
    return [f"weights: positions of {before} x {before} tokens resized to {after} x {after} for input size {side}"]


def _spread_single_mask(plain: dict[str, Tensor], classes: int) -> None:
    """Let every class start as SAM's token for a single mask with its small network, so that none is favoured.

    SAM's other three tokens, for answers to an ambiguous prompt, are not used. Source: derived.
    """
    tokens = plain.get("mask_decoder.mask_tokens.weight")
    if tokens is not None:
        plain["mask_decoder.mask_tokens.weight"] = tokens[:1].repeat(classes, 1)
    heads = "mask_decoder.output_hypernetworks_mlps."
    first = {name.removeprefix(f"{heads}0."): v for name, v in plain.items() if name.startswith(f"{heads}0.")}
    for name in [n for n in plain if n.startswith(heads)]:
        del plain[name]
    plain.update({f"{heads}{c}.{rest}": value for c in range(classes) for rest, value in first.items()})
