"""What `next` chooses from: cases that take strokes, what is drawn in them, and what the newest predictions say."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import undefer

from medcl.annotate.jobs.holdback import AXES
from medcl.annotate.jobs.material import drawing_plane, slices_of_runs
from medcl.annotate.runs import unpack
from medcl.annotate.schemas import Suggestion
from medcl.annotate.state.rows import standing
from medcl.annotate.state.tables import CaseRow, PredictionRow, StrokeRow
from medcl.errors import DataError
from medcl.queries import CaseFacts, Place, Pool, Query, build_strategy
from medcl.queries.places import from_rows

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from medcl.annotate.context import Context
    from medcl.data.layout import Case

COLD_START = "coverage"
DEFAULT = "entropy-rarity"


def suggest(context: Context, strategy: str | None, count: int, skip: int) -> list[Suggestion]:
    """Return where the next strokes should go, best first.

    Args:
        context: Whose cases.
        strategy: Name; None: `DEFAULT`. One that needs predictions gives way to `COLD_START` where there are none yet,
            and the reasons say so.
        count: How many.
        skip: Leave out so many of the best: the user has seen them and went on.

    Raises:
        SettingsError: Unknown strategy.
    """
    pool = make_pool(context)
    chosen = build_strategy(strategy or DEFAULT)
    note = ""
    if chosen.needs_prediction and not pool.places:
        chosen, note = build_strategy(COLD_START), "no prediction yet: "
    # The same answer to the same question, until a stroke is drawn.
    seed = zlib.crc32(f"{context.dataset().name} {pool.strokes}".encode())
    return [_suggestion(pool, query, note) for query in chosen.rank(pool, count + skip, seed)[skip:]]


def make_pool(context: Context) -> Pool:
    """Collect the training cases that are not reviewed, with their strokes and newest predictions."""
    dataset = context.dataset()
    with context.database.session(write=False) as session:
        rows = session.scalars(select(CaseRow).where(CaseRow.verdict == "accept"))
        accepted = {row.id for row in rows if row.verdict_version == row.version}
        cases = [case for case in context.cases() if case.split == "Tr" and case.id not in accepted]
        facts = []
        for case in cases:
            try:
                facts.append(_facts(context, session, case))
            except (DataError, OSError):
                continue  # the case list says that its image cannot be read
        places = _places(session, {fact.id for fact in facts})
        counted = select(StrokeRow.value, func.count()).where(*standing(), StrokeRow.value.is_not(None))
        counts = {row[0]: row[1] for row in session.execute(counted.group_by(StrokeRow.value))}
    strokes = tuple(int(counts.get(c, 0)) for c in range(len(dataset.classes)))
    return Pool(tuple(dataset.classes), tuple(facts), places, strokes)


def _facts(context: Context, session: Session, case: Case) -> CaseFacts:
    view = context.view(case)
    plane = drawing_plane(context, case)
    axis = 2 - AXES[plane]  # of (i, j, k)
    drawn: dict[int, set[int]] = {}
    query = select(StrokeRow).where(*standing(case.id)).order_by(StrokeRow.version)
    for stroke in session.scalars(query):
        if stroke.tool == "import":  # stands in for all before it
            drawn = {}
            for index, class_index in slices_of_runs(context, case, unpack(stroke.runs, 3)):
                drawn.setdefault(index, set()).add(class_index)
        elif stroke.plane == plane and stroke.slice is not None and stroke.value is not None:
            drawn.setdefault(stroke.slice, set()).add(stroke.value)
    i, j, k = view.size
    return CaseFacts(
        case.id,
        plane,
        view.size[axis],
        view.spacing_mm[axis],
        (i // 2, j // 2, k // 2),
        {index: frozenset(classes) for index, classes in drawn.items()},
    )


def _places(session: Session, cases: set[str]) -> tuple[Place, ...]:
    newest = select(func.max(PredictionRow.id)).group_by(PredictionRow.case)
    query = select(PredictionRow).where(PredictionRow.id.in_(newest)).options(undefer(PredictionRow.places))
    found: list[Place] = []
    for row in session.scalars(query):
        if row.case in cases:
            found += from_rows(row.case, row.places)
    return tuple(found)


def _suggestion(pool: Pool, query: Query, note: str) -> Suggestion:
    return Suggestion(
        case=query.case,
        plane=query.plane,
        slice=query.slice,
        place=query.place,
        class_index=query.class_index,
        class_name=pool.classes[query.class_index],
        score=query.score,
        reason=note + query.reason,
    )
