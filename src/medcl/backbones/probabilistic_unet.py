"""A U-Net with a latent space, which answers with any number of plausible masks."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones import backbones
from medcl.backbones.latent import Gaussian
from medcl.backbones.layers import CONV, check_kernels, check_strides, start_convolutions, start_undecided
from medcl.backbones.unet import UNet, UNetSettings


@backbones.register("probabilistic-unet")
class ProbabilisticUNetSettings(UNetSettings):
    """Probabilistic U-Net (Kohl et al., NeurIPS 2018): a U-Net whose last layers also see a latent point.

    The prior reads the coarsest features of the U-Net itself, not an encoder of its own as in the paper: half the work
    for the same image. Learn it with the method of the same name; other methods train the answer at the prior's mean.
    """

    has_branches: ClassVar[bool] = False
    has_latent: ClassVar[bool] = True

    latent: int = Field(6, ge=1, le=64, description="Axes of the latent space.")

    def build(self, *, in_channels: int, classes: int, ndim: int) -> ProbabilisticUNet:  # type: ignore[override]
        """Return the network for images of `ndim` dimensions.

        Raises:
            SettingsError: As for `unet`.
        """
        check_strides("probabilistic-unet", self.strides, ndim)
        levels = len(self.strides) + 1 if self.strides else self.levels
        check_kernels("probabilistic-unet", self.kernels, levels, ndim)
        return ProbabilisticUNet(self, in_channels=in_channels, classes=classes, ndim=ndim)


class ProbabilisticUNet(nn.Module):
    """U-Net features, a prior from the coarsest of them, and three 1 x 1 convolutions that join both.

    Args:
        settings: Width, depth, normalisation and latent axes.
        in_channels: Channels of the image.
        classes: Channels of the logits.
        ndim: 2 or 3.
    """

    def __init__(self, settings: ProbabilisticUNetSettings, *, in_channels: int, classes: int, ndim: int) -> None:
        super().__init__()
        self.latent = settings.latent
        width = settings.base
        self.unet = UNet(settings, in_channels=in_channels, classes=width, ndim=ndim)
        self.prior = nn.Linear(self.unet.layout.widths[-1], 2 * settings.latent)
        conv = CONV[ndim]
        self.first = conv(width, width, 1)
        self.point = nn.Linear(settings.latent, width, bias=False)
        self.second = conv(width, width, 1)
        self.head = conv(width, classes, 1)
        for layer in (self.unet.head, self.first, self.second):
            start_convolutions(layer)
        start_undecided(self.head)
        nn.init.normal_(self.prior.weight, std=0.01)
        nn.init.zeros_(self.prior.bias)

    def describe(self, image: Tensor) -> tuple[Tensor, Gaussian]:
        """Map (N, in_channels, *S) to features (N, width, *S) and the prior of the latent point."""
        levels = self.unet.encode(image)
        features = self.unet.decode(levels, tuple(image.shape[2:]))
        return features, Gaussian.of(self.prior(levels[-1].flatten(2).mean(dim=2)))

    def combine(self, features: Tensor, point: Tensor) -> Tensor:
        """Map features (N, width, *S) and latent points (N, L) to logits (N, classes, *S).

        A 1 x 1 convolution of features and a point repeated at each voxel is the sum of one over the features and a
        linear map of the point.
        """
        shift = self.point(point)
        joined = self.first(functional.leaky_relu(features, 0.01))
        joined = joined + shift.reshape(*shift.shape, *(1,) * (features.ndim - 2))
        return self.head(functional.leaky_relu(self.second(functional.leaky_relu(joined, 0.01)), 0.01))

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to the logits (N, classes, *S) at the prior's mean."""
        features, prior = self.describe(image)
        return self.combine(features, prior.mean.to(features.dtype))

    def sample(self, image: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Return the logits (count, N, classes, *S) at points drawn from the prior, one noise for all N."""
        features, prior = self.describe(image)
        noise = torch.randn(count, self.latent, generator=generator).to(image.device)
        return torch.stack([self.combine(features, prior.at(one).to(features.dtype)) for one in noise])
