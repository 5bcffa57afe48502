"""Networks from an image to class logits at the image's resolution; one family per file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from medcl.registry import Registry
from medcl.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


class BackboneSettings(Protocol):
    """Settings of a family that can build its network.

    Optional: `has_branches = True` (a ClassVar) says that the networks of the family are `Branching`.
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


backbones: Registry[type[Settings]] = Registry("backbone", {"unet": "medcl.backbones.unet"})


def has_branches(settings: object) -> bool:
    """Return whether networks of these settings are `Branching`."""
    return bool(getattr(settings, "has_branches", False))


def build_backbone(name: str, *, in_channels: int, classes: int, ndim: int, **settings: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: A registered family; see `backbones.names()`.
        in_channels: Channels of the image.
        classes: Number of classes, background included.
        ndim: 2 for (N, C, Y, X) images, 3 for (N, C, Z, Y, X).
        **settings: Settings of the family.

    Returns:
        A module that maps (N, in_channels, *S) float to logits (N, classes, *S) for any spatial size S.

    Raises:
        SettingsError: Unknown family or setting.
    """
    family = backbones.get(name).parse(settings, where=f"backbone '{name}'")
    network: nn.Module = family.build(in_channels=in_channels, classes=classes, ndim=ndim)  # type: ignore[attr-defined]
    return network
