"""Between the database and `scribblesTr`: strokes are written to files, and files that somebody else changed are read.

The database is the truth. A file that is there before the first stroke, or that changes while nobody draws here,
becomes one stroke with the tool 'import' by the author 'file': it stands in for all before it, and can be undone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from filelock import FileLock
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcl.annotate.runs import pack, runs_of_map
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import CaseRow, StrokeRow, now
from medcl.data.io import write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case, entries
from medcl.errors import DataError
from medcl.files import atomic_write, file_digest, sync

if TYPE_CHECKING:
    from medcl.annotate.context import Context

FILE_AUTHOR = "file"
"""Author of strokes that came from files."""

_TRIES = 5
"""How often a file that changes under the writer is read again before it is given up for the moment."""

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
    known = _known_digest(context, case)
    if known == digest:
        return
    ours = digest == _promised(context, case)
    drawn = None if ours or not digest else _read(context, case, path, digest)
    with context.database.session() as session:
        row = locked_case(session, case.id)
        if row.file_digest != known or _digest(path) != digest:
            return  # taken or written meanwhile, or still being written: what was read here is no longer the newest
        if digest == _promised(context, case):
            # Ours: the file is in its place, or gone, and the database is not told yet; or the process ended there.
            row.file_digest = digest
            _forget_promise(context, case)
            return
        if not digest:
            _write_again(context, row)
            return
        if drawn is None:
            return  # the next look takes it
        # From here on a file that medcl wrote earlier is another program's doing (a backup put back), not ours.
        _forget_promise(context, case)
        current, _ = context.strokes_in_view(session, case)
        row.file_digest = digest
        if np.array_equal(current, drawn):
            row.written_version = row.version
            return
        waiting = _not_written(session, row)
        stroke = _import(session, row, drawn)
        row.written_version = row.version
        for late in waiting:  # what is drawn here since the last writing stays on top, and can still be undone
            row.version += 1
            late.version = row.version
        session.flush()
        context.tell(session, "case", "import", case=case.id, version=row.version, stroke=stroke.id, author=FILE_AUTHOR)
    if waiting:
        context.changed()


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
    for _ in range(_TRIES):
        import_changed(context, case)
        if _written(context, case):
            return
        case = next((other for other in context.cases() if other.id == case.id), case)
    context.changed()
    raise DataError(
        f"{stroke_file(context, case)}: other programs keep changing this file while the strokes of case {case.id} are "
        "written; let one of them finish, then it is tried again."
    )


def _written(context: Context, case: Case) -> bool:
    """Write the file of a case, unless it is no longer as the database knows it."""
    with context.database.session(write=False) as session:
        known = _digest_in(session, case)
        flat, version = context.strokes_in_view(session, case)
    path = stroke_file(context, case)
    digest = ""
    try:
        if bool((flat == UNLABELLED).all()):
            _promise(context, case, digest)
            _check_unchanged(path, known)
            path.unlink(missing_ok=True)
        else:
            view = context.view(case)
            values = context.dataset().labels.strokes.encode(view.from_view(flat.reshape(view.shape)))
            with atomic_write(path) as temporary:
                write_map(temporary, values, view.grid.geometry)
                sync(temporary)  # now, so that nothing slow lies between the last look below and the renaming
                digest = file_digest(temporary)
                _promise(context, case, digest)
                _check_alone(case, path)
                _check_unchanged(path, known)  # last of all: whoever saves now comes after us, not under us
    except _ChangedError:
        _forget_promise(context, case)
        return False
    with context.database.session() as session:
        row = locked_case(session, case.id)
        if row.file_digest in (known, digest):  # else somebody's later save was taken over already
            row.file_digest, row.written_version = digest, version
        _forget_promise(context, case)
    return True


class _ChangedError(Exception):
    """Another program saved the file since it was last read."""


def _check_alone(case: Case, path: Path) -> None:
    """See that nobody saved the first strokes of a case in a file with another ending meanwhile."""
    if case.scribble is None and set(entries(path.parent, folders=False)[0].get(case.id, ())) - {path}:
        raise _ChangedError


def _check_unchanged(path: Path, known: str) -> None:
    if _digest(path) != known:
        raise _ChangedError


def _read(context: Context, case: Case, path: Path, digest: str) -> np.ndarray | None:
    """Return the strokes of a file in the view grid, flat; None: it is being changed."""
    try:
        # The case may have been looked up before its file was there.
        drawn = context.dataset().read_scribble(replace(case, scribble=path))
    except (DataError, OSError):
        if _digest(path) != digest:
            return None
        raise
    return np.ascontiguousarray(context.view(case).to_view(drawn)).ravel()


def _write_again(context: Context, row: CaseRow) -> None:
    """Somebody removed the file: what is drawn is not thrown away for that, it is written again."""
    row.file_digest = ""
    row.written_version = -1
    _log.warning("The stroke file of case %s was removed; it is written again from the history.", row.id)
    context.changed()


def _not_written(session: Session, row: CaseRow) -> Sequence[StrokeRow]:
    """Return the strokes that no file holds yet, oldest first; those that were undone too, for they may come back."""
    return session.scalars(
        select(StrokeRow)
        .where(StrokeRow.case == row.id, StrokeRow.tool != "import", StrokeRow.version > max(row.written_version, 0))
        .order_by(StrokeRow.version)
    ).all()


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
    try:
        return file_digest(path) if path.is_file() else ""
    except DataError:
        if path.exists():
            raise
        return ""  # removed since it was looked for


def _known_digest(context: Context, case: Case) -> str:
    with context.database.session(write=False) as session:
        return _digest_in(session, case)


def _digest_in(session: Session, case: Case) -> str:
    row = session.get(CaseRow, case.id)
    return "" if row is None else row.file_digest


def _note(context: Context, case: Case) -> Path:
    return context.state / "written" / f"{hashlib.sha256(case.id.encode()).hexdigest()[:32]}.txt"


def _promise(context: Context, case: Case, digest: str) -> None:
    """Note what the file will be just before it is renamed to its place, or removed ('')."""
    with atomic_write(_note(context, case)) as temporary:
        temporary.write_text(digest, encoding="ascii")


def _promised(context: Context, case: Case) -> str | None:
    """Return what medcl said last that the file will be, '' for no file; None: nothing is promised."""
    try:
        return _note(context, case).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:  # none, or kept a moment ago
        return None


def _forget_promise(context: Context, case: Case) -> None:
    _note(context, case).unlink(missing_ok=True)
