"""POST /api/cases/{case}/review."""

from __future__ import annotations

from fastapi import APIRouter

from medcl.annotate.cases import summary
from medcl.annotate.context import Author, Here
from medcl.annotate.reviewing import review
from medcl.annotate.schemas import CaseSummary, Conflict, Problem, Review

router = APIRouter(prefix="/api", tags=["review"])


@router.post(
    "/cases/{case_id}/review", responses={404: {"model": Problem}, 409: {"model": Conflict}, 422: {"model": Problem}}
)
def review_case(case_id: str, said: Review, context: Here, author: Author) -> CaseSummary:
    """Accept a prediction, with your strokes on it, as the dense label; call it wrong; or open the case again."""
    case = context.case(case_id)
    notice = review(context, case, said, author)
    return summary(context, context.case(case_id)).model_copy(update={"notice": notice})
