"""The part of the results page about several people: what `benchmarks/raters.py` measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lines(content: dict[str, Any]) -> list[str]:
    """Return markdown of the file that `benchmarks/raters.py` wrote."""
    return [
        "## Several people",
        "",
        "`python benchmarks/raters.py --runs FOLDER --data FOLDER --out raters.json`",
        "",
        *_fusion(content["fusion"]),
        *(_strokes(content["medscribble"]) if "medscribble" in content else []),
        *_learnt(content["learnt"], content["samples"]),
    ]


def _fusion(teams: dict[str, list[dict[str, Any]]]) -> list[str]:
    ways = [name for name in next(iter(teams.values()), [{}])[0] if name not in _OTHERS] if teams else []
    result = [
        "Made-up hearts, labels of raters with known faults; mean Dice with the truth, and the rank correlation of the",
        "scores per rater with their true Dice (mean over seeds).",
        "",
        f"| team | seeds | mean rater | best rater | {' | '.join(ways)} | rank correlation |",
        f"|---|---|---|---|{'---|' * len(ways)}---|",
    ]
    for team, rows in teams.items():
        best = _mean([max(row["raters"].values()) for row in rows])
        values = [_mean([row[name] for row in rows]) for name in ("mean rater", *ways, "rank correlation")]
        cells = [f"{values[0]:.3f}", f"{best:.3f}", *(f"{value:.3f}" for value in values[1:])]
        result.append(f"| {team} | {len(rows)} | {' | '.join(cells)} |")
    return [*result, ""]


_OTHERS = {"seed", "raters", "mean rater", "scores", "rank correlation"}


def _strokes(content: dict[str, Any]) -> list[str]:
    result = [
        f"medscribble, {content['cases']} images, strokes of three people judged by the dense label (pixels pooled);",
        f"{content['disputed pixels']} pixels are drawn as foreground by one and as background by another. Maps that a",
        "person has for two images are left out.",
        "",
        "| strokes | pixels | foreground right | background right | disputed decided | of these right | score |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in content["rows"].items():
        cells = [f"{row['pixels']}", f"{row['foreground right']:.3f}", f"{row['background right']:.3f}"]
        cells += [_cell(row.get("disputed decided")), _cell(row.get("disputed right"))]
        score = content["scores"].get(name)
        result.append(f"| {name} | {' | '.join(cells)} | {_cell(score)} |")
    people = ", ".join(f"{name} {value:.3f}" for name, value in content["right, mean of cases"].items())
    return [
        *result,
        "",
        f"Balanced share of right pixels per person, mean of images: {people}. Rank correlation of the scores per",
        f"image and person with it: {content['case rank correlation']:.2f} ({content['cases and people']} pairs).",
        "",
    ]


def _learnt(rows: Sequence[dict[str, Any]], samples: int) -> list[str]:
    if not rows:
        return []
    result = [
        f"Networks trained on the maps of four such raters, one person's per draw, and {samples} masks per test image:",
        "the generalised energy distance to the four raters' masks (lower is better), and the Dice of the best mask",
        "for each rater.",
        "",
        "| learner | seeds | steps | GED | distance | diversity (raters) | best mask per rater, Dice | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, steps in dict.fromkeys((row["learner"], row["steps"]) for row in rows):
        mine = [row for row in rows if (row["learner"], row["steps"]) == (name, steps)]
        keys = ("ged", "between", "diversity", "raters' diversity", "best sample per rater, dice", "cpu_seconds")
        ged, between, diversity, theirs, best, seconds = (_mean([row[key] for row in mine]) for key in keys)
        result.append(
            f"| {name} | {len(mine)} | {steps} | {ged:.3f} | {between:.3f} | {diversity:.3f} ({theirs:.3f}) "
            f"| {best:.3f} | {seconds:.0f} |"
        )
    return [*result, ""]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
