"""What `next` chooses from: cases that take strokes, what is drawn in them, and what the newest predictions say."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import undefer

from medcl.annotate.jobs.holdback import AXES
from medcl.annotate.jobs.material import drawing_plane
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import StrategyInfo, Suggestion
from medcl.annotate.state.rows import standing
from medcl.annotate.state.tables import CaseRow, PredictionRow, StrokeRow
from medcl.annotate.suggested import STRATEGY, kept, shown
from medcl.errors import DataError
from medcl.files import read_json, write_json
from medcl.queries import CaseFacts, Place, Pool, Query, build_strategy, needs, queries
from medcl.queries.cost import priced
from medcl.queries.features import image_features
from medcl.queries.places import from_rows

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from medcl.annotate.context import Context
    from medcl.data.layout import Case

COLD_START = "coverage"
DEFAULT = "entropy-rarity"


def suggest(context: Context, strategy: str | None, count: int, skip: int) -> Sequence[Suggestion]:
    """Return where the next strokes should go, best first.

    Args:
        context: Whose cases.
        strategy: Name, or `STRATEGY` for the loaded list; None: `DEFAULT`. One that needs predictions gives way to
            `COLD_START` where there are none yet, and the reasons say so.
        count: How many.
        skip: Leave out so many of the best: the user has seen them and went on.

    Raises:
        SettingsError: Unknown strategy.
        Refused: One that needs several predictions, or the list where none is loaded.
    """
    if strategy == STRATEGY:
        content = kept(context)
        if content is None:
            raise Refused(422, "expected a list of places, none is loaded; load suggestions.json of medcl suggest.")
        return [place for place in shown(content, make_pool(context)).places if not place.drawn][skip : skip + count]
    chosen = build_strategy(strategy or DEFAULT)
    if needs(chosen, "samples"):
        raise Refused(
            422,
            f"'{strategy}' reads the disagreement of several predictions, and the page keeps one; run medcl suggest "
            "--strategy and load its list.",
        )
    pool = make_pool(context)
    note = ""
    if chosen.needs_prediction and not pool.places:
        chosen, note = build_strategy(COLD_START), "no prediction yet: "
    if needs(chosen, "features"):
        pool = replace(pool, features=features_of(context, pool))
    # The same answer to the same question, until a stroke is drawn.
    seed = zlib.crc32(f"{context.dataset().name} {pool.strokes}".encode())
    found = priced(chosen.rank(pool, count + skip, seed)[skip:], pool)
    return [_suggestion(pool, query, note) for query in found]


def usable() -> list[StrategyInfo]:
    """Return the strategies that `suggest` can answer with: all that one prediction, or none, is enough for."""
    built = {name: build_strategy(name) for name in queries}
    return [
        StrategyInfo(name=name, description=one.description) for name, one in built.items() if not needs(one, "samples")
    ]


def features_of(context: Context, pool: Pool) -> dict[tuple[str, int], tuple[float, ...]]:
    """Return what describes the slices of a pool; made once per image and kept beside the database."""
    found: dict[tuple[str, int], tuple[float, ...]] = {}
    for facts in (*pool.cases, *pool.done):
        case = context.case(facts.id)
        key = context.dataset().part_digests(case)["image"]
        path = context.state / "features" / f"{zlib.crc32(facts.id.encode()):08x}.json"
        known = read_json(path) if path.is_file() else {}
        if known.get("key") != key:
            image = context.view(case).to_view(context.dataset().read_image(case).array)
            rows = image_features(image, AXES[facts.plane])
            known = {"key": key, "rows": [[round(float(value), 5) for value in row] for row in rows]}
            write_json(path, known)
        found |= {(facts.id, index): tuple(row) for index, row in enumerate(known["rows"])}
    return found


def make_pool(context: Context) -> Pool:
    """Collect the training cases with their strokes, and the newest predictions of those that are not accepted."""
    dataset = context.dataset()
    with context.database.session(write=False) as session:
        rows = session.scalars(select(CaseRow).where(CaseRow.verdict == "accept"))
        accepted = {row.id for row in rows if row.verdict_version == row.version}
        facts: dict[bool, list[CaseFacts]] = {False: [], True: []}  # accepted or not
        for case in context.cases():
            if case.split == "Tr":
                try:
                    facts[case.id in accepted].append(_facts(context, session, case))
                except (DataError, OSError):
                    continue  # the case list says that its image cannot be read
        places = _places(session, {fact.id for fact in facts[False]})
        counted = select(StrokeRow.value, func.count()).where(*standing(), StrokeRow.value.is_not(None))
        counts = {row[0]: row[1] for row in session.execute(counted.group_by(StrokeRow.value))}
    strokes = tuple(int(counts.get(c, 0)) for c in range(len(dataset.classes)))
    return Pool(tuple(dataset.classes), tuple(facts[False]), places, strokes, done=tuple(facts[True]))


def _facts(context: Context, session: Session, case: Case) -> CaseFacts:
    view = context.view(case)
    plane = drawing_plane(context, case)
    axis = 2 - AXES[plane]  # of (i, j, k)
    i, j, k = view.size
    return CaseFacts(
        case.id,
        plane,
        view.size[axis],
        view.spacing_mm[axis],
        (i // 2, j // 2, k // 2),
        context.drawn_slices(session, case, axis),
        spacing_mm=view.spacing_mm,
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
        box=query.box,
        cost_s=None if query.cost_s is None else round(query.cost_s, 1),
    )
