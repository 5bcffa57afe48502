"""The results as one HTML file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medcl.benchmark.pictures import galleries
from medcl.benchmark.results import Group, Results
from medcl.benchmark.tables import (
    cost_table,
    curve_table,
    mean_of,
    notes,
    number,
    overall_rank_table,
    pair_table,
    rank_table,
    score_table,
)
from medcl.evaluation.blocks import Block, Card, Cards, Curve, Figure, Figures, Section, Table, Text
from medcl.evaluation.comparison import case_mean
from medcl.evaluation.plots import box_plot, line_plot
from medcl.evaluation.report import write_report


def write_benchmark_report(path: Path, results: Results, out: Path) -> None:
    """Write the report of a recipe.

    Args:
        path: The HTML file; written atomically.
        results: Finished jobs.
        out: The benchmark's folder, for pictures.
    """
    recipe = results.recipe
    sections = [_overview(results)]
    for group in results.groups:
        sections.append(_scores(group, recipe.reference))
        if group.truth == "labels":
            sections += [_over_time(group), Section(f"Pictures: {group.title}", galleries(group, out))]
    sections.append(_jobs(results))
    write_report(
        path,
        None,
        title=recipe.title or f"Benchmark {recipe.name}",
        settings=_without_folders(recipe.model_dump(mode="json", exclude_defaults=True)),
        versions=results.outcomes[0].made_with,
        subtitle=recipe.description.strip(),
        extra_sections=sections,
    )


def _without_folders(recipe: dict[str, object]) -> dict[str, object]:
    """Leave folders of this machine out of what is handed on."""
    data = recipe.get("data", {})
    assert isinstance(data, dict)
    named = {name: {**entry, "folder": Path(entry["folder"]).name} for name, entry in data.items()}
    return {**recipe, "data": named}


def _overview(results: Results) -> Section:
    methods = {method for group in results.groups for method in group.methods}
    cards = [
        Card("Finished jobs", str(len(results.outcomes)), f"{len(results.unfinished)} not finished"),
        Card("Methods", str(len(methods))),
        Card("Training", f"{sum(o.facts['train_minutes'] for o in results.outcomes) / 60:.1f} h", "all jobs together"),
    ]
    for group in results.groups[:3]:
        means = {method: mean_of(group.scores(method, "dice")) for method in group.methods}
        best = max(means, key=lambda m: -1.0 if math.isnan(means[m]) else means[m])
        cards.append(Card(f"Best: {group.title}", number(means[best]), best))
    blocks: list[Block] = [Cards(cards), *(Text(note, "warning") for note in notes(results))]
    overall = overall_rank_table(results.groups)
    if overall is not None:
        blocks.append(overall)
    return Section("Overview", blocks)


def _scores(group: Group, reference: str | None) -> Section:
    blocks: list[Block] = [score_table(group)]
    by_case = {method: list(case_mean(group.scores(method, "dice"))) for method in group.methods}
    medians = ", ".join(f"{name} {np.nanmedian(values):.3f}" for name, values in by_case.items())
    figure = Figure(box_plot(by_case, "Dice"), f"Dice per case and method. Medians: {medians}.", "One point per case.")
    blocks.append(Figures([figure]))
    blocks += [table for table in (pair_table(group, reference), rank_table(group)) if table is not None]
    return Section(f"Scores: {group.title}", blocks)


def _over_time(group: Group) -> Section:
    blocks: list[Block] = []
    lines = {}
    for method, jobs in group.methods.items():
        for job in jobs:
            minutes, values = job.validation()
            if minutes:
                lines[method if len(jobs) == 1 else f"{method}, seed {job.seed}"] = (minutes, values)
    if lines and len(lines) <= 12:
        drawing = Curve("Validation score over time", "minutes", "score", lines, y_range=(0.0, 1.0))
        ends = "; ".join(f"{name} ends at {values[-1]:.3f}" for name, (_, values) in lines.items())
        blocks.append(Figures([Figure(line_plot(drawing), f"Validation score over minutes of training: {ends}.")]))
    table = curve_table(group)
    blocks += [*([table] if table is not None else []), cost_table(group)]
    return Section(f"Time and memory: {group.title}", blocks)


def _jobs(results: Results) -> Section:
    rows = [
        [
            outcome.name,
            number(outcome.facts["dice"]),
            str(outcome.facts["steps"]),
            number(outcome.facts["train_minutes"], 1),
            outcome.commit,
            outcome.folder.name,
        ]
        for outcome in results.outcomes
    ]
    rows += [[name, "not finished", "", "", "", ""] for name in results.unfinished]
    return Section(
        "Jobs", [Table("All jobs", ["Job", "Dice", "Steps", "Minutes", "Commit", "Folder"], rows)], folded=True
    )
