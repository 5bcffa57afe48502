"""Ways of learning: each turns a batch and a network into named, weighted losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from medcl.batch import Batch
from medcl.registry import Registry

Losses = dict[str, Tensor]
"""Named scalar losses, already weighted; their sum is minimised."""


@dataclass(frozen=True)
class Task:
    """What there is to learn.

    Attributes:
        classes: Number of classes C, background included.
        groups: Class indices of each named union.
        ndim: 2 or 3.
    """

    classes: int
    groups: tuple[tuple[int, ...], ...]
    ndim: int


@dataclass
class Network:
    """What a method may ask during a step.

    Attributes:
        forward: (N, channels, *S) -> logits (N, C, *S).
        task: Classes, groups and dimensions.
        extra: The module that the method's `modules` returned, or None.
        generator: Source of randomness of this step, on the CPU.
        progress: Share of the budget that is spent, 0..1.
        teacher: Like `forward`, with the averaged weights and without gradient; None where averaging is off.
    """

    forward: Callable[[Tensor], Tensor]
    task: Task
    extra: nn.Module | None
    generator: torch.Generator
    progress: float = 0.0
    teacher: Callable[[Tensor], Tensor] | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """Return logits (N, C, *S) of images (N, channels, *S)."""
        return self.forward(image)


@runtime_checkable
class Method(Protocol):
    """A way of learning; its settings are its fields.

    Optional members: `views` (augmented copies of each image in a batch, default 1), `modules(task)` (a module whose
    parameters are trained along, default none) and `from_labels` (learn from the dense label of a case that has
    strokes too, default no).
    """

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the named, weighted losses of one batch."""
        ...


methods: Registry[type[Method]] = Registry(
    "method",
    {"medcl": "medcl.methods.medcl", "partial-ce": "medcl.methods.partial_ce", "dense": "medcl.methods.dense"},
)


def views_of(method: Method) -> int:
    """Return how many augmented copies of each image the method wants in a batch."""
    return int(getattr(method, "views", 1))


def learns_from_labels(method: Method) -> bool:
    """Return whether the method wants the dense label of a case that has strokes too."""
    return bool(getattr(method, "from_labels", False))


def modules_of(method: Method, task: Task) -> nn.Module | None:
    """Return the module that the method trains along, if any."""
    build = getattr(method, "modules", None)
    return build(task) if build else None
