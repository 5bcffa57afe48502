"""The results as one Markdown page."""

from __future__ import annotations

from medcl.benchmark.results import Results
from medcl.benchmark.tables import (
    cost_table,
    curve_table,
    notes,
    overall_rank_table,
    pair_table,
    rank_table,
    score_table,
)
from medcl.evaluation.blocks import Table


def page(results: Results) -> str:
    """Return the page."""
    recipe = results.recipe
    lines = [f"# {recipe.title or recipe.name}", ""]
    if recipe.description:
        lines += [recipe.description.strip(), ""]
    lines += [*(f"- {note}" for note in notes(results)), ""] if notes(results) else []
    overall = overall_rank_table(results.groups)
    if overall is not None:
        lines += ["## Overall", "", *render(overall)]
    for group in results.groups:
        lines += [f"## {group.title}", ""]
        for table in (
            score_table(group),
            pair_table(group, recipe.reference),
            rank_table(group),
            curve_table(group),
            cost_table(group),
        ):
            lines += render(table) if table is not None else []
    lines += ["## Machine and versions", ""]
    lines += render(Table("", ["", ""], [[key, value] for key, value in results.outcomes[0].made_with.items()]))
    return "\n".join(lines).rstrip() + "\n"


def render(table: Table) -> list[str]:
    """Return the lines of a table, its caption before it."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return [
        *([table.caption, ""] if table.caption else []),
        "| " + " | ".join(table.columns) + " |",
        "|" + "---|" * len(table.columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _cell(value: object) -> str:
    head, _, rest = str("" if value is None else value).replace("|", "\\|").partition("\n")
    return f"{head} ({rest})" if rest else head
