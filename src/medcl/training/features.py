"""Features of a frozen encoder, kept on disk: the same image is encoded once, whatever asks for it.

An entry is found by the image's own numbers, so there is nothing to keep in step: another image, weight, setting or
precision is another name. Methods that mix images find their mixed images again too, because with `cached_batches`
a step's randomness repeats with its batch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medcl.backbones import Branching
from medcl.errors import SettingsError
from medcl.files import atomic_write
from medcl.training.configure import RunConfig

FORMAT = 1
"""Raise when the same network gives other features: older entries are then no longer found."""

SPARE = 2 * 2**30
"""Bytes that stay free on the disk: with less, features are computed and not kept."""


class FeatureCache:
    """Encodes images through a folder of what was encoded before.

    Features are rounded to 16-bit floats (three digits), when they are computed as when they are read, and images are
    encoded one at a time, so that a result depends neither on the state of the folder nor on the rest of the batch.

    Args:
        folder: Where entries of any network lie; made where it is missing.
        network: Its encoder must be frozen; its numbers name the entries.
        depends: What else the features depend on, as JSON values.
    """

    def __init__(self, folder: Path, network: nn.Module, depends: Any) -> None:
        self.folder = folder / f"features-{_digest_of(network, depends)}"
        self.hits = self.misses = 0

    def encode(self, network: Branching, image: Tensor) -> list[Tensor]:
        """Return the features of images (N, channels, *S), without gradient."""
        rows = [self._one(network, one[None]) for one in image]
        return [torch.cat(level) for level in zip(*rows, strict=True)]

    def through(self, network: Any) -> Callable[[Tensor], Tensor]:
        """Return a function from images to logits that encodes through the cache and decodes with the network."""

        def forward(image: Tensor) -> Tensor:
            return network.decode(self.encode(network, image), tuple(image.shape[2:]))

        return forward

    def _one(self, network: Branching, image: Tensor) -> list[Tensor]:
        from safetensors.torch import load_file, save_file

        numbers = image.detach().float().cpu().contiguous()
        digest = hashlib.blake2b(numbers.numpy().tobytes(), digest_size=16)
        digest.update(repr(tuple(image.shape)).encode())
        path = self.folder / digest.hexdigest()[:2] / f"{digest.hexdigest()}.safetensors"
        if path.is_file():
            self.hits += 1
            stored = load_file(path, device=str(image.device))
            return [stored[str(level)].float() for level in range(len(stored))]
        self.misses += 1
        with torch.no_grad():
            levels = [level.half().contiguous() for level in network.encode(image)]
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free > SPARE:
            with atomic_write(path) as temporary:
                save_file({str(level): values.cpu() for level, values in enumerate(levels)}, temporary)
        return [values.float() for values in levels]


def feature_cache(config: RunConfig, network: nn.Module, folder: Path, precision: str) -> FeatureCache | None:
    """Return the cache that a run asked for with `cached_batches`, or None.

    Args:
        config: Settings of the run.
        network: With its weights loaded.
        folder: The store's folder.
        precision: Arithmetic of the run.
    """
    if config.train.cached_batches is None:
        return None
    backbone = config.backbone.model_dump(mode="json", exclude={"weights"})
    return FeatureCache(folder, network, {"backbone": [config.backbone_name, backbone], "precision": precision})


def check_cached(config: RunConfig) -> None:
    """Refuse `cached_batches` where the features of an image change during training.

    Raises:
        SettingsError: The encoder is trained.
    """
    if config.train.cached_batches is not None and not getattr(config.backbone, "frozen_encoder", False):
        raise SettingsError(
            f"cached_batches: expected a backbone with a frozen encoder, got '{config.backbone_name}' with one that is "
            "trained; choose backbone sam with backbone.tune=decoder, or leave cached_batches out."
        )


def _digest_of(network: nn.Module, depends: Any) -> str:
    """Return a name for what is frozen in a network, and for what else counts."""
    digest = hashlib.sha256(json.dumps([FORMAT, depends], sort_keys=True).encode())
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    for name, value in network.state_dict().items():
        if name not in trained:
            digest.update(name.encode())
            digest.update(cast(Any, value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()).data)
    return digest.hexdigest()[:32]
