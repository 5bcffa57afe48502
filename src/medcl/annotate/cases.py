"""The case list and the first facts of a project."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from sqlalchemy import case as sql_case
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from medcl import __version__
from medcl.annotate.schemas import CaseState, CaseSummary, ClassInfo, ModelState, PredictionInfo, Project
from medcl.annotate.state.rows import standing
from medcl.annotate.state.tables import CaseRow, EventRow, ModelRow, PredictionRow, ProjectRow, StrokeRow
from medcl.annotate.volumes import is_color
from medcl.data.layout import Case
from medcl.errors import DataError

if TYPE_CHECKING:
    from medcl.annotate.context import Context

COLORS = ("#8c8c8c", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Background and classes, apart for colour-blind eyes (Okabe and Ito, 'Color Universal Design', 2008)."""


def class_color(index: int) -> str:
    """Return the colour of a class; beyond the seventh structure the seven come again, darker each time."""
    if index < len(COLORS):
        return COLORS[index]
    turn, place = divmod(index - 1, len(COLORS) - 1)
    share = 0.7**turn
    base = COLORS[1 + place]
    return "#" + "".join(f"{round(int(base[at : at + 2], 16) * share):02x}" for at in (1, 3, 5))


def project(context: Context, author: str = "") -> Project:
    """Return what a page needs first; of a folder that is not set up, the scans found."""
    if context.needs_setup:
        from medcl.annotate.setting_up import found_scans

        return Project(
            name=context.home.name,
            needs_setup=True,
            found=found_scans(context.home),
            author=author,
            version=__version__,
            notices=list(context.notices),
        )
    dataset = context.dataset()
    rows = summaries(context, context.cases())
    with context.database.session(write=False) as session:
        event = session.scalar(select(func.max(EventRow.id))) or 0
        key = session.scalar(select(ProjectRow.key)) or ""
        model = session.scalars(select(ModelRow).order_by(ModelRow.id.desc()).limit(1)).first()
    states = Counter(row.state for row in rows)
    hidden = {case.id for case in dataset.cases("Ts")} & {row.id for row in rows if row.split != "Ts"}
    twice = [f"Case {name} is in imagesTs too; only the one for training or validation is shown." for name in hidden]
    broken = [f"Case {row.id}: its image cannot be read; medcl check says why." for row in rows if 0 in row.size]
    return Project(
        name=dataset.name,
        key=key,
        needs_setup=False,
        channels=list(dataset.channels),
        classes=[
            ClassInfo(index=index, name=name, color=class_color(index)) for index, name in enumerate(dataset.classes)
        ],
        groups={name: list(members) for name, members in dataset.groups.items()},
        cases=len(rows),
        states={state: states[state] for state in get_args(CaseState)},
        model=None
        if model is None
        else ModelState(id=model.id, at=model.at, steps=model.steps, strokes=model.strokes, scores=model.scores),
        author=author,
        event=event,
        version=__version__,
        notices=[*filter(None, [context.other_classes()]), *context.notices, *broken, *sorted(twice)],
    )


def summary(context: Context, case: Case) -> CaseSummary:
    """Return the row of one case."""
    return summaries(context, [case])[0]


def summaries(context: Context, cases: list[Case]) -> list[CaseSummary]:
    """Return the rows of the case list, in the order given."""
    names = [case.id for case in cases]
    with context.database.session(write=False) as session:
        rows = {row.id: row for row in session.scalars(_of(select(CaseRow), CaseRow.id, names))}
        drawn = _stroke_totals(session, names)
        predictions: dict[str, PredictionRow] = {}
        for prediction in session.scalars(
            _of(select(PredictionRow), PredictionRow.case, names).order_by(PredictionRow.id)
        ):
            predictions[prediction.case] = prediction
        return [
            _summary(context, session, case, rows.get(case.id), drawn.get(case.id, (0, 0.0)), predictions.get(case.id))
            for case in cases
        ]


def _of(query, column, names: list[str]):  # type: ignore[no-untyped-def]  # SQLAlchemy's types name every column
    """Ask for these cases only, where they are few; else for all."""
    return query.where(column.in_(names)) if len(names) < 100 else query


def _stroke_totals(session: Session, names: list[str]) -> dict[str, tuple[int, float]]:
    """Return strokes that stand, without erasing, and seconds spent with all of them, by case."""
    stands = standing()
    counted = func.sum(sql_case((stands[0] & stands[1], 1), else_=0))
    query = _of(select(StrokeRow.case, counted, func.sum(StrokeRow.seconds)), StrokeRow.case, names)
    return {
        case: (int(number), float(seconds)) for case, number, seconds in session.execute(query.group_by(StrokeRow.case))
    }


def _summary(
    context: Context,
    session: Session,
    case: Case,
    row: CaseRow | None,
    drawn: tuple[int, float],
    prediction: PredictionRow | None,
) -> CaseSummary:
    version = row.version if row else 0
    waiting = (row is None or not row.file_digest) and version == 0 and case.scribble is not None and case.split == "Tr"
    verdict = row.verdict if row and row.verdict_version == row.version else ""
    older = bool(row and row.verdict == "accept" and not verdict and case.label is not None)
    states: dict[str, CaseState] = {"accept": "reviewed", "wrong": "wrong"}
    default: CaseState = "predicted" if prediction else "strokes" if drawn[0] or waiting else "untouched"
    color, readable = False, True
    try:
        view = context.view(case)
        size, spacing = view.size, view.spacing_mm
        color = is_color(context, case)
    except (DataError, OSError):
        size, spacing, readable = (0, 0, 0), (1.0, 1.0, 1.0), False
    return CaseSummary(
        id=case.id,
        split=case.split,
        can_draw=case.split == "Tr" and readable,
        state=states.get(verdict, default),
        size=size,
        spacing_mm=spacing,
        channels=1 if color else len(context.dataset().channels),
        color=color,
        strokes=drawn[0],
        drawn=context.drawn_voxels(session, case, version) if drawn[0] and readable else {},
        seconds=drawn[1],
        version=version,
        prediction=None if prediction is None else PredictionInfo.model_validate(prediction, from_attributes=True),
        reviewed_by=row.verdict_by if row and (verdict or older) else None,
        label_is_older=older,
        thumbnail=f"/api/cases/{quote(case.id, safe='')}/thumbnail.png",
    )
