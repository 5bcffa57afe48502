"""Tiny batches and networks that every method can be tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcl.backbones.latent import Gaussian, Latent
from medcl.batch import Batch
from medcl.methods import Losses, Method, Network, Task, branches_of, methods, modules_of, needs_latent, views_of

SMALL: dict[str, dict[str, Any]] = {
    "medcl": {
        "code_grid": 4,
        "code_width": 8,
        "code_dim": 4,
        "views": 2,
        "intra_mix": True,
        "mixing": 1.0,
        "weights": {"local": 1.0},
    }
}
"""Settings that make a method quick and switch on all it can do; methods that are not named here run as they are."""


class TinyNet(nn.Module):
    """Two convolutions: a network whose classes can be permuted by permuting its last weights."""

    def __init__(self, classes: int, ndim: int, channels: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.features = nn.Sequential(conv(channels, 6, 3, padding=1), nn.LeakyReLU(0.1))
        self.head = conv(6, classes, 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.features(image)]

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        return self.head(features[0])

    def branch(self) -> TinyBranch:
        return TinyBranch(self.head)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image), tuple(image.shape[2:]))


class TinyLatentNet(TinyNet):
    """The same with a latent space: its point shifts the features."""

    latent = 2

    def __init__(self, classes: int, ndim: int, channels: int = 1) -> None:
        super().__init__(classes, ndim, channels)
        self.prior, self.point = nn.Linear(6, 4), nn.Linear(2, 6)

    def describe(self, image: Tensor) -> tuple[Tensor, Gaussian]:
        features = self.features(image)
        return features, Gaussian.of(self.prior(features.flatten(2).mean(dim=2)))

    def combine(self, features: Tensor, point: Tensor) -> Tensor:
        shift = self.point(point)
        return self.head(features + shift.reshape(*shift.shape, *(1,) * (features.ndim - 2)))

    def forward(self, image: Tensor) -> Tensor:
        features, prior = self.describe(image)
        return self.combine(features, prior.mean)


class TinyBranch(nn.Module):
    """A second last layer."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = type(head)(6, head.out_channels, 1)

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        return self.head(features[0])


def permute_head(head: nn.Module, order: Tensor) -> None:
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        head.bias.copy_(head.bias[order].clone())


@dataclass
class Trial:
    """A method with everything it needs for a step."""

    method: Method
    network: nn.Module
    extra: nn.Module | None
    task: Task
    branch: nn.Module | None = None

    def step(self, batch: Batch, *, seed: int = 0, progress: float = 1.0) -> Losses:
        """Take one step's losses, with a fresh generator."""
        return self.method.step(batch, self.handle(seed, progress))

    def handle(self, seed: int = 0, progress: float = 1.0) -> Network:
        return Network(
            forward=self.network,
            task=self.task,
            extra=self.extra,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
            teacher=lambda image, *, dropout=False: self.network(image).detach(),
            encode=self.network.encode if self.branch else None,
            decoders=(self.network.decode, self.branch) if self.branch else (),
            latent=self.network if isinstance(self.network, Latent) else None,
        )

    def permute(self, order: Tensor) -> None:
        """Let class k be what class order[k] was, in every decoder."""
        for part in (self.network, self.branch):
            if part is not None:
                permute_head(part.head, order)
        first = getattr(self.extra, "levels", None)  # a module that reads annotation sees the classes in another order
        if first is not None and self.task.latent:
            with torch.no_grad():
                kernel, channels = first[0].weight, self.task.channels
                kernel[:, channels:] = kernel[:, channels:][:, order].clone()

    def parameters(self) -> dict[str, nn.Parameter]:
        found = {f"network.{name}": p for name, p in self.network.named_parameters()}
        for key, part in (("extra", self.extra), ("branch", self.branch)):
            if part is not None:
                found |= {f"{key}.{name}": p for name, p in part.named_parameters()}
        return found


def make_trial(
    name: str,
    *,
    classes: int = 3,
    groups: tuple[tuple[int, ...], ...] = (),
    ndim: int = 2,
    channels: int = 1,
    **settings: Any,
) -> Trial:
    """Build a method, its own modules and a tiny network, always with the same weights."""
    small = dict(SMALL.get(name, {}))
    if "weights" in small:
        small["weights"] = {**small["weights"], **settings.pop("weights", {})}
    method = methods.get(name).parse({**small, **settings})  # type: ignore[attr-defined]
    kind = TinyLatentNet if needs_latent(method) else TinyNet
    task = Task(classes, groups, ndim, channels, getattr(kind, "latent", 0))
    torch.manual_seed(0)
    extra = modules_of(method, task)
    network = kind(classes, ndim, channels)
    return Trial(method, network, extra, task, network.branch() if branches_of(method) == 2 else None)


def make_batch(
    images: int,
    size: tuple[int, ...],
    *,
    classes: int = 3,
    channels: int = 1,
    views: int = 1,
    seed: int = 0,
    drawn: float = 0.3,
) -> Batch:
    """Images whose grey values tell the class, a share of the pixels drawn, one class missing from each other image."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images, *size), generator=generator)
    labels[::2][labels[::2] == classes - 1] = 0
    image = labels[:, None] / (classes - 1) * 2 - 1 + 0.1 * torch.randn(images, channels, *size, generator=generator)
    stroke = torch.rand(images, *size, generator=generator) < drawn
    target = torch.stack([(labels == c) & stroke for c in range(classes)], dim=1).float()
    present = torch.stack([(labels == c).flatten(1).any(dim=1) for c in range(classes)], dim=1)
    absent = (torch.rand(images, classes, *size, generator=generator) > 0.8).float()
    absent[:, 0] = 0
    absent = absent * (target.sum(dim=1, keepdim=True) == 0)
    # Half of what is not drawn has grown, rightly.
    known = (torch.rand(images, *size, generator=generator) < 0.5) & ~stroke
    grown = torch.stack([(labels == c) & known for c in range(classes)], dim=1).float() * (1 - absent)
    batch = Batch(image, target, torch.ones_like(present), present, absent, grown)
    return batch.repeat(views) if views > 1 else batch


def batch_for(trial: Trial, images: int, size: tuple[int, ...], **options: Any) -> Batch:
    """A batch with as many views as the method wants."""
    return make_batch(images, size, classes=trial.task.classes, views=views_of(trial.method), **options)


@pytest.fixture(name="make_trial")
def _make_trial() -> Callable[..., Trial]:
    return make_trial


@pytest.fixture(name="batch_for")
def _batch_for() -> Callable[..., Batch]:
    return batch_for
