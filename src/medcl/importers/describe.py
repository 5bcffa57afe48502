"""What an imported dataset folder says of itself: `dataset.json` and a page on licence and citation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcl import __version__
from medcl.data.labels import BACKGROUND, IGNORE
from medcl.importers.base import Content, Importer


def describe(name: str, importer: Importer, content: Content, training: int, ending: str) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    `ignore` is named even where the source has no strokes, so that `medcl scribble` can draw into the folder.
    """
    facts = importer.facts
    options = {  # where a user's files lay says something of the user, not of the data
        key: value
        for key, value in importer.model_dump(mode="json").items()
        if not isinstance(getattr(importer, key), Path)
    }
    values = {BACKGROUND: 0, **{structure: value for value, structure in enumerate(content.classes, 1)}}
    return {
        "name": name,
        "description": facts.title,
        "channel_names": {str(index): channel for index, channel in enumerate(content.channels)},
        "labels": {**values, IGNORE: len(values)},
        **({"groups": {key: list(members) for key, members in content.groups.items()}} if content.groups else {}),
        "numTraining": training,
        "file_ending": ending,
        "licence": facts.licence,
        "citation": facts.citation,
        "source": facts.where,
        "import": {"importer": name, "medcl": __version__, "options": options},
    }


def source_page(name: str, importer: Importer, notes: Sequence[str]) -> str:
    """Return the page that goes with the images: whose they are and what may be done with them."""
    facts = importer.facts
    lines = [
        f"# {facts.title}",
        "",
        f"- Licence: {facts.licence}.",
        f"- Please cite: {facts.citation}.",
        f"- From: {facts.where}",
        f"- Written by `medcl import {name}` (medcl {__version__}).",
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"
