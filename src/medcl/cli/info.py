"""`medcl info`: what a model is, learned from and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a model is, learned from and scored."""
    from medcl.inference.card import facts, flatten
    from medcl.inference.model import read_info

    found, plan, folder = read_info(model)
    values = found.model_dump(mode="json")
    if as_json:
        import json

        typer.echo(json.dumps({"folder": str(folder), **values, "plan": plan.model_dump(mode="json")}, indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for title, rows in (
        (str(folder), facts(values, plan)),
        ("Scores", list(flatten(found.metrics))),
        ("Training", list(flatten(found.history))),
        ("Settings", list(flatten(found.settings))),
    ):
        if not rows:
            continue
        table = Table(title=Text(title), title_justify="left", show_header=False)
        for name, value in rows:
            table.add_row(Text(name), Text(str(value), overflow="fold"))
        console.print(table)
