"""Saving, undoing and redoing strokes: exact, repeatable, and never over what somebody else drew unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from medcl.annotate.problems import Refused
from medcl.annotate.runs import check_runs, overlap, pack, unpack
from medcl.annotate.schemas import Conflict, NewStroke, Plane, Stroke, StrokeList, StrokeSaved, Triple
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import CaseRow, EventRow, StrokeRow, now
from medcl.annotate.stroke_files import import_changed
from medcl.data.layout import Case

if TYPE_CHECKING:
    from medcl.annotate.context import Context

_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis (i, j, k) that counts the slices of a plane."""


def history(context: Context, case: Case) -> StrokeList:
    """Return all strokes of a case, oldest first, those that were undone too."""
    import_changed(context, case)
    with context.database.session(write=False) as session:
        row = session.get(CaseRow, case.id)
        rows = session.scalars(select(StrokeRow).where(StrokeRow.case == case.id).order_by(StrokeRow.version))
        return StrokeList(version=row.version if row else 0, strokes=[_shown(stroke) for stroke in rows])


def save(context: Context, case: Case, new: NewStroke, author: str) -> StrokeSaved:
    """Keep a stroke.

    Raises:
        Refused: 409 with a `Conflict`; 422 for strokes that this case cannot take.
        DataError: The stroke file of the case was changed by somebody and cannot be read.
    """
    runs = _checked(context, case, new)
    if new.value is not None:
        context.make_room_for_strokes()
    import_changed(context, case)
    try:
        with context.database.session() as session:
            row = locked_case(session, case.id)
            kept = session.get(StrokeRow, new.id)
            if kept is not None:
                return _repeated(kept, case, new, runs)
            compare_versions(session, row, new.base_version, runs)
            row.version += 1
            stroke = StrokeRow(
                id=new.id,
                case=case.id,
                version=row.version,
                author=author,
                at=now(),
                tool=new.tool,
                value=new.value,
                plane=new.plane,
                slice=new.slice,
                width=new.width,
                seconds=new.seconds,
                voxels=int(runs[:, 1].sum()),
                on_prediction=new.on_prediction,
                runs=pack(runs),
            )
            session.add(stroke)
            session.flush()
            context.tell(session, "case", "stroke", case=case.id, version=row.version, stroke=stroke.id, author=author)
            saved = StrokeSaved(version=row.version, stroke=_shown(stroke))
    except IntegrityError:  # the same id came for another case at the same moment
        raise _taken(new.id) from None
    context.changed()
    return saved


def set_undone(
    context: Context, case: Case, stroke_id: UUID, base_version: int, undone: bool, author: str
) -> StrokeSaved:
    """Take a stroke back, or bring it back. Saying it twice changes nothing.

    Raises:
        Refused: 404 for a stroke that the case does not have; 409 with a `Conflict`.
    """
    action = "undo" if undone else "redo"
    import_changed(context, case)
    with context.database.session() as session:
        row = locked_case(session, case.id)
        stroke = session.get(StrokeRow, stroke_id)
        if stroke is None or stroke.case != case.id:
            raise Refused(404, f"case {case.id}: has no stroke {stroke_id}; GET its strokes for those it has.")
        if stroke.undone == undone:
            version = session.scalar(
                select(EventRow.version)
                .where(EventRow.stroke == stroke_id, EventRow.action == action)
                .order_by(EventRow.id.desc())
                .limit(1)
            )
            return StrokeSaved(version=version or stroke.version, stroke=_shown(stroke))
        compare_versions(session, row, base_version, _pairs(stroke))
        row.version += 1
        stroke.undone = undone
        context.tell(session, "case", action, case=case.id, version=row.version, stroke=stroke.id, author=author)
        saved = StrokeSaved(version=row.version, stroke=_shown(stroke))
    context.changed()
    return saved


