"""Which training cases of a data set still take strokes, and what is drawn in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry
from medcl.data.io import read_geometry
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.data.view import View
from medcl.errors import DataError, counted
from medcl.queries import CaseFacts
from medcl.queries.places import PLANES, drawing_axis


@dataclass(frozen=True)
class Open:
    """A training case that takes strokes.

    Attributes:
        case: Its files.
        view: Its view grid.
        axis: Axis of (K, J, I) across which people draw.
        facts: What strategies read.
    """

    case: Case
    view: View
    axis: int
    facts: CaseFacts

    def in_file(self, index: int) -> tuple[str, int]:
        """Return the axis of the file ("x", "y" or "z") and the number along it of a slice of the view grid."""
        grid = self.view.grid
        slices = self.view.shape[self.axis]
        return "zyx"[grid.order[self.axis]], slices - 1 - index if grid.flips[self.axis] else index


@dataclass(frozen=True)
class Material:
    """The cases of a data set, as far as strategies need them.

    Attributes:
        cases: Those that take strokes.
        done: Those with strokes that take no more: in every slice already, or beside a dense label.
        strokes: Slices drawn per class, in all training cases (files do not tell strokes apart).
        left_out: Why other training cases are not among them -> how many.
        failed: Case -> why it could not be read.
    """

    cases: tuple[Open, ...]
    done: tuple[Open, ...]
    strokes: tuple[int, ...]
    left_out: dict[str, int]
    failed: dict[str, str]


def geometry_of(dataset: Dataset, case: Case) -> Geometry:
    """Return the grid of a case; only the header is read where the format allows it."""
    if len(case.images) and case.images[0].is_file() and not case.missing:
        return read_geometry(case.images[0])
    return dataset.read_image(case).geometry


def gather(
    dataset: Dataset,
    *,
    labels: bool = True,
    redraw: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Material:
    """Read what is drawn in the training cases and choose those that take strokes.

    Args:
        dataset: Where from.
        labels: Whether a dense label counts as annotated; False leaves labels out of account, as in an experiment.
        redraw: Keep cases with strokes in every slice.
        progress: Called with cases done, cases in all, and the case that comes next.

    Raises:
        DataError: No training case; every one of them is annotated; or none of the others can be read.
    """
    cases = dataset.cases("Tr")
    if not cases:
        raise DataError(f"{dataset.folder}: expected training cases in imagesTr, found none; put the scans there.")
    kept, done, counts, left_out = [], [], Counter[int](), Counter[str]()
    failed: dict[str, str] = {}
    for number, case in enumerate(cases):
        if progress is not None:
            progress(number, len(cases), case.id)
        dense = labels and case.label is not None
        if dense:
            left_out["has a dense label"] += 1
            if case.scribble is None:
                continue
        try:
            found = _open(dataset, case)
        except DataError as error:  # one case must not cost the others
            failed[case.id] = str(error)
            continue
        counts.update(c for classes in found.facts.drawn.values() for c in classes)
        if dense:  # its strokes count; more would tell nothing that the label does not
            done.append(found)
            continue
        if not redraw and len(found.facts.drawn) >= found.facts.slices:
            left_out["has strokes in every slice"] += 1
            done.append(found)
            continue
        kept.append(found)
    if not kept and failed:
        raise DataError(
            f"{dataset.folder}: expected at least one training case to draw in that can be read, got none; the first: "
            f"{next(iter(failed.values()))}"
        )
    if not kept:
        why = "; ".join(f"{n} of {counted(len(cases), 'training case')}: {word}" for word, n in left_out.items())
        do = "add --redraw to rank slices with strokes again" if "every slice" in why else ""
        other = "add --no-labels to leave dense labels out of account" if "dense" in why else ""
        raise DataError(
            f"{dataset.folder}: nothing is left to suggest, all training cases are annotated ({why}); "
            f"{', or '.join(filter(None, (do, other)))}, or put new scans into imagesTr."
        )
    strokes = tuple(counts[c] for c in range(len(dataset.classes)))
    return Material(tuple(kept), tuple(done), strokes, dict(left_out), failed)


def _open(dataset: Dataset, case: Case) -> Open:
    view = View.of(geometry_of(dataset, case))
    x, y, z = view.spacing_mm
    axis = drawing_axis(view.shape, (z, y, x))
    drawn: dict[int, frozenset[int]] = {}
    if case.scribble is not None:
        strokes = np.moveaxis(view.to_view(dataset.read_scribble(case)), axis, 0)
        for index in np.flatnonzero((strokes != UNLABELLED).any(axis=(1, 2))).tolist():
            drawn[index] = frozenset(int(c) for c in np.unique(strokes[index]) if c != UNLABELLED)
    i, j, k = view.size
    centre = (i // 2, j // 2, k // 2)
    facts = CaseFacts(
        case.id, PLANES[axis], view.shape[axis], (z, y, x)[axis], centre, drawn, spacing_mm=view.spacing_mm
    )
    return Open(case, view, axis, facts)
