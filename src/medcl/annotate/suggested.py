"""The list of places that `medcl suggest` wrote, kept with the project, so that everybody who opens it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medcl.annotate.problems import Refused
from medcl.annotate.schemas import ListedSuggestion, SuggestionList
from medcl.errors import DataError
from medcl.files import read_json, write_json
from medcl.queries.listing import JSON_NAME, ListedPlace, PlaceList, parse_list

if TYPE_CHECKING:
    from medcl.annotate.context import Context
    from medcl.queries import Pool

STRATEGY = "list"
"""Name under which `next` goes through the list."""


def keep(context: Context, content: PlaceList) -> None:
    """Keep a list in the place of an earlier one.

    Raises:
        Refused: It is for other classes, or for none of the cases here.
    """
    dataset = context.dataset()
    if content.classes != dataset.classes:
        raise Refused(
            422,
            f"expected a list for the classes {', '.join(dataset.classes)}, got one for {', '.join(content.classes)}; "
            "make it with medcl suggest for this folder.",
        )
    known = {case.id for case in context.cases() if case.split == "Tr"}
    if content.places and not known & {place.case for place in content.places}:
        raise Refused(
            422,
            f"expected a list for cases of this project, got places in {content.places[0].case} and others that are "
            "not here; make it with medcl suggest for this folder.",
        )
    write_json(context.state / JSON_NAME, content.model_dump(mode="json"))


def forget(context: Context) -> None:
    """Drop the list; its file elsewhere stays."""
    (context.state / JSON_NAME).unlink(missing_ok=True)


def kept(context: Context) -> PlaceList | None:
    """Return the list; None where there is none, or one that this version cannot read."""
    path = context.state / JSON_NAME
    if not path.is_file():
        return None
    try:
        return parse_list(read_json(path), JSON_NAME)
    except DataError:
        return None


def shown(content: PlaceList, pool: Pool) -> SuggestionList:
    """Return a list with what is drawn of it by now.

    Args:
        content: The list.
        pool: The cases that take strokes, with what is drawn.
    """
    facts = pool.by_id
    places = [
        _listed(place, place.class_index in facts[place.case].drawn.get(place.slice, frozenset()))
        for place in content.places
        if place.case in facts and place.slice < facts[place.case].slices and place.plane == facts[place.case].plane
    ]
    left = [place for place in places if not place.drawn]
    return SuggestionList(
        strategy=content.strategy,
        created=content.created,
        budget_s=content.budget_s,
        left=len(left),
        left_s=round(sum(place.cost_s or 0.0 for place in left), 1),
        unknown=len(content.places) - len(places),
        places=places,
    )


def _listed(place: ListedPlace, drawn: bool) -> ListedSuggestion:
    values = place.model_dump(exclude={"file_axis", "file_slice", "total_s", "picture"})
    return ListedSuggestion(**values, drawn=drawn)
