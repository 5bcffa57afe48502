"""Rows that several parts ask for."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from medcl.annotate.state.tables import CaseRow, StrokeRow


def locked_case(session: Session, case_id: str) -> CaseRow:
    """Return the row of a case, made if there is none, that no other session changes until this one ends."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(CaseRow).values(id=case_id, version=0, written_version=0, file_digest="", verdict="",
                                           verdict_by="", verdict_version=0).on_conflict_do_nothing())  # fmt: skip
    return session.scalars(
        select(CaseRow).where(CaseRow.id == case_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def standing(case_id: str | None = None) -> list:
    """Return the conditions of strokes that stand and are no erasing, for a `where(*standing())`."""
    conditions = [StrokeRow.undone.is_(False), (StrokeRow.value.is_not(None)) | (StrokeRow.tool == "import")]
    return [*conditions, StrokeRow.case == case_id] if case_id is not None else conditions
