"""The section about simulated annotation in docs/results.md, from what `annotation.py` wrote."""

from __future__ import annotations

from typing import Any

from medcl.benchmark.markdown import render
from medcl.evaluation.blocks import Table


def lines(content: dict[str, Any]) -> list[str]:
    """Return the section as lines of Markdown."""
    found = ["## Where to draw next", ""]
    for part in content["recipes"]:
        found += [f"### {part['title']}", "", part["description"], ""]
        found += [f"- {note}" for note in part["notes"]] + [""] * bool(part["notes"])
        for table in part["tables"]:
            found += render(Table(table["caption"], table["columns"], table["rows"]))
        found += [f"Made by `{part['command']}`, code {part['code']['commit']}.", ""]
    return found
