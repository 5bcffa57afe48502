"""The part of the results page about adapting: rows of `adapt.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return Markdown lines from what `benchmarks/adapt.py` wrote."""
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    result = [
        f"{content['images']} images without labels, {content['steps']} steps, scored on {content['tests']} test cases "
        f"(Dice); seed {content['seed']}. The guard sees no label; what it refuses was written to be scored.",
        "",
        "| experiment | variant | Dice before | Dice after | per structure | guard before | after | guard says |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        mine = [row for row in rows if row["experiment"] == experiment]
        before = next((row for row in mine if row["variant"] == "before"), None)
        for row in mine:
            if row is before:
                continue
            each = ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
            start = "" if before is None else f"{before['mean']:.3f}"
            says = "refused: " + " ".join(row["refused"]) if row["refused"] else "accepted"
            result.append(
                f"| {experiment} | {row['variant']} | {start} | {row['mean']:.3f} | {each} | "
                f"{row['guard_before']['score']:.3f} | {row['guard_after']['score']:.3f} | {says} |"
            )
    return [*result, ""]
