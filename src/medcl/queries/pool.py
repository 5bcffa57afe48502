"""What strategies choose from: slices of cases, the classes in them, and what a prediction and the strokes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Plane = Literal["axial", "coronal", "sagittal"]
SliceKey = tuple[str, str, int]
"""Case, plane, number of the slice."""


@dataclass(frozen=True)
class CaseFacts:
    """A case that takes strokes.

    Attributes:
        id: Name.
        plane: The plane that people draw in.
        slices: Number of slices across it.
        gap_mm: Distance between two slices in mm.
        centre: Voxel (i, j, k) of the view grid in the middle of the volume.
        drawn: Slice -> classes drawn in it; slices without strokes are left out.
    """

    id: str
    plane: Plane
    slices: int
    gap_mm: float
    centre: tuple[int, int, int]
    drawn: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def place(self, index: int) -> tuple[int, int, int]:
        """Return the middle voxel (i, j, k) of a slice."""
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[self.plane]
        i, j, k = (index if number == axis else middle for number, middle in enumerate(self.centre))
        return i, j, k


@dataclass(frozen=True)
class Place:
    """One class in one slice, as a prediction sees it.

    Attributes:
        case: Name.
        slice: Number of the slice across the case's plane.
        class_index: The class.
        doubt_mm2: Area of the class that is undecided: sum over the slice of p_c u, times the area of a pixel.
        share: Mean probability of the class in the slice.
        peak: Voxel (i, j, k) where p_c u is largest.
    """

    case: str
    slice: int
    class_index: int
    doubt_mm2: float
    share: float
    peak: tuple[int, int, int]


@dataclass(frozen=True)
class Query:
    """A place that a strategy asks for.

    Attributes:
        case: Name.
        plane: Plane to draw in.
        slice: Number of the slice.
        class_index: What to draw.
        place: Voxel (i, j, k) of the view grid to look at.
        score: Larger is better; of one strategy only.
        reason: In words.
    """

    case: str
    plane: Plane
    slice: int
    class_index: int
    place: tuple[int, int, int]
    score: float
    reason: str


@dataclass(frozen=True)
class Pool:
    """Everything that a strategy may read.

    Attributes:
        classes: Names by index; 0 is background.
        cases: Cases that take strokes, reviewed ones left out.
        places: What predictions say; empty before the first one. Cases without a prediction have none.
        strokes: Strokes per class so far, in all cases.
    """

    classes: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    places: tuple[Place, ...] = ()
    strokes: tuple[int, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, CaseFacts]:
        """Cases by name."""
        return {case.id: case for case in self.cases}

    @property
    def stroke_counts(self) -> list[int]:
        """Strokes per class, one number for each class; may be changed."""
        return [*self.strokes, *[0] * (len(self.classes) - len(self.strokes))]

    def slices(self) -> Iterator[tuple[CaseFacts, int]]:
        """Yield all slices of all cases."""
        for case in self.cases:
            for index in range(case.slices):
                yield case, index


def drawn_in_words(case: CaseFacts, index: int, class_index: int) -> str:
    """Say what is drawn in a slice already."""
    if not case.drawn:
        return "nothing drawn in this case yet"
    if index not in case.drawn:
        return "never drawn here"
    return "drawn here before" if class_index in case.drawn[index] else "other classes drawn here"
