"""The part of the results page that says which scans a model notices as strange."""

from __future__ import annotations

from typing import Any

import numpy as np

GOAL = 0.9
TRIED = (
    ("score, kNN", "kNN in the place of Mahalanobis, all parts"),
    ("largest part", "the largest part alone"),
    ("fine slice, Mahalanobis", "fine features, strangest slice"),
    ("middle slice, Mahalanobis", "middle features, strangest slice"),
    ("deep slice, Mahalanobis", "deep features, strangest slice"),
    ("deep slice, kNN", "deep features, strangest slice, kNN"),
    ("image slice, Mahalanobis", "brightness, gradients, spectrum, ghosts: strangest slice"),
    ("image mean, Mahalanobis", "the same, mean over slices"),
    ("image scan, Mahalanobis", "the same, mean and spread over the scan"),
    ("answer mean, Mahalanobis", "shape and entropy of the prediction"),
    ("places slice, Mahalanobis", "places near predicted structures"),
    ("queries slice, Mahalanobis", "places that no query answers, strangest slice"),
    ("queries mean, Mahalanobis", "the same, mean over slices"),
    ("score without pieces", "the score without pieces of the image"),
    ("pieces change, Mahalanobis", "pieces of the image: change from slice to slice"),
    ("pieces slice, Mahalanobis", "pieces of the image: strangest slice"),
    ("entropy of the prediction", "entropy of the prediction alone"),
)


def lines(content: dict[str, Any]) -> list[str]:
    """Return Markdown: a table per set by corruption and severity, and the other ways that were tried."""
    result = [
        "Area under the ROC curve of spoilt against clean test scans, by severity 1 to 5 "
        f"([familiar.md](familiar.md) says what they are); the goal is {GOAL}, misses are in bold.",
        "",
    ]
    for name, found in content["sets"].items():
        result += _one(name, found)
    done = ", ".join(f"{key} {value}" for key, value in content["versions"].items())
    return [*result, f"Seed {content['seed']}; {done}; {content['machine'].get('processor', '')}.", ""]


def _one(name: str, found: dict[str, Any]) -> list[str]:
    score = found["auroc"]["score"]
    values = [value for row in score.values() for value in row]
    met = sum(value >= GOAL for value in values)
    head = (
        f"**{name}**: model {found['model']}, {found['training_scans']} training scans, {found['test_scans']} test "
        f"scans; {met} of {len(values)} reach {GOAL}; clean test scans marked as strange: "
        f"{found['false_alarms']:.0%}."
    )
    table = ["| corruption | 1 | 2 | 3 | 4 | 5 | marked as strange, 1 to 5 |", "|---|---|---|---|---|---|---|"]
    for kind, row in score.items():
        cells = " | ".join(f"{value:.2f}" if value >= GOAL else f"**{value:.2f}**" for value in row)
        marked = ", ".join(f"{share:.0%}" for share in found["alarms"][kind])
        table.append(f"| {kind} | {cells} | {marked} |")
    ways = ["", "Other ways, mean over severities:", "", f"| way | {' | '.join(score)} | all |"]
    ways.append("|---|" + "---|" * (len(score) + 1))
    for key, title in (("score", "**what medcl uses**"), *TRIED):
        if key in found["auroc"]:
            means = [float(np.mean(row)) for row in found["auroc"][key].values()]
            ways.append(f"| {title} | {' | '.join(f'{m:.2f}' for m in means)} | {np.mean(means):.2f} |")
    return [head, "", *table, *ways, ""]
