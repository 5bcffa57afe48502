"""Strokes: save, undo, redo, history."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from medcl.annotate import saving
from medcl.annotate.context import Author, Here
from medcl.annotate.schemas import BaseVersion, Conflict, NewStroke, StrokeList, StrokeSaved

router = APIRouter(prefix="/api/cases/{case}/strokes", tags=["strokes"], responses={409: {"model": Conflict}})


@router.get("")
def get_strokes(context: Here, case: str) -> StrokeList:
    """All strokes of a case, oldest first, those that were undone too."""
    return saving.history(context, context.case(case))


@router.post("")
def save_stroke(context: Here, author: Author, case: str, stroke: NewStroke) -> StrokeSaved:
    """Keep a stroke. On the disk when answered; saying the same again changes nothing."""
    return saving.save(context, context.case(case), stroke, author)


@router.post("/{stroke}/undo")
def undo_stroke(context: Here, author: Author, case: str, stroke: UUID, base: BaseVersion) -> StrokeSaved:
    """Take a stroke back; it stays in the history."""
    return saving.set_undone(context, context.case(case), stroke, base.base_version, True, author)


@router.post("/{stroke}/redo")
def redo_stroke(context: Here, author: Author, case: str, stroke: UUID, base: BaseVersion) -> StrokeSaved:
    """Bring a stroke back that was taken back."""
    return saving.set_undone(context, context.case(case), stroke, base.base_version, False, author)
