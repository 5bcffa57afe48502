"""Test-time augmentation: the network's answers to changed images, brought back to the image's own voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medcl.inference.sliding import Network
from medcl.settings import AugmentSettings

SHARE = 0.5
"""How far changes go at most, as a share of the strengths that training drew: within what the network has seen."""

_LEAST = 1e-12  # probabilities of warped answers become logits again


@dataclass(frozen=True)
class Change:
    """One change of an image.

    Attributes:
        angle: Rotation in the (Y, X) plane in radians.
        zoom: Factor of size in the plane.
        contrast: Factor of the normalised grey values.
        brightness: What is added to them.
        noise: Standard deviation of the noise added to them.
        seed: Seed of the noise.
    """

    angle: float = 0.0
    zoom: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.0
    seed: int = 0


def varied(network: Network, drawn: AugmentSettings, *, count: int, seed: int) -> list[Network]:
    """Return networks that each see the image changed in one way, the first one as it is.

    Source: Wang et al. (Aleatoric uncertainty estimation with test-time augmentation for medical image segmentation
    with convolutional neural networks, Neurocomputing 2019), eq. 9: draw the parameters of the image's acquisition
    from a prior, answer, and undo what is spatial. Prior here: uniform, up to `SHARE` of what training drew. One change
    holds for all slices of a volume, so that each answer is one coherent volume.

    Args:
        network: What answers.
        drawn: Strengths that training drew.
        count: Number of networks, the unchanged one included.
        seed: Seed of the changes.
    """
    generator = torch.Generator().manual_seed(seed)
    return [network, *(_Varied(network, draw(drawn, generator)) for _ in range(count - 1))]


def draw(drawn: AugmentSettings, generator: torch.Generator) -> Change:
    """Draw one change: rotation, zoom, contrast, brightness and noise, each uniform."""
    turn, size, contrast, brightness, noise = (torch.rand(5, generator=generator) * 2 - 1).tolist()
    return Change(
        angle=SHARE * turn * math.radians(drawn.rotation_degrees or 0.0),
        zoom=(1 + SHARE * drawn.scale) ** size,
        contrast=1 + SHARE * contrast * drawn.contrast,
        brightness=SHARE * brightness * drawn.brightness,
        noise=SHARE * abs(noise) * drawn.noise,
        seed=int(torch.randint(2**31, (1,), generator=generator)),
    )


class _Varied:
    """A network that sees each batch changed; its answer lies on the batch's own pixels."""

    def __init__(self, network: Network, change: Change) -> None:
        self.network, self.change = network, change
        self.device = getattr(network, "device", torch.device("cpu"))

    def __call__(self, batch: Tensor) -> Tensor:
        change = self.change
        image = turned(batch, change.angle, change.zoom, padding="zeros")
        image = image * change.contrast + change.brightness
        if change.noise:
            generator = torch.Generator().manual_seed(change.seed)
            image = image + change.noise * torch.randn(image.shape, generator=generator).to(image.device)
        probabilities = torch.softmax(self.network(image.contiguous()).float().to(batch.device), dim=1)
        back = turned(probabilities, -change.angle, 1 / change.zoom, padding="border")
        return back.clamp_min(_LEAST).log()


def turned(image: Tensor, angle: float, zoom: float, *, padding: str) -> Tensor:
    """Return (N, C, *S) turned and zoomed about its centre in the (Y, X) plane, resampled linearly.

    Args:
        image: (N, C, Y, X) or (N, C, Z, Y, X); slices of a volume are treated alike.
        angle: In radians, from x to y.
        zoom: Above 1 things become larger.
        padding: What lies beyond the border: "zeros" or "border".
    """
    if not angle and zoom == 1:
        return image
    flat = image.flatten(1, -3)
    height, width = flat.shape[-2:]
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Coordinates run from -1 to 1 along each axis: a rotation in pixels is sheared by the ratio of the sides.
    rows = [[cos, sin * height / width, 0.0], [-sin * width / height, cos, 0.0]]
    matrix = torch.tensor([rows], dtype=flat.dtype, device=flat.device)
    grid = functional.affine_grid(matrix.expand(flat.shape[0], 2, 3), list(flat.shape), align_corners=False)
    moved = functional.grid_sample(flat, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return moved.reshape(image.shape)
