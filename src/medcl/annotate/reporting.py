"""The report of an annotation: what it cost, what it bought, and how far every case is, as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from medcl.annotate.context import Context
from medcl.annotate.schemas import CaseState, CaseSummary, Statistics
from medcl.evaluation.blocks import Card, Cards, Cell, Curve, Section, Table, Text

_WORDS: dict[CaseState, str] = {
    "untouched": "untouched",
    "strokes": "strokes drawn",
    "predicted": "predicted",
    "reviewed": "accepted",
    "wrong": "marked wrong",
}


def annotation_report(context: Context) -> str:
    """Return the report of a data set as it is now."""
    from medcl.annotate.cases import summaries
    from medcl.annotate.statistics import statistics

    return render_report(
        context.dataset().name,
        list(context.dataset().classes),
        statistics(context),
        summaries(context, context.cases()),
    )


def render_report(name: str, classes: Sequence[str], numbers: Statistics, cases: Sequence[CaseSummary]) -> str:
    """Return the report as HTML.

    Args:
        name: Of the data set.
        classes: Names by index.
        numbers: Cost and worth of the annotation.
        cases: Rows of the case list.
    """
    from medcl.evaluation.provenance import machine, versions
    from medcl.evaluation.report import render

    done = sum(case.state == "reviewed" for case in cases)
    return render(
        None,
        title=f"Annotation of {name}",
        subtitle=f"{numbers.strokes} strokes in {_time(numbers.seconds)}, {done} of {len(cases)} cases accepted",
        settings={"classes": ", ".join(classes), "annotators": ", ".join(numbers.by_author) or "none"},
        versions={**versions(), **machine()},
        curves=_curves(numbers),
        extra_sections=[_cost(numbers), _bought(numbers), _cases(classes, cases)],
    )


def _cost(numbers: Statistics) -> Section:
    cards = [
        Card("Strokes that stand", str(numbers.strokes), f"{numbers.undone} more were undone"),
        Card("Time spent drawing", _time(numbers.seconds)),
        Card("Voxels drawn", f"{numbers.voxels}"),
    ]
    states: list[list[Cell]] = [[_WORDS[state], numbers.cases.get(state, 0)] for state in get_args(CaseState)]
    by_class: list[list[Cell]] = [[name, count] for name, count in numbers.by_class.items()]
    by_author: list[list[Cell]] = [[who or "not named", count] for who, count in numbers.by_author.items()]
    blocks: list[Cards | Table] = [
        Cards(cards),
        Table("Cases by state", ["state", "cases"], states),
        Table("Strokes by class", ["class", "strokes"], by_class),
        Table("Strokes by person", ["person", "strokes"], by_author),
    ]
    return Section("What it cost", blocks)


def _bought(numbers: Statistics) -> Section:
    if not numbers.curve:
        return Section("What it bought", [Text("No model was trained yet, so nothing can be said about its worth.")])
    names = list(dict.fromkeys(key for moment in numbers.curve for key in moment.scores))
    rows: list[list[Cell]] = [
        [
            f"{moment.at:%Y-%m-%d %H:%M}",
            moment.strokes,
            _time(moment.seconds),
            *(_score(moment.scores.get(key)) for key in names),
        ]
        for moment in numbers.curve
    ]
    intro = (
        "Every row is a model. Scores are measured on strokes that were held back from training; they say how well the "
        "model agrees with strokes, not how good whole masks are."
    )
    return Section("What it bought", [Table("Models", ["made", "strokes", "drawing", *names], rows)], intro=intro)


def _curves(numbers: Statistics) -> list[Curve]:
    if len(numbers.curve) < 2:
        return []
    names = list(dict.fromkeys(key for moment in numbers.curve for key in moment.scores))
    lines = {
        key: (
            [moment.seconds / 60 for moment in numbers.curve],
            [moment.scores.get(key, math.nan) for moment in numbers.curve],
        )
        for key in names
    }
    return [
        Curve(
            "Score over time spent drawing",
            "minutes of drawing",
            "score on held-back strokes",
            lines,
            y_range=(0.0, 1.0),
        )
    ]


def _cases(classes: Sequence[str], cases: Sequence[CaseSummary]) -> Section:
    rows: list[list[Cell]] = [
        [
            case.id,
            _WORDS[case.state],
            case.strokes,
            _time(case.seconds),
            ", ".join(f"{classes[k]} {n}" for k, n in sorted(case.drawn.items()) if k < len(classes)) or "–",
            "–" if case.prediction is None else f"{case.prediction.uncertainty:.2f}",
            case.reviewed_by or "–",
        ]
        for case in cases
    ]
    columns = ["case", "state", "strokes", "drawing", "voxels drawn by class", "uncertainty", "reviewed by"]
    return Section("Cases", [Table("Every case", columns, rows, text_columns=2)])


def _score(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
