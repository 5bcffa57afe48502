"""What strategies choose from: slices of cases, the classes in them, and what a prediction and the strokes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Plane = Literal["axial", "coronal", "sagittal"]
SliceKey = tuple[str, str, int]
"""Case, plane, number of the slice."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last, along i, j and k of the view grid."""


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
        shows: Slice -> structures that it is known to show, where somebody knows (a simulated person does); empty: what
            the prediction says counts.
        spacing_mm: Spacing (i, j, k) in mm.
    """

    id: str
    plane: Plane
    slices: int
    gap_mm: float
    centre: tuple[int, int, int]
    drawn: Mapping[int, frozenset[int]] = field(default_factory=dict)
    shows: Mapping[int, frozenset[int]] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def place(self, index: int) -> tuple[int, int, int]:
        """Return the middle voxel (i, j, k) of a slice."""
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[self.plane]
        i, j, k = (index if number == axis else middle for number, middle in enumerate(self.centre))
        return i, j, k


@dataclass(frozen=True)
class Place:
    """One class in one slice, or in a box of it, as a prediction sees it. u is the normalised entropy, 0..1.

    Attributes:
        case: Name.
        slice: Number of the slice across the case's plane.
        class_index: The class.
        doubt_mm2: Area of the class that is undecided: sum over the place of p_c u, times the area of a pixel.
        share: Mean probability of the class in the place.
        peak: Voxel (i, j, k) where p_c u is largest.
        entropy: Mean of u over the place, over all classes: the same for each class of a place.
        information: Mean mutual information between prediction and network (BALD), normalised like u, over all
            classes; 0 where there is one prediction only.
        information_mm2: Sum over the place of p_c times the mutual information, times the area of a pixel.
        mask_mm2: Area in which the class is the most likely one.
        area_mm2: Area of the place; 0 where nobody measured it.
        box: Where in the case it lies; None: the whole slice.
    """

    case: str
    slice: int
    class_index: int
    doubt_mm2: float
    share: float
    peak: tuple[int, int, int]
    entropy: float = 0.0
    information: float = 0.0
    information_mm2: float = 0.0
    mask_mm2: float = 0.0
    area_mm2: float = 0.0
    box: Box | None = None

    @property
    def size_mm2(self) -> float:
        """Expected area of the class: the sum of its probabilities."""
        return self.share * self.area_mm2


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
        box: Where in the slice to draw; None: anywhere.
        cost_s: Expected seconds of a person's time; None: nobody said (`medcl.queries.cost.priced` does). Strategies
            that rank by a price say that one.
    """

    case: str
    plane: Plane
    slice: int
    class_index: int
    place: tuple[int, int, int]
    score: float
    reason: str
    box: Box | None = None
    cost_s: float | None = None


@dataclass(frozen=True)
class Pool:
    """Everything that a strategy may read.

    Attributes:
        classes: Names by index; 0 is background.
        cases: Cases that take strokes, reviewed ones left out.
        places: What predictions say; empty before the first one. Cases without a prediction have none.
        strokes: Strokes per class so far, in all cases.
        features: (case, slice) -> numbers that describe the slice, all of one length, for strategies that look for
            variety; empty: none were made.
        progress: Share of the whole annotation budget that is spent, 0..1, for schedules; None: see `stage`.
        done: Cases that nobody is asked about any more. Their drawn slices count in `stage`, and as what others are
            compared with where `features` describes them.
    """

    classes: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    places: tuple[Place, ...] = ()
    strokes: tuple[int, ...] = ()
    features: Mapping[tuple[str, int], tuple[float, ...]] = field(default_factory=dict)
    progress: float | None = None
    done: tuple[CaseFacts, ...] = ()

    @property
    def stage(self) -> float:
        """`progress`; where nobody gave it, the share of slices that are drawn (derived), 0..1.

        Of cases that are done only drawn slices count: the others will never be asked for.
        """
        if self.progress is not None:
            return min(max(self.progress, 0.0), 1.0)
        done = sum(len(case.drawn) for case in self.done)
        slices = sum(case.slices for case in self.cases) + done
        return (sum(len(case.drawn) for case in self.cases) + done) / slices if slices else 0.0

    @cached_property
    def by_id(self) -> dict[str, CaseFacts]:
        """Cases by name."""
        return {case.id: case for case in self.cases}

    @cached_property
    def _seen(self) -> dict[tuple[str, int, int, Box | None], Place]:
        return {(place.case, place.slice, place.class_index, place.box): place for place in self.places}

    def seen(self, case: str, index: int, class_index: int, box: Box | None = None) -> Place | None:
        """Return what predictions say about a class in a slice or box; None: nothing."""
        return self._seen.get((case, index, class_index, box))

    def look_at(self, case: CaseFacts, index: int, class_index: int) -> tuple[int, int, int]:
        """Return the voxel of a slice to look at for a class: where the prediction doubts it most, else the middle."""
        place = self.seen(case.id, index, class_index)
        return case.place(index) if place is None else place.peak

    def points(self, query: Query) -> bool:
        """Tell whether a query's place is where a prediction doubts its class most, and not just the middle."""
        place = self.seen(query.case, query.slice, query.class_index, query.box)
        return place is not None and place.peak == query.place

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
