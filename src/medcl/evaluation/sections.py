"""From scores to the sections of a report: headline, tables, box plots, volumes, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medcl.evaluation.blocks import Block, Card, Cards, Cell, Figure, Figures, Section, Table, Text
from medcl.evaluation.metrics import METRICS, Metric, Score
from medcl.evaluation.plots import agreement_plot, box_plot, difference_plot
from medcl.evaluation.results import EvaluationResult
from medcl.evaluation.statistics import ALL, Summary, case_means

_BY_KEY = {metric.key: metric for metric in METRICS}
MINUS = "\u2212"  # as wide as a plus and never broken from its number


def headline_sections(result: EvaluationResult) -> list[Section]:
    """Return what a reader wants first: the scores, and what to know about the files."""
    sections = [_summary(result)]
    if result.findings:
        sections.append(_findings(result))
    return sections


def detail_sections(result: EvaluationResult) -> list[Section]:
    """Return what a reader checks then: distributions, volumes, every case, and how to read it all."""
    return [_distributions(result), _volumes(result), _cases(result), _reading(result)]


def _reading(result: EvaluationResult) -> Section:
    tolerance = str(result.settings.get("surface Dice tolerance", "the tolerance"))
    rows = [
        ("Dice", "2 |A∩B| / (|A| + |B|), over the whole volume. 1 is perfect, 0 is no overlap."),
        ("HD95", "Larger of the two directed 95th percentiles of surface distance, in mm. 0 is perfect."),
        ("ASSD", "Mean distance of all surface voxels of both masks to the other surface, in mm. 0 is perfect."),
        ("Surface Dice", f"Share of both surfaces (counted in voxels) within {tolerance} of the other. 1 is perfect."),
        ("Relative volume error", "(prediction − label) / label. 0 is perfect, 0.1 is 10 % too large."),
        ("Interval", "95 % percentile bootstrap of the mean over cases; with one case there is none."),
        ("All structures", "Mean over the structures of each case first, then over cases."),
    ]
    empty = [
        ("both empty", "1", "undefined", "1", "undefined"),
        ("only the prediction empty", "0", "undefined", "0", "−1"),
        ("only the label empty", "0", "undefined", "0", "undefined"),
    ]
    return Section(
        "How to read the scores",
        [
            Table("Definitions", ["Term", "Meaning"], rows, text_columns=2),
            Table(
                "Answers for empty masks",
                ["Masks", "Dice", "HD95, ASSD", "Surface Dice", "Relative volume error"],
                empty,
                text_columns=5,
            ),
            Text(
                "Undefined values are left out of means and counted beside them. Voxels that the label leaves "
                "unlabelled take part in no metric, and a border towards them is no surface."
            ),
        ],
        folded=True,
    )


def _summary(result: EvaluationResult) -> Section:
    cases = len(result.cases)
    cards = [Card("Cases scored", str(cases), _problems(result))]
    for key in ("dice", "hd95_mm", "surface_dice"):
        metric, row = _BY_KEY[key], result.get(key)
        value = f"{_value(metric, row.mean)} {metric.unit}".strip()
        cards.append(Card(f"Mean {metric.title}", value, _interval(metric, row)))
    blocks: list[Block] = [Cards(cards), _summary_table(result)]
    if cases == 1:
        blocks.append(Text("One case gives no interval: it does not tell how far others spread.", "warning"))
    text = "Mean over cases, and under it the 95 % bootstrap interval of that mean."
    return Section("Scores", blocks, intro=text)


def _summary_table(result: EvaluationResult) -> Table:
    columns = ["Structure", *(_heading(metric) for metric in METRICS), "Undefined", "Both empty"]
    rows: list[list[Cell]] = []
    for name in dict.fromkeys(row.structure for row in result.summary):
        found = {row.metric: row for row in result.summary if row.structure == name}
        cells: list[Cell] = [name.capitalize() if name == ALL else name]
        for metric in METRICS:
            cells.append("\n".join([_value(metric, found[metric.key].mean), *_ends(metric, found[metric.key])]))
        hidden = found["hd95_mm"].undefined
        empty = found["dice"]
        cells.append(f"{hidden} of {hidden + found['hd95_mm'].cases}" if hidden else "0")
        without = f"\nDice {_value(_BY_KEY['dice'], empty.mean_without_both_empty)} without"
        cells.append(str(empty.both_empty) + (without if empty.both_empty else ""))
        rows.append(cells)
    return Table("Scores per structure. Undefined: cases without a surface distance.", columns, rows)


def _findings(result: EvaluationResult) -> Section:
    rows = [(item.severity, item.case or "all", item.message) for item in result.findings]
    blocks: list[Block] = [
        Table("What to know about the files", ["Severity", "Case", "What"], rows, text_columns=3, folded=len(rows) > 8)
    ]
    if not result.complete:
        blocks.insert(0, Text("The means lack the cases listed as errors.", "warning"))
    return Section("Findings", blocks)


def _distributions(result: EvaluationResult) -> Section:
    figures = []
    for metric in METRICS:
        groups = _groups(result.scores, metric.key)
        low, high = (-0.02, 1.02) if metric.key in ("dice", "surface_dice") else (None, None)
        svg = box_plot(groups, _heading(metric), None if low is None or high is None else (low, high))
        medians = ", ".join(
            f"{row.structure} {_value(metric, row.median)}" for row in result.summary if row.metric == metric.key
        )
        figures.append(Figure(svg, f"Box plot of {metric.title} per structure. Medians: {medians}."))
    text = "One point per case; boxes hold the middle half of the cases, the line is the median."
    return Section("Distributions", [Figures(figures)], intro=text)


def _volumes(result: EvaluationResult) -> Section:
    groups = {}
    for name in result.classes[1:]:
        rows = [row for row in result.scores if row.structure == name and not math.isnan(row.label_ml)]
        groups[name] = ([row.label_ml for row in rows], [row.prediction_ml for row in rows])
    rows_out: list[list[Cell]] = []
    for name, (labels, predictions) in groups.items():
        count = len(labels)
        mean = [sum(values) / count if count else math.nan for values in (labels, predictions)]
        differences = [p - v for p, v in zip(predictions, labels, strict=True)]
        bias = sum(differences) / count if count else math.nan
        spread = math.sqrt(sum((d - bias) ** 2 for d in differences) / (count - 1)) if count > 1 else math.nan
        ends = [_volume(bias - 1.96 * spread, "+"), _volume(bias + 1.96 * spread, "+")]
        limits = " to ".join(ends) if count > 1 else None
        rows_out.append([name, *(_volume(value) for value in mean), _volume(bias, "+"), limits])
    alt = "Predicted against labelled volume per case, with the line of equality. " + "; ".join(
        f"{row[0]}: mean label {row[1]} ml, mean prediction {row[2]} ml" for row in rows_out
    )
    table = Table(
        "Volumes in ml. Limits of agreement: bias ± 1.96 standard deviations (Bland and Altman 1986).",
        ["Structure", "Label, mean", "Prediction, mean", "Bias", "Limits of agreement"],
        rows_out,
    )
    figures = [
        Figure(agreement_plot(groups, "Label (ml)", "Prediction (ml)"), alt + ".", "The dashed line is equality."),
        Figure(
            difference_plot(groups, "Mean of both (ml)", "Prediction minus label (ml)"),
            "Difference of the volumes over their mean, per case. Biases: "
            + ", ".join(f"{row[0]} {row[3]} ml" for row in rows_out)
            + ".",
            "Above the dashed line the prediction is too large.",
        ),
    ]
    return Section("Volumes", [Figures(figures), table])


def _cases(result: EvaluationResult) -> Section:
    means = case_means(result.scores)
    by_case: dict[str, list[Score]] = {}
    for score in result.scores:
        by_case.setdefault(score.case, []).append(score)
    dice = _BY_KEY["dice"]
    overview: list[list[Cell]] = []
    for case, rows in by_case.items():
        overview.append([case, *(_value(dice, row.dice) for row in rows), _value(dice, means[case])])
    columns = ["Case", "Structure", *(_heading(m) for m in METRICS), "Label (ml)", "Prediction (ml)", "Masks"]
    everything: list[list[Cell]] = []
    for row in result.scores:
        values = [_value(metric, getattr(row, metric.key)) for metric in METRICS]
        volumes = [_volume(value) for value in (row.label_ml, row.prediction_ml)]
        everything.append([row.case, row.structure, *values, *volumes, row.state])
    return Section(
        "Cases",
        [
            Table("Dice per case", ["Case", *result.classes[1:], "Mean"], overview, folded=len(overview) > 12),
            Table("Every score", columns, everything, text_columns=2, folded=True),
        ],
        intro="A click on a column name sorts by it.",
    )


def _groups(scores: Sequence[Score], key: str) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for score in scores:
        groups.setdefault(score.structure, []).append(getattr(score, key))
    return groups


def _problems(result: EvaluationResult) -> str:
    errors = sum(finding.severity == "error" for finding in result.findings)
    return f"{errors} not scored, see findings" if errors else "all labels have a score"


def _heading(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _value(metric: Metric, value: float) -> str:
    if math.isnan(value):
        return "–"
    rounded = round(value, metric.decimals) + 0.0  # no sign for what is shown as zero
    signed = "+" if metric.key == "relative_volume_error" and rounded else ""
    return f"{rounded:{signed}.{metric.decimals}f}".replace("-", MINUS)


def _ends(metric: Metric, row: Summary) -> list[str]:
    if math.isnan(row.low):
        return []
    low, high = _value(metric, row.low), _value(metric, row.high)
    return [f"{low} to {high}" if metric.key == "relative_volume_error" else f"{low} – {high}"]


def _interval(metric: Metric, row: Summary) -> str:
    ends = _ends(metric, row)
    return f"95 % interval {ends[0]}" if ends else "no interval: fewer than two cases"


def _volume(value: float, sign: str = "") -> str:
    if math.isnan(value):
        return "–"
    return (f"{value:{sign}.1f}" if abs(value) >= 1 else f"{value:{sign}.3g}").replace("-", MINUS)
