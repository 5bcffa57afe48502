"""`medcl evaluate`: score predictions against labels and write a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from medcl.evaluation.results import EvaluationResult

_SHOWN_FINDINGS = 10
_WIDTH = 100


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks named by case, or one mask.")],
    labels: Annotated[Path, typer.Argument(help="Folder of labels named by case, or one label.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, scores.csv, summary.csv, evaluation.json.")],
    images: Annotated[
        Path | None, typer.Option(help="Images for the pictures; default: images<split> beside labels<split>.")
    ] = None,
    scribbles: Annotated[
        Path | None, typer.Option(help="Strokes for the pictures; default: scribbles<split> beside labels<split>.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names by value, 'background,RV,Myo', or 'background=0,RV=200'; else dataset.json."),
    ] = None,
    ignore: Annotated[
        int | None, typer.Option(help="Value of unlabelled voxels in the labels; they count nowhere.")
    ] = None,
    tolerance_mm: Annotated[float, typer.Option(min=0.0, help="Tolerance of the surface Dice in mm.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap intervals.")] = 0,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Evaluation",
) -> None:
    """Score predictions against labels and write a report.

    Dice, HD95, ASSD, surface Dice and relative volume error per case and structure, in mm; means with 95 % intervals.
    The exit code is 1 if a label could not be scored, else 0; all others are scored all the same.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medcl.evaluation import evaluate as run_evaluation

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Scoring", total=None)

        def show(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total)

        result = run_evaluation(
            predictions,
            labels,
            out,
            classes=None if classes is None else parse_classes(classes),
            ignore=ignore,
            images=images,
            scribbles=scribbles,
            tolerance_mm=tolerance_mm,
            seed=seed,
            title=title,
            progress=show,
        )
    console = Console(highlight=False)
    console.width = console.width if console.is_terminal else _WIDTH
    _render(result, console)
    if not result.complete:
        raise typer.Exit(1)


def parse_classes(text: str) -> list[str] | dict[str, int]:
    """Read 'background,RV,Myo' as names by value, or 'background=0,RV=200' as name -> value.

    Raises:
        SettingsError: Both forms mixed, a value that is no integer, or a name twice.
    """
    from medcl.errors import SettingsError

    parts = [part.strip() for part in text.split(",")]
    if not any("=" in part for part in parts):
        return parts
    table: dict[str, int] = {}
    for part in parts:
        name, sign, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value)
        except ValueError:
            number = None
        if not sign or not name or number is None or name in table:
            raise SettingsError(f"--classes: expected name=integer, each name once, got '{part}' in '{text}'.")
        table[name] = number
    return table


def _render(result: EvaluationResult, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from medcl.evaluation.metrics import METRICS

    heading = f"{len(result.cases)} cases: mean and 95 % interval"
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    table.add_column("structure")
    for metric in METRICS:
        heading = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        table.add_column(heading.replace("Relative v", "V"), justify="right", no_wrap=True)
    for name in dict.fromkeys(row.structure for row in result.summary):
        cells = [Text(name)]
        for metric in METRICS:
            row = result.get(metric.key, name)
            mean, low, high = (_number(value, metric.decimals) for value in (row.mean, row.low, row.high))
            missing = f"\n{row.undefined} undefined" if row.undefined else ""
            cells.append(Text(mean + ("" if math.isnan(row.low) else f"\n{low}..{high}") + missing))
        table.add_row(*cells)
    console.print(table)
    _render_trust(result, console)
    colours = {"error": "red", "warning": "yellow", "note": "cyan"}
    for finding in result.findings[:_SHOWN_FINDINGS]:
        text = f"{finding.severity}: {f'case {finding.case}: ' if finding.case else ''}{finding.message}"
        console.print(Text(text, style=colours[finding.severity]))
    if len(result.findings) > _SHOWN_FINDINGS:
        console.print(f"... and {len(result.findings) - _SHOWN_FINDINGS} more findings in the report.")
    console.print(Text(f"Report: {result.report}"))


def _render_trust(result: EvaluationResult, console: Console) -> None:
    trust = result.trust
    if "ece" in trust:
        console.print(
            f"calibration error: {trust['ece']:.4f} of all voxels, {trust['ece_foreground']:.3f} where a structure is "
            f"called, {trust['ece_classwise']:.4f} by class; Brier {trust['brier']:.4f}, NLL {trust['nll']:.4f}"
        )
    if "expected_dice" in trust:
        one = trust["expected_dice"]
        console.print(
            f"expected Dice (without labels) {one['mean_expected']:.3f}, true {one['mean_true']:.3f}, correlation over "
            f"{one['cases']} cases {_number(one['r_cases'], 2)}"
        )


def _number(value: float, decimals: int) -> str:
    return "undefined" if math.isnan(value) else f"{value:.{decimals}f}"
