"""The part of the results page about sources of uncertainty: what `sources.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "dice": "Dice",
    "ece_foreground": "ECE structures",
    "ece_band": "ECE near",
    "brier": "Brier",
    "nll": "NLL",
    "auroc_entropy": "errors found by entropy",
    "auroc_mutual_information": "errors found by mutual information",
    "r_expected": "r of expected Dice",
}


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return Markdown lines from what `benchmarks/sources.py` wrote."""
    result = [
        f"Same trainings, {content['samples']} maps of tta and mc-dropout, five snapshots and the end, two runs; not "
        "calibrated. *Errors found*: area under the ROC curve of wrong against right voxels near structures, mean over "
        "cases.",
        "",
    ]
    for name, one in content["sets"].items():
        result += [
            f"**{name}**, {one['test_cases']} labelled cases that training did not see:",
            "",
            "| maps from | maps | " + " | ".join(COLUMNS.values()) + " |",
            "|---" * (len(COLUMNS) + 2) + "|",
        ]
        for source, row in one["sources"].items():
            cells = [
                _cell(row[key], 4 if key in ("brier", "nll", "ece_foreground", "ece_band") else 3) for key in COLUMNS
            ]
            result.append(f"| {source} | {row['maps']} | " + " | ".join(cells) + " |")
        result.append("")
    packages = ", ".join(f"{key} {value}" for key, value in content["versions"].items())
    return [
        *result,
        f"Seed {content['seed']}; commit {_commit(content['code'])}; {packages}; {content['machine']['processor']}.",
        "",
    ]


def _commit(code: Mapping[str, Any]) -> str:
    return f"{code['commit'] or 'unknown'}{' (changed)' if code['changed'] else ''}"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
