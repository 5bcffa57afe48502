"""Between the database and `scribblesTr`: strokes are written to files, and files that somebody else changed are read.

The database is the truth. A file that is there before the first stroke, or that changes while nobody draws here,
becomes one stroke with the tool 'import' by the author 'file': it stands in for all before it, and can be undone.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from filelock import FileLock
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcl.annotate.runs import pack, paint, runs_of_map, unpack
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import CaseRow, StrokeRow, now
from medcl.data.io import write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.errors import DataError
from medcl.files import atomic_write, file_digest

if TYPE_CHECKING:
    from medcl.annotate.context import Context

FILE_AUTHOR = "file"
"""Author of strokes that came from files."""

_log = logging.getLogger(__name__)


def stroke_file(context: Context, case: Case) -> Path:
    """Return where the strokes of a case are written: its file, or a new .nii.gz that holds any geometry.

    Raises:
        DataError: The folder is a link that leads out.
    """
    if case.scribble is not None:
        return case.scribble
    folder = context.scribble_folder
    context.inside(folder)
    return folder / f"{case.id}.nii.gz"


def import_changed(context: Context, case: Case) -> None:
    """Take over the stroke file of a case if it is not as the database last read or wrote it.

    Raises:
        DataError: The file is there and cannot be read as strokes.
    """
    if case.split != "Tr":
        return
    path = stroke_file(context, case)
    digest = _digest(path)
    with context.database.session(write=False) as session:
        known = session.get(CaseRow, case.id)
        if known is None and not digest:
            return
        if known is not None and known.file_digest == digest:
            return
    if not digest:
        _write_again(context, case)
        return
    if digest == _promised(context, case):
        # Ours: the process ended between the renaming of the file and the note in the database.
        with context.database.session() as session:
            locked_case(session, case.id).file_digest = digest
        return
    view = context.view(case)
    drawn = np.ascontiguousarray(view.to_view(context.dataset().read_scribble(case))).ravel()
    if _digest(path) != digest:
        return  # still being written: the next look takes it
    with context.database.session() as session:
        row = locked_case(session, case.id)
        if row.file_digest == digest:
            return
        current, _ = context.strokes_in_view(session, case)
        if np.array_equal(current, drawn):
            row.file_digest, row.written_version = digest, row.version
            return
        waiting = _not_written(session, row)
        for runs, value in waiting:
            paint(drawn, runs, value)  # what is drawn here since the last writing stays on top
        stroke = _import(session, row, drawn)
        row.file_digest = digest
        if not waiting:
            row.written_version = row.version
        context.tell(session, "case", "import", case=case.id, version=row.version, stroke=stroke.id, author=FILE_AUTHOR)


def flush(context: Context, case_id: str | None = None) -> None:
    """Write what is drawn into the files of `scribblesTr` where they are behind.

    Args:
        context: Where.
        case_id: Only this case.

    Raises:
        DataError: Files could not be written; those of other cases were.
    """
    if context.needs_setup:
        return
    # One writer at a time, whatever process: else an older map could take the place of a newer one.
    with FileLock(context.state / "flush.lock"):
        with context.database.session(write=False) as session:
            behind = select(CaseRow.id).where(CaseRow.written_version < CaseRow.version)
            wanted = session.scalars(behind if case_id is None else behind.where(CaseRow.id == case_id)).all()
        cases = {case.id: case for case in context.cases()} if wanted else {}
        problems = []
        for name in wanted:
            if name not in cases:
                continue  # its image is gone; the strokes wait for it
            try:
                _write(context, cases[name])
            except (DataError, OSError) as error:
                problems.append(str(error))
    if problems:
        raise DataError(" ".join(problems))


def _write(context: Context, case: Case) -> None:
    import_changed(context, case)
    with context.database.session(write=False) as session:
        flat, version = context.strokes_in_view(session, case)
    view = context.view(case)
    path = stroke_file(context, case)
    if bool((flat == UNLABELLED).all()):
        path.unlink(missing_ok=True)
        digest = ""
    else:
        indices = view.from_view(flat.reshape(view.shape))
        values = context.dataset().labels.strokes.encode(indices)
        with atomic_write(path) as temporary:
            write_map(temporary, values, view.grid.geometry)
            digest = file_digest(temporary)
            _promise(context, case, digest)
    with context.database.session() as session:
        row = locked_case(session, case.id)
        row.file_digest, row.written_version = digest, version


def _write_again(context: Context, case: Case) -> None:
    """Somebody removed the file: what is drawn is not thrown away for that, it is written again."""
    with context.database.session() as session:
        row = locked_case(session, case.id)
        row.file_digest = ""
        row.written_version = -1
    _log.warning("The stroke file of case %s was removed; it is written again from the history.", case.id)


def _not_written(session: Session, row: CaseRow) -> list[tuple[np.ndarray, int | None]]:
    rows = session.execute(
        select(StrokeRow.runs, StrokeRow.value)
        .where(StrokeRow.case == row.id, StrokeRow.undone.is_(False), StrokeRow.tool != "import")
        .where(StrokeRow.version > max(row.written_version, 0))
        .order_by(StrokeRow.version)
    )
    return [(unpack(runs), value) for runs, value in rows]


def _import(session: Session, row: CaseRow, drawn: np.ndarray) -> StrokeRow:
    runs = runs_of_map(drawn)
    row.version += 1
    stroke = StrokeRow(
        id=uuid4(),
        case=row.id,
        version=row.version,
        author=FILE_AUTHOR,
        at=now(),
        tool="import",
        voxels=int(runs[:, 1].sum()),
        runs=pack(runs),
    )
    session.add(stroke)
    session.flush()
    return stroke


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""


def _note(context: Context, case: Case) -> Path:
    return context.state / "written" / f"{hashlib.sha256(case.id.encode()).hexdigest()[:32]}.txt"


def _promise(context: Context, case: Case, digest: str) -> None:
    """Note what the file will be just before it is renamed to its place."""
    with atomic_write(_note(context, case)) as temporary:
        temporary.write_text(digest, encoding="ascii")


def _promised(context: Context, case: Case) -> str:
    note = _note(context, case)
    return note.read_text(encoding="ascii", errors="replace").strip() if note.is_file() else ""
