"""Where to draw next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from medcl.annotate.context import Here
from medcl.annotate.pool import make_pool, suggest, usable
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import Problem, StrategyInfo, Suggestion, SuggestionList
from medcl.annotate.suggested import STRATEGY, forget, keep, kept, shown
from medcl.errors import DataError
from medcl.queries.listing import parse_list

router = APIRouter(prefix="/api", tags=["queries"])


@router.get("/next")
def get_next(
    context: Here,
    strategy: Annotated[
        str | None, Query(max_length=80, description="Name, 'list' for the loaded list; none: entropy-rarity.")
    ] = None,
    count: Annotated[int, Query(ge=1, le=500)] = 1,
    skip: Annotated[int, Query(ge=0, le=10_000, description="Leave out so many of the best.")] = 0,
) -> Sequence[Suggestion]:
    """Where the next strokes should go, best first; the same answer until something is drawn or predicted."""
    return suggest(context, strategy, count, skip)


@router.get("/strategies")
def get_strategies(context: Here) -> list[StrategyInfo]:
    """Names and descriptions of the strategies that `next` knows; the loaded list first."""
    content = None if context.needs_setup else kept(context)
    own = [] if content is None else [StrategyInfo(name=STRATEGY, description="The loaded list, in its order.")]
    return [*own, *usable()]


@router.get("/suggestions")
def get_suggestions(context: Here) -> SuggestionList | None:
    """The loaded list of `medcl suggest`, with what is drawn of it; null where none is loaded."""
    content = None if context.needs_setup else kept(context)
    return None if content is None else shown(content, make_pool(context))


@router.post("/suggestions", responses={422: {"model": Problem}})
def post_suggestions(
    context: Here,
    content: Annotated[dict[str, Any], Body(description="What suggestions.json holds; empty: forget the list.")],
) -> SuggestionList | None:
    """Load a list that `medcl suggest` wrote, for everybody who opens the project; an empty one drops it."""
    if not content:
        forget(context)
        return None
    try:
        keep(context, parsed := parse_list(content, "this file"))
    except DataError as error:
        raise Refused(422, str(error)) from None
    return shown(parsed, make_pool(context))
