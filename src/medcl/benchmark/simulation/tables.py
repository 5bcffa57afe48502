"""The tables of a simulated annotation, as data: Markdown and HTML both draw them."""

from __future__ import annotations

import math

from medcl.benchmark.markdown import render
from medcl.benchmark.simulation.curves import AreaTest
from medcl.benchmark.simulation.results import DataResults, SimulationResults
from medcl.benchmark.tables import LEVEL, number, p_value
from medcl.evaluation.blocks import Cell, Table


def verdict(test: AreaTest) -> str:
    """Say whether a strategy beats the reference: over seeds, after correction for the number of strategies."""
    if math.isnan(test.p_seeds_corrected):
        return "too few seeds"
    if test.p_seeds_corrected >= LEVEL:
        return "no" if test.p_seeds >= LEVEL else "only before correction"
    return "better" if test.difference > 0 else "worse"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else p_value(value)


def area_table(data: DataResults) -> Table:
    """Return area, Dice and effort per strategy."""
    rows: list[list[Cell]] = []
    for row in data.summary():
        spread = "" if row["area_sd"] is None else f"\nSD {row['area_sd']:.3f}"
        rows.append(
            [
                row["strategy"],
                str(len(row["seeds"])),
                f"{number(row['area'])}{spread}",
                number(row["first"]),
                number(row["last"]),
                number(row["seconds"], 0),
                number(row["slices"], 1),
                number(row["efficiency"], 0),
            ]
        )
    full = "" if data.full is None else f" With all dense labels: Dice {data.full:.3f}."
    caption = (
        f"{data.name}: area under the curve of Dice over seconds of drawing (mean height; mean and SD over seeds), "
        f"Dice before the first and after the last round, seconds and slices drawn, foreground efficiency.{full}"
    )
    columns = ["Strategy", "Seeds", "Area", "Dice first", "Dice last", "Seconds", "Slices", "FG-Eff"]
    return Table(caption, columns, rows)


def test_table(data: DataResults) -> Table | None:
    """Return the paired tests against the reference; None where there is nothing to test."""
    if not data.tests:
        return None
    rows: list[list[Cell]] = []
    for test in data.tests:
        interval = "" if math.isnan(test.low) else f"\n{test.low:+.3f} to {test.high:+.3f}"
        rows.append(
            [
                test.strategy,
                f"{test.difference:+.3f}{interval}",
                f"{sum(value > 0 for value in test.by_seed)} of {len(test.by_seed)}",
                _p(test.p_seeds),
                _p(test.p_seeds_corrected),
                f"{test.wins} of {test.cases}",
                _p(test.p_cases),
                _p(test.p_cases_corrected),
                verdict(test),
            ]
        )
    count = f"{len(data.tests)} {'strategy' if len(data.tests) == 1 else 'strategies'}"
    caption = (
        f"{data.name}: area minus that of {data.reference} at equal seconds, with the 95 % interval over cases. Paired "
        "t-test over seeds (would it be so with other first strokes?), Wilcoxon test over cases (with other "
        f"patients?), each with Holm's correction for {count}."
    )
    columns = ["Strategy", "Difference", "Seeds better", "p seeds", "corrected", "Cases better", "p cases", "corrected"]
    return Table(caption, [*columns, f"Beats {data.reference}"], rows)


def stroke_table(data: DataResults) -> Table | None:
    """Return the tests over seeds at equal strokes; None where there is nothing to test."""
    if not data.tests:
        return None
    rows: list[list[Cell]] = [
        [
            test.strategy,
            f"{test.difference:+.3f}",
            f"{sum(value > 0 for value in test.by_seed)} of {len(test.by_seed)}",
            _p(test.p_seeds),
            _p(test.p_seeds_corrected),
        ]
        for test in data.tests_over_strokes
    ]
    caption = (
        f"{data.name}: the same at equal strokes in place of equal seconds: area minus that of {data.reference}, up to "
        "the strokes that all strategies have drawn with a seed; paired t-test over seeds, Holm's correction."
    )
    return Table(caption, ["Strategy", "Difference", "Seeds better", "p seeds", "corrected"], rows)


def tables_of(data: DataResults) -> list[Table]:
    """Return all tables of a data set that have something to show."""
    found = (area_table(data), test_table(data), stroke_table(data), round_table(data))
    return [table for table in found if table is not None]


def round_table(data: DataResults) -> Table | None:
    """Return mean Dice and seconds at each round."""
    if not data.seeds:
        return None
    rows: list[list[Cell]] = []
    most = 0
    for label, found in data.curves.items():
        curves = [found[seed] for seed in data.seeds]
        points = list(zip(*[zip(c.seconds, c.mean, strict=True) for c in curves], strict=False))
        most = max(most, len(points))
        cells = [
            f"{sum(d for _, d in point) / len(point):.3f}\n{sum(s for s, _ in point) / len(point):.0f} s"
            for point in points
        ]
        rows.append([label, *cells])
    columns = ["Strategy", "Start", *(f"Round {number}" for number in range(1, most))]
    return Table(f"{data.name}: Dice after each round, and seconds of drawing so far; means over seeds.", columns, rows)


def notes(results: SimulationResults) -> list[str]:
    """Return what a reader must know first."""
    found = []
    if results.unfinished:
        found.append(f"{len(results.unfinished)} jobs are not finished; the tables hold the seeds that all have.")
    for data in results.data:
        missing = sorted({label for label in results.recipe.strategies if label not in data.curves})
        if missing:
            found.append(f"{data.name}: nothing finished of {', '.join(missing)}.")
        stopped = [
            f"{label}, seed {seed}"
            for label, curves in data.curves.items()
            for seed, curve in curves.items()
            if any(point["exhausted"] for point in curve.points)
        ]
        if stopped:
            found.append(f"{data.name}: no place was left before the seconds were spent: {'; '.join(stopped)}.")
    return found


def markdown(results: SimulationResults) -> list[str]:
    """Return the page of a simulated annotation."""
    recipe = results.recipe
    lines = [f"# {recipe.title or recipe.name}", ""]
    if recipe.description:
        lines += [recipe.description.strip(), ""]
    lines += [*(f"- {note}" for note in notes(results)), ""] if notes(results) else []
    for data in results.data:
        lines += [f"## {data.name}", ""]
        for table in tables_of(data):
            lines += render(table)
    return lines
