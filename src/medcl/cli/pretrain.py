"""`medcl pretrain`: parse, call the API, show progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def pretrain(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder; only images of its training part are looked at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (.safetensors), for medcl train --weights.")],
    backbone: Annotated[str, typer.Option("--backbone", help="Network family with an encoder of its own.")] = "swin",
    budget: Annotated[
        str | None, typer.Option("--budget", help="Minutes or steps: 60m, 2h, 90s, 500steps; default 20m.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, e.g. batch_size=32 or backbone.features=24; repeatable."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Folder for prepared arrays; default: medcl-store beside --out.")
    ] = None,
) -> None:
    """Train an encoder on images alone, without strokes (Barlow Twins).

    Then: medcl train DATASET --out RUN --backbone swin --weights FILE. Ctrl-C writes what was learnt so far.
    """
    from medcl.cli.training_progress import TrainingProgress
    from medcl.settings import set_by_path
    from medcl.training.pretrain import pretrain as run

    values: dict[str, Any] = set_by_path({}, list(assignments or []))
    family = {"name": backbone, **values.pop("backbone", {})}
    with TrainingProgress() as progress:
        result = run(dataset, out, backbone=family, budget=budget, settings=values, store=store, show=progress)
    typer.echo(
        f"{result.steps} steps in {result.minutes:.1f} minutes, loss {result.first_loss:.1f} at first, "
        f"{result.last_loss:.1f} at last"
    )
    typer.echo(f"weights: {result.file}")
    if not result.finished:
        raise typer.Exit(130)
