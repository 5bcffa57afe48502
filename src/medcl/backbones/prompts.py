"""What a person points at in an image, for networks that can be asked: points, boxes, masks and strokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Point:
    """A voxel that belongs to a class.

    Attributes:
        of: Class, by name or index; the background says where no structure is.
        at: Voxel (z, y, x), or (y, x) for a single slice, counted from 0 in the image as stored.
    """

    of: str | int
    at: Sequence[float]


@dataclass(frozen=True)
class Box:
    """A rectangle in one slice around a structure.

    Attributes:
        of: Class, by name or index; not the background.
        low: First voxel (z, y, x), or (y, x) for a single slice.
        high: Last voxel, in the same slice.
    """

    of: str | int
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Prompts:
    """All that is pointed at in one image, in voxels of the image as stored.

    Attributes:
        points: Voxels of classes.
        boxes: Rectangles around structures, at most one per class and slice.
        strokes: (Z, Y, X), or (Y, X) for a single slice: class indices where strokes are, -1 elsewhere.
        mask: The same shape: an earlier or rough mask of class indices; -1 where it says nothing.
    """

    points: Sequence[Point] = ()
    boxes: Sequence[Box] = ()
    strokes: np.ndarray | None = None
    mask: np.ndarray | None = None


@dataclass
class ClassPrompts:
    """What is asked of one class in one slice, in pixels of the slice as the network sees it.

    Attributes:
        index: The class.
        points: (y, x, whether it is inside).
        box: (y0, x0, y1, x1), or None.
        mask: (Y, X) bool, or None.
    """

    index: int
    points: list[tuple[float, float, bool]] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None


class Promptable(Protocol):
    """A network that can be asked."""

    def prompted(self, image: Tensor, prompts: Sequence[ClassPrompts]) -> Tensor:
        """Map one image (1, in_channels, Y, X) and what is asked of its classes to logits (1, classes, Y, X)."""
        ...
