"""The part of the results page about explanations: rows of `explain.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return Markdown lines from what `benchmarks/explain.py` wrote."""
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    result = [
        "| data | variant | slices | insertion (high is good) | deletion (low is good) | passes | processor seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        for variant in dict.fromkeys(row["variant"] for row in rows):
            chosen = [row for row in rows if row["set"] == name and row["variant"] == variant]
            if not chosen:
                continue
            mean = {key: np.mean([row[key] for row in chosen]) for key in ("insertion", "deletion", "passes")}
            seconds = np.mean([row["cpu_seconds"] for row in chosen])
            result.append(
                f"| {name} | {variant} | {len(chosen)} | {mean['insertion']:.3f} | {mean['deletion']:.3f} | "
                f"{mean['passes']:.0f} | {seconds:.1f} |"
            )
    return [*result, *_verdict(rows), ""]


def _verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how much faster the region is, and how its scores differ, slice by slice."""
    found = [""]
    for method, near_name in (
        ("occlusion", "occlusion, region"),
        ("occlusion", "occlusion, region, half the step"),
        ("RISE", "RISE, region"),
    ):
        pairs = [
            (near, far)
            for near in rows
            for far in rows
            if near["variant"] == near_name
            and far["variant"] == f"{method}, whole image"
            and all(near[key] == far[key] for key in ("set", "case", "structure", "slice"))
        ]
        if not pairs:
            continue
        faster = np.median([far["cpu_seconds"] / max(near["cpu_seconds"], 1e-9) for near, far in pairs])
        gain = {key: np.mean([near[key] - far[key] for near, far in pairs]) for key in ("insertion", "deletion")}
        found.append(
            f"{near_name}: {faster:.1f} times faster than over the whole image (median of {len(pairs)} slices); "
            f"insertion changes by {gain['insertion']:+.3f}, deletion by {gain['deletion']:+.3f}."
        )
    return found
