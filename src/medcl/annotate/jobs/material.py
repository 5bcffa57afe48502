"""What a training learns from: strokes but for held-back slices, and labels that somebody accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from medcl.annotate.jobs.holdback import AXES, EVERY, FIRST, Drawn, held_back, split
from medcl.annotate.jobs.staging import Staging
from medcl.annotate.runs import unpack
from medcl.annotate.state.tables import CaseRow, EventRow, StrokeRow
from medcl.annotate.stroke_files import import_changed, stroke_file
from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.errors import DataError
from medcl.queries.places import PLANES, drawing_axis
from medcl.queries.pool import Plane

if TYPE_CHECKING:
    from medcl.annotate.context import Context


@dataclass(frozen=True)
class Material:
    """What there is to learn from.

    Attributes:
        dataset: Training cases with their strokes or accepted labels; no other splits.
        held: Case -> held-back strokes, int16 (K, J, I) in the view grid, class indices and `UNLABELLED`.
        strokes: Strokes that stand.
        seconds: Seconds spent drawing.
        voxels: Stroked voxels.
        words: What is scored on, a sentence.
    """

    dataset: Dataset
    held: dict[str, np.ndarray]
    strokes: int
    seconds: float
    voxels: int
    words: str


def gather(context: Context) -> Material:
    """Write what is drawn, and collect what a training learns from.

    Raises:
        DataError: Nothing is drawn and no label was accepted.
    """
    for case in context.dataset().cases("Tr"):
        import_changed(context, case)  # strokes that nobody has looked at here yet
    context.flush()
    dataset = context.dataset()
    staging = Staging(context, dataset)
    cases, held = [], {}
    # One moment for all: what is drawn between two looks could else be learned from and held back, too.
    with context.database.session(write=False) as session:
        accepted, once_accepted = _accepted(session)
        slices = held_back(_history(context, session, dataset), never=once_accepted)
        for case in dataset.cases("Tr"):
            scribble = None
            label = staging.label(case.label) if case.label is not None and case.id in accepted else None
            if label is None:
                mine = [(plane, index) for name, plane, index in slices if name == case.id]
                scribble, apart = _staged(context, session, staging, case, mine)
                if apart is not None:
                    held[case.id] = apart
            if scribble is None and label is None and case.label is not None:
                label = staging.label(case.label)
            cases.append(replace(case, scribble=scribble, label=label))
        strokes, seconds, voxels = _totals(session)
    staging.tidy()
    if not any(case.scribble or case.label for case in cases):
        raise DataError("expected strokes on at least one training case, found none; draw some, then train.")
    learned = replace(dataset, _cases={"Tr": cases, "Val": [], "Ts": []})
    return Material(learned, held, strokes, seconds, voxels, _in_words(slices, held))


def totals(context: Context) -> tuple[int, float, int]:
    """Return strokes that stand (erasing left out), seconds spent with all strokes, and voxels of those that stand."""
    with context.database.session(write=False) as session:
        return _totals(session)


def _totals(session: Session) -> tuple[int, float, int]:
    from medcl.annotate.state.rows import standing

    strokes, voxels = session.execute(
        select(func.count(), func.coalesce(func.sum(StrokeRow.voxels), 0)).where(*standing())
    ).one()
    seconds = session.scalar(select(func.coalesce(func.sum(StrokeRow.seconds), 0.0))) or 0.0
    return int(strokes), float(seconds), int(voxels)


def _accepted(session: Session) -> tuple[set[str], set[str]]:
    """Return the cases whose label counts as accepted now, and those for which that was ever so."""
    rows = session.scalars(select(CaseRow).where(CaseRow.verdict == "accept"))
    current = {row.id for row in rows if row.verdict_version == row.version}
    query = select(EventRow.case).where(EventRow.kind == "case", EventRow.action == "accept").distinct()
    ever = {case for case in session.scalars(query) if case}
    return current, ever | current


def _history(context: Context, session: Session, dataset: Dataset) -> Iterator[Drawn]:
    """Yield all strokes, oldest first; an import counts as one stroke per slice and class."""
    known = {case.id: case for case in dataset.cases("Tr")}
    query = select(
        StrokeRow.case, StrokeRow.plane, StrokeRow.slice, StrokeRow.value, StrokeRow.tool, StrokeRow.id
    ).order_by(StrokeRow.at, StrokeRow.case, StrokeRow.version)
    for name, plane, index, value, tool, number in session.execute(query).all():
        if name not in known:
            continue
        if tool == "import":
            runs = session.scalar(select(StrokeRow.runs).where(StrokeRow.id == number))
            yield from _imported(context, known[name], unpack(runs or b"", 3))
        elif value is not None and plane in AXES and index is not None:
            yield Drawn(name, plane, index, value)


def _imported(context: Context, case: Case, runs: np.ndarray) -> Iterator[Drawn]:
    for index, class_index in slices_of_runs(context, case, runs):
        yield Drawn(case.id, drawing_plane(context, case), index, class_index)


def drawing_plane(context: Context, case: Case) -> Plane:
    """Return the plane that people draw in on this case."""
    view = context.view(case)
    k, j, i = view.shape
    x, y, z = view.spacing_mm
    return PLANES[drawing_axis((k, j, i), (z, y, x))]


def slices_of_runs(context: Context, case: Case, runs: np.ndarray) -> list[tuple[int, int]]:
    """Return slices across the drawing plane and the classes that an import has in them, in order."""
    view = context.view(case)
    i, j, _ = view.size
    axis = AXES[drawing_plane(context, case)]
    first, last = runs[:, 0], runs[:, 0] + runs[:, 1] - 1  # a run seldom leaves its row: its two ends tell enough
    found = set()
    for ends in (first, last):
        number = (ends // (i * j), ends // i % j, ends % i)[axis]
        found |= set(zip(number.tolist(), runs[:, 2].tolist(), strict=True))
    return sorted(found)


def _staged(
    context: Context, session: Session, staging: Staging, case: Case, mine: list[tuple[str, int]]
) -> tuple[Path | None, np.ndarray | None]:
    """Stage the strokes of a case without its held-back slices.

    Returns:
        The file, None where nothing is drawn; and what is held back, None where nothing is.
    """
    row = session.get(CaseRow, case.id)
    if row is None:
        return None, None
    if not mine and row.written_version == row.version:  # its file is what is drawn: no map need be made
        if not row.file_digest:
            return None, None
        if (staged := staging.file(case, stroke_file(context, case), row.file_digest)) is not None:
            return staged, None
    flat, _ = context.strokes_in_view(session, case)
    if (flat == UNLABELLED).all():
        return None, None
    kept, apart = split(flat.reshape(context.view(case).shape), mine)
    return staging.strokes(case, kept), apart if (apart != UNLABELLED).any() else None


def _in_words(slices: set[tuple[str, str, int]], held: dict[str, np.ndarray]) -> str:
    if held:
        count = len([1 for name, _, _ in slices if name in held])
        return f"scored on the strokes of {count} slice{'s' if count > 1 else ''} held back from training"
    return (
        f"not scored: of the first {FIRST} drawn slices nothing is held back, later one in {EVERY} is, "
        "to tell how good the model is"
    )
