"""Where to draw next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from medcl.annotate.context import Here
from medcl.annotate.pool import suggest
from medcl.annotate.schemas import Suggestion
from medcl.queries import build_strategy, queries

router = APIRouter(prefix="/api", tags=["queries"])


@router.get("/next")
def get_next(
    context: Here,
    strategy: Annotated[str | None, Query(max_length=80, description="Name; none: entropy-rarity.")] = None,
    count: Annotated[int, Query(ge=1, le=500)] = 1,
    skip: Annotated[int, Query(ge=0, le=10_000, description="Leave out so many of the best.")] = 0,
) -> list[Suggestion]:
    """Where the next strokes should go, best first; the same answer until something is drawn or predicted."""
    return suggest(context, strategy, count, skip)


@router.get("/strategies")
def get_strategies() -> list[dict[str, str]]:
    """Names and descriptions of the strategies that `next` knows."""
    return [{"name": name, "description": build_strategy(name).description} for name in queries]
