"""What the annotation cost and what it bought."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

from sqlalchemy import func, select

from medcl.annotate.cases import summaries
from medcl.annotate.jobs.material import totals
from medcl.annotate.schemas import CaseState, Moment, Statistics
from medcl.annotate.state.rows import standing
from medcl.annotate.state.tables import ModelRow, StrokeRow

if TYPE_CHECKING:
    from medcl.annotate.context import Context


def statistics(context: Context) -> Statistics:
    """Count strokes and time, and give the score of each model beside what had been drawn when it was made.

    The score is Dice on strokes held back from training (`jobs.holdback`); models of the time before any were held back
    have none.
    """
    classes = context.dataset().classes
    strokes, seconds, voxels = totals(context)
    with context.database.session(write=False) as session:
        by_class = session.execute(
            select(StrokeRow.value, func.count())
            .where(*standing(), StrokeRow.value.is_not(None))
            .group_by(StrokeRow.value)
        ).all()
        authors = select(StrokeRow.author, func.count()).where(*standing()).group_by(StrokeRow.author)
        by_author = {author: int(number) for author, number in session.execute(authors)}
        undone = session.scalar(select(func.count()).select_from(StrokeRow).where(StrokeRow.undone.is_(True))) or 0
        models = list(session.scalars(select(ModelRow).order_by(ModelRow.id)))
    states = Counter(row.state for row in summaries(context, context.cases()))
    return Statistics(
        strokes=strokes,
        undone=undone,
        seconds=seconds,
        voxels=voxels,
        by_class=dict.fromkeys(classes, 0)
        | {classes[c]: number for c, number in by_class if c is not None and c < len(classes)},
        by_author=by_author,
        cases={state: states[state] for state in get_args(CaseState)},
        curve=[
            Moment(
                at=row.at, model=row.id, strokes=row.strokes, seconds=row.seconds, voxels=row.voxels, scores=row.scores
            )
            for row in models
        ],
    )
