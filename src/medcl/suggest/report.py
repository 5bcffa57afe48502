"""The list as one page that needs no server: what to draw, why, what it costs, with the pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medcl.errors import counted
from medcl.evaluation.blocks import Block, Card, Cards, Gallery, Legend, Picture, Section, Table, Text
from medcl.evaluation.pictures import colour_of
from medcl.evaluation.provenance import versions
from medcl.evaluation.report import write_report
from medcl.queries.listing import PlaceList

HTML_NAME = "suggestions.html"


def write_page(folder: Path, content: PlaceList, *, circles: bool) -> Path:
    """Write `suggestions.html` beside the list.

    Args:
        folder: Where the list and its pictures lie.
        content: The list.
        circles: Whether a picture has a circle, so that one must be explained.

    Returns:
        The file.
    """
    path = folder / HTML_NAME
    spent = content.places[-1].total_s if content.places else 0.0
    places = counted(len(content.places), "place")
    budget = "" if content.budget_s is None else f" of {content.budget_s:.0f} s"
    write_report(
        path,
        None,
        title="Where to draw next",
        subtitle=f"{content.dataset}: {places}, about {spent:.0f} s{budget}, by {content.strategy}",
        settings={"strategy": content.strategy, "model": content.model or "none", **content.settings},
        versions=versions(),
        extra_sections=_sections(folder, content, circles),
    )
    return path


def _sections(folder: Path, content: PlaceList, circles: bool) -> list[Section]:
    by_class = Counter(place.class_name for place in content.places)
    cases = len({place.case for place in content.places})
    spent = content.places[-1].total_s if content.places else 0.0
    cards = [
        Card(
            "place" if len(content.places) == 1 else "places", str(len(content.places)), f"in {counted(cases, 'case')}"
        ),
        Card("time", f"{spent / 60:.1f} min", "expected, by the cost model"),
        *(Card(name, str(count), "place" if count == 1 else "places") for name, count in by_class.items()),
    ]
    rows = [
        (p.case, f"{p.plane} {p.slice + 1}", p.class_name, f"{p.cost_s:.0f}", f"{p.total_s:.0f}", p.reason)
        for p in content.places
    ]
    table = Table(
        "In the order to draw; slices are counted from 1, as on the annotation page",
        ("case", "slice", "draw", "seconds", "seconds so far", "why"),
        rows,
        text_columns=3,
    )
    blocks: list[Block] = [Cards(cards), *(Text(note, "warning") for note in content.notes)]
    pictures = [
        Picture((folder / p.picture).read_bytes(), f"{p.case}, {p.plane} slice {p.slice + 1}, {p.class_name}", p.reason)
        for p in content.places
        if p.picture is not None
    ]
    sections = [Section("The list", [*blocks, table] if rows else blocks)]
    if pictures:
        colours = {name: colour_of(index) for index, name in enumerate(content.classes) if index}
        intro = "Head or front on top, the patient's right on the left."
        if circles:
            intro = f"A circle: where the model is least sure of what to draw. {intro}"
        sections.append(Section("Pictures", [Legend(colours), Gallery(pictures, columns=2)], intro=intro))
    return sections