def _checked(context: Context, case: Case, new: NewStroke) -> np.ndarray:
    """Return the runs of a stroke that its case can take."""
    if other := context.other_classes(keep=True):
        raise Refused(422, other)
    dataset, view = context.dataset(), context.view(case)
    if case.split != "Tr":
        raise Refused(
            422, f"case {case.id}: only training cases take strokes, and this one lies in images{case.split}."
        )
    if new.tool == "import":
        raise Refused(422, "tool: expected pen, line, eraser or flood; imports come from files in scribblesTr.")
    if new.tool == "eraser" and new.value is not None:
        raise Refused(422, f"value: the eraser takes strokes away and has no class (null), got {new.value}.")
    if new.value is not None:
        if new.value >= len(dataset.classes):
            known = ", ".join(f"{index} {name}" for index, name in enumerate(dataset.classes))
            raise Refused(422, f"value: unknown class {new.value}; known: {known}.")
        name = dataset.classes[new.value]
        if new.value not in case.annotated:
            raise Refused(
                422,
                f"case {case.id}: dataset.json says (annotated) that nobody looked for '{name}' in this case; "
                "add it there first.",
            )
        if dataset.labels.strokes.values[new.value] is None:
            raise Refused(422, f"class '{name}' has no value in scribble_labels of dataset.json; add it there first.")
    across = view.size[_ACROSS[new.plane]]
    if new.slice >= across:
        raise Refused(
            422, f"slice: case {case.id} has {across} {new.plane} slices (0 to {across - 1}), got {new.slice}."
        )
    runs = check_runs(new.runs, view.voxels)
    if outside := _outside(runs, view.size, new.plane, new.slice):
        raise Refused(
            422,
            f"runs: expected voxels of the {new.plane} slice {new.slice} of case {case.id}, got {outside[0]} of "
            f"{outside[1]} elsewhere; send one stroke for each slice, with its plane and number.",
        )
    return runs


def _outside(runs: np.ndarray, size: Triple, plane: Plane, index: int) -> tuple[int, int] | None:
    """Return how many voxels of runs lie outside a slice, and how many they are in all; None: all lie in it."""
    step, count = int(np.prod(size[: _ACROSS[plane]])), size[_ACROSS[plane]]

    # Slices come in blocks of `step` voxels, again and again: voxels from 0 up to `at` that lie in the slice.
    def within(at: np.ndarray) -> np.ndarray:
        whole, rest = np.divmod(at, step * count)
        found: np.ndarray = whole * step + (rest - index * step).clip(0, step)
        return found

    voxels = int(runs[:, 1].sum())
    elsewhere = voxels - int((within(runs.sum(1)) - within(runs[:, 0])).sum())
    return (elsewhere, voxels) if elsewhere else None


def _repeated(kept: StrokeRow, case: Case, new: NewStroke, runs: np.ndarray) -> StrokeSaved:
    if kept.case != case.id or kept.value != new.value or not np.array_equal(_pairs(kept), runs):
        raise _taken(new.id)
    return StrokeSaved(version=kept.version, stroke=_shown(kept))


def _taken(stroke_id: UUID) -> Refused:
    return Refused(422, f"id: {stroke_id} is the id of another stroke; make a new one for each.")


def compare_versions(session: Session, row: CaseRow, base_version: int, runs: np.ndarray) -> None:
    """Refuse what was done without knowing of the newest changes: a 409 with a `Conflict`."""
    if base_version == row.version:
        return
    if base_version > row.version:
        message = f"case {row.id}: version {base_version} is not there yet, the newest is {row.version}; load it again."
        since: list[StrokeRow] = []
    else:
        touched = select(EventRow.stroke).where(
            EventRow.case == row.id, EventRow.version > base_version, EventRow.stroke.is_not(None)
        )
        rows = select(StrokeRow).where(StrokeRow.case == row.id).order_by(StrokeRow.version)
        since = list(session.scalars(rows.where((StrokeRow.version > base_version) | StrokeRow.id.in_(touched))))
        who = ", ".join(sorted({stroke.author or "somebody" for stroke in since})) or "somebody"
        message = f"case {row.id}: {who} changed it since version {base_version}; look, then send with {row.version}."
    body = Conflict(
        message=message,
        version=row.version,
        strokes=[_shown(stroke) for stroke in since],
        overlaps=any(overlap(runs, _pairs(stroke)) for stroke in since),
    )
    raise Refused(409, message, body=body.model_dump(mode="json"))


def _pairs(stroke: StrokeRow) -> np.ndarray:
    """Return the runs of a stroke, of an import without the classes."""
    return unpack(stroke.runs, 3 if stroke.tool == "import" else 2)[:, :2]


def _shown(stroke: StrokeRow) -> Stroke:
    return Stroke.model_validate(stroke, from_attributes=True)


__all__ = ["compare_versions", "history", "save", "set_undone"]
