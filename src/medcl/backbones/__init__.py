"""Networks from an image to class logits at the image's resolution; one family per file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from medcl.errors import SettingsError
from medcl.registry import Registry
from medcl.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger("medcl")


class BackboneSettings(Protocol):
    """Settings of a family that can build its network.

    Optional: `has_branches = True` (a ClassVar) says that the networks of the family are `Branching`; `dims` (another)
    says which of 2 and 3 dimensions it can do, default both; `weights` and `load` start it from a file, see
    `medcl.backbones.weights.WithWeights`; `needs_weights` says why it must, or None; `frozen_encoder` that the features
    of a `Branching` never change; `learning_rate` the peak rate where none is set.
    """

    def build(self, *, in_channels: int, classes: int, ndim: int) -> nn.Module:
        """Return the network: (N, in_channels, *S) -> logits (N, classes, *S) for any spatial size S."""
        ...


class Branching(Protocol):
    """A network in two parts, so that methods can put a second decoder on the same features."""

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to features (N, channels, *s), one per level."""
        ...

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map features to logits (N, classes, *size); the network itself is `decode(encode(image), S)`."""
        ...

    def branch(self) -> nn.Module:
        """Return a further decoder of the same structure with fresh weights: (features, size) -> logits."""
        ...


backbones: Registry[type[Settings]] = Registry(
    "backbone",
    {
        "unet": "medcl.backbones.unet",
        "res-unet": "medcl.backbones.res_unet",
        "probabilistic-unet": "medcl.backbones.probabilistic_unet",
        "unet++": "medcl.backbones.unetpp",
        "swin": "medcl.backbones.swin",
        "vision-lstm": "medcl.backbones.vision_lstm",
        "max-query": "medcl.backbones.max_query",
        "sam": "medcl.backbones.sam",
        "smp": "medcl.backbones.smp",
    },
)


def has_branches(settings: object) -> bool:
    """Return whether networks of these settings are `Branching`."""
    return bool(getattr(settings, "has_branches", False))


def dims_of(family: type[Settings] | Settings) -> tuple[int, ...]:
    """Return which numbers of dimensions a family can do: (2, 3), (2,) or (3,)."""
    return tuple(getattr(family, "dims", (2, 3)))


def check_dims(name: str, ndim: int) -> None:
    """Refuse a family that cannot do this number of dimensions.

    Raises:
        SettingsError: Lists the families that can.
    """
    dims = dims_of(backbones.get(name))
    if ndim not in dims:
        able = [other for other in backbones if ndim in dims_of(backbones.get(other))]
        raise SettingsError(
            f"backbone '{name}': expected {' or '.join(f'{d}D' for d in dims)} images, got {ndim}D; "
            f"choose one of {', '.join(able)}, or set plan.ndim to what it can do."
        )


def build_backbone(
    name: str,
    *,
    in_channels: int,
    classes: int,
    ndim: int,
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> nn.Module:
    """Build a network by name.

    Args:
        name: A registered family; see `backbones.names()`.
        in_channels: Channels of the image.
        classes: Number of classes, background included.
        ndim: 2 for (N, C, Y, X) images, 3 for (N, C, Z, Y, X).
        tell: Called with a line for each thing that was done with given weights; default: the log.
        **settings: Settings of the family; `weights` names a file to start from.

    Returns:
        A module that maps (N, in_channels, *S) float to logits (N, classes, *S) for any spatial size S.

    Raises:
        SettingsError: Unknown family or setting, or a family that cannot do this number of dimensions.
        ModelError: Weights that cannot be read or do not fit; lists what differs.
    """
    from medcl.backbones.layers import without_pointwise_strides

    family: Any = backbones.get(name).parse(settings, where=f"backbone '{name}'")
    check_dims(name, ndim)
    # for every family, those of plug-ins too: what it avoids is no error but the end of the process
    network = without_pointwise_strides(family.build(in_channels=in_channels, classes=classes, ndim=ndim))
    if getattr(family, "weights", None) is not None:
        for line in family.load(network, in_channels=in_channels, classes=classes):
            (tell or _log.info)(line)
    return network
