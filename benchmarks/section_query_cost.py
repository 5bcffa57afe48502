"""The section of results.md on what places cost, from the JSON that `query_cost.py` wrote."""

from __future__ import annotations

from typing import Any


def lines(content: dict[str, Any]) -> list[str]:
    """Return the section as lines of Markdown."""
    found = [
        "| data | drawn | slices | length / sqrt(area): quartiles |",
        "|---|---|---|---|",
    ]
    for row in content["rows"]:
        low, middle, high = row["quartiles"]
        found.append(f"| {row['data']} | {row['what']} | {row['slices']} | {low:.2f}, **{middle:.2f}**, {high:.2f} |")
    return [*found, "", f"Default strokes of `medcl scribble`, seed {content['seed']}, {content['cases']} cases a set."]
