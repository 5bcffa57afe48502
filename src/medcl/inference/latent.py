"""Several plausible masks of one image, from a network with a latent space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from medcl.backbones.latent import AtNoise, Latent
from medcl.data.geometry import Image
from medcl.errors import SettingsError
from medcl.inference.segment import Prediction, check_image, segment
from medcl.inference.sliding import Network

if TYPE_CHECKING:
    from medcl.inference.model import Model


def with_latent(network: nn.Module, device: torch.device, *, count: int, seed: int, name: str) -> list[Network]:
    """Return networks that answer from points drawn from the prior, each from one and the same in all slices.

    Source: Kohl et al., NeurIPS 2018, sec. 2. One standard normal noise per network stands for a way of seeing; the
    prior of each slice or window turns it into a point, so that a mask is of one kind from end to end.

    Args:
        network: Module in eval mode.
        device: Where to run.
        count: Number of networks.
        seed: Seed of the noises; the first ones are the same for any count.
        name: Name of the backbone, for the message.

    Raises:
        SettingsError: The network has no latent space.
    """
    if not isinstance(network, Latent):
        raise SettingsError(
            f"latent: expected a network with a latent space, got this model's {name}; train with "
            "--method probabilistic-unet."
        )
    noises = [torch.randn(network.latent, generator=_generator(seed, n)) for n in range(count)]
    network.to(device)
    return [_OnDevice(AtNoise(network, noise), device) for noise in noises]


def sample_masks(
    model: Model,
    source: np.ndarray | Image | Path | str | Sequence[Path | str],
    *,
    count: int = 8,
    seed: int = 0,
    spacing_mm: Sequence[float] | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> list[Prediction]:
    """Segment one image several times, each time from another point of the latent space.

    Args:
        model: A model with a latent space.
        source: As for `Model.predict`.
        count: Number of masks.
        seed: Seed; the same one gives the same masks.
        spacing_mm: As for `Model.predict`.
        probabilities: Also return the class probabilities of each.
        batch_size: Slices or windows at a time.

    Returns:
        One prediction per mask, in the geometry of the image; pieces are kept as they are.

    Raises:
        SettingsError: The model has no latent space.
        DataError: The source cannot be read or does not fit the model.
    """
    from medcl.data.prepare import prepare_image

    networks = with_latent(model.network, model.engine.device, count=count, seed=seed, name=model.info.backbone)
    image, where = model._read(source, spacing_mm, None)
    check_image(image, model.plan, where)
    prepared = prepare_image(image, model.plan)
    return [
        segment(
            network,
            model.plan,
            prepared,
            flips=False,
            probabilities=probabilities,
            batch_size=batch_size,
            scaling=model.scaling,
        )
        for network in networks
    ]


class _OnDevice:
    def __init__(self, network: Network, device: torch.device) -> None:
        self.network, self.device = network, device

    def __call__(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network(batch.to(self.device))


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + number)
