"""Ways of learning: each turns a batch and a network into named, weighted losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from medcl.backbones.latent import Latent
from medcl.batch import Batch
from medcl.errors import SettingsError
from medcl.registry import Registry
from medcl.scribbles.random_walker import Walk

Losses = dict[str, Tensor]
"""Named scalar losses, already weighted; their sum is minimised."""


@dataclass(frozen=True)
class Task:
    """What there is to learn.

    Attributes:
        classes: Number of classes C, background included.
        groups: Class indices of each named union.
        ndim: 2 or 3.
        channels: Channels of the image as the network sees it.
        latent: Axes of the network's latent space; 0 where it has none.
    """

    classes: int
    groups: tuple[tuple[int, ...], ...]
    ndim: int
    channels: int = 1
    latent: int = 0


class Teacher(Protocol):
    """The network with averaged weights, as a guide for the network in training."""

    def __call__(self, image: Tensor, *, dropout: bool = False) -> Tensor:
        """Return logits (N, C, *S) of images (N, channels, *S), without gradient.

        Batch normalisation uses the statistics of these images and changes none of its own. Dropout is off unless
        asked for.
        """
        ...


@dataclass
class Network:
    """What a method may ask during a step.

    Attributes:
        forward: (N, channels, *S) -> logits (N, C, *S).
        task: Classes, groups and dimensions.
        extra: The module that the method's `modules` returned, or None.
        generator: Source of randomness of this step, on the CPU.
        progress: Share of the budget that is spent, 0..1.
        teacher: The averaged weights; None where averaging is off and the method did not ask for a teacher.
        encode: (N, channels, *S) -> features, finest first; None unless the method has two branches.
        decoders: The main and the second decoder, (features, S) -> logits; empty unless the method has two branches.
        latent: The network as one with a latent space; None where it has none.
    """

    forward: Callable[[Tensor], Tensor]
    task: Task
    extra: nn.Module | None
    generator: torch.Generator
    progress: float = 0.0
    teacher: Teacher | None = None
    encode: Callable[[Tensor], list[Tensor]] | None = None
    decoders: tuple[Callable[[list[Tensor], tuple[int, ...]], Tensor], ...] = ()
    latent: Latent | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """Return logits (N, C, *S) of images (N, channels, *S)."""
        return self.forward(image)

    def both(self, image: Tensor, *, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the logits (N, C, *S) of the main and of the second decoder on the same features.

        Args:
            image: (N, channels, *S).
            dropout: Share of the channels of each level that the second decoder does not see.
        """
        if self.encode is None:
            raise SettingsError("network.both: expected a method with `branches = 2`; add that line to the class.")
        main, second = self.decoders
        features, size = self.encode(image), tuple(image.shape[2:])
        return main(features, size), second([self._drop(f, dropout) for f in features], size)

    def _drop(self, features: Tensor, share: float) -> Tensor:
        if not share:
            return features
        shape = (*features.shape[:2], *(1,) * (features.ndim - 2))
        kept = (torch.rand(shape, generator=self.generator) >= share).to(features.device, features.dtype)
        return features * kept / (1 - share)


@runtime_checkable
class Method(Protocol):
    """A way of learning; its settings are its fields.

    Optional members:
        views: Augmented copies of each image in a batch, default 1.
        modules(task): A module whose parameters are trained along, default none.
        from_labels: Learn from the dense label of a case that has strokes too, default no.
        branches: 2 for a second decoder on the features of the backbone (`network.both`), default 1. It is trained
            along and saved with the run; the model that is handed on is the main branch.
        walk: How strokes grow for `batch.grown` (`medcl.scribbles.random_walker.Walk`); None or no such member: no
            `batch.grown`.
        needs_latent: Learn only with a backbone that has a latent space (`network.latent`), default no.
        wants_raters: Ask for `batch.raters` where several people annotated, default no.
        default_backbone: Backbone where none is chosen, default unet.
        teacher_decay: The method needs `network.teacher`; its averaging decay per step, None for the run's `optim.ema`.
    """

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the named, weighted losses of one batch."""
        ...


methods: Registry[type[Method]] = Registry(
    "method",
    {
        "medcl": "medcl.methods.medcl",
        "dense": "medcl.methods.dense",
        "partial-ce": "medcl.methods.partial_ce",
        "partial-ce-dice": "medcl.methods.partial_ce_dice",
        "partial-ce-entropy": "medcl.methods.partial_ce_entropy",
        "partial-ce-gated-crf": "medcl.methods.partial_ce_gated_crf",
        "partial-ce-intensity-variance": "medcl.methods.partial_ce_intensity_variance",
        "partial-ce-mumford-shah": "medcl.methods.partial_ce_mumford_shah",
        "partial-ce-tv": "medcl.methods.partial_ce_tv",
        "random-walker": "medcl.methods.random_walker",
        "cyclemix": "medcl.methods.cyclemix",
        "dmpls": "medcl.methods.dmpls",
        "scribble2label": "medcl.methods.scribble2label",
        "shapepu": "medcl.methods.shapepu",
        "ustm": "medcl.methods.ustm",
        "probabilistic-unet": "medcl.methods.probabilistic",
    },
)


def views_of(method: Method) -> int:
    """Return how many augmented copies of each image the method wants in a batch."""
    return int(getattr(method, "views", 1))


def learns_from_labels(method: Method) -> bool:
    """Return whether the method wants the dense label of a case that has strokes too."""
    return bool(getattr(method, "from_labels", False))


def needs_latent(method: Method) -> bool:
    """Return whether the method learns only with a backbone that has a latent space."""
    return bool(getattr(method, "needs_latent", False))


def wants_raters(method: Method) -> bool:
    """Return whether the method asks for the maps of all raters."""
    return bool(getattr(method, "wants_raters", False))


def branches_of(method: Method) -> int:
    """Return how many decoders the method trains."""
    return int(getattr(method, "branches", 1))


def walk_of(method: Method) -> Walk | None:
    """Return how strokes grow for the method, if it wants `Batch.grown`."""
    return getattr(method, "walk", None)


def needs_teacher(method: Method) -> bool:
    """Return whether the method cannot do without `network.teacher`."""
    return hasattr(method, "teacher_decay")


def teacher_decay_of(method: Method) -> float | None:
    """Return the averaging decay that the method wants for its teacher; None: that of the run."""
    decay = getattr(method, "teacher_decay", None)
    return None if decay is None else float(decay)


def modules_of(method: Method, task: Task) -> nn.Module | None:
    """Return the module that the method trains along, if any."""
    build = getattr(method, "modules", None)
    return build(task) if build else None
