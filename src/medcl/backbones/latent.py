"""Networks with a latent space: one image, many plausible answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution per sample with independent axes.

    Attributes:
        mean: (N, L).
        log_std: (N, L), natural logarithm of the standard deviation.
    """

    mean: Tensor
    log_std: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Gaussian:
        """Read (N, 2 L) outputs of a layer; the deviation is kept within e**-5 and e**3, where bf16 is safe."""
        mean, log_std = values.float().chunk(2, dim=1)
        return cls(mean, log_std.clamp(-5.0, 3.0))

    def at(self, noise: Tensor) -> Tensor:
        """Return the point (N, L) that standard normal noise (N, L) or (L,) stands for."""
        return self.mean + self.log_std.exp() * noise

    def kl(self, other: Gaussian) -> Tensor:
        """Return the Kullback-Leibler divergence (N,) of this distribution from another."""
        ratio = (self.log_std - other.log_std).exp().square()
        apart = ((self.mean - other.mean) * (-other.log_std).exp()).square()
        return 0.5 * (ratio + apart - 1).sum(dim=1) - (self.log_std - other.log_std).sum(dim=1)


@runtime_checkable
class Latent(Protocol):
    """A network whose answer depends on a point in a latent space; called as it is, it answers at the prior's mean.

    Attributes:
        latent: Number of axes L of the latent space.
    """

    latent: int

    def describe(self, image: Tensor) -> tuple[Tensor, Gaussian]:
        """Map (N, channels, *S) to features (N, F, *S) and the prior of the latent point."""
        ...

    def combine(self, features: Tensor, point: Tensor) -> Tensor:
        """Map features (N, F, *S) and points (N, L) to logits (N, C, *S)."""
        ...


class AtNoise:
    """A latent network at one fixed noise: the same kind of answer in every slice, window and image.

    Args:
        network: The network.
        noise: (L,) standard normal; zeros for the prior's mean.
    """

    def __init__(self, network: Latent, noise: Tensor) -> None:
        self.network, self.noise = network, noise

    def __call__(self, image: Tensor) -> Tensor:
        """Map (N, channels, *S) to logits (N, C, *S)."""
        features, prior = self.network.describe(image)
        return self.network.combine(features, prior.at(self.noise.to(image.device)))


def has_latent(settings: object) -> bool:
    """Return whether networks of these settings are `Latent`."""
    return bool(getattr(settings, "has_latent", False))
