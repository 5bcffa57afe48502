"""What `benchmark` and `simulate-annotation` share: options about jobs, and what is said at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medcl.benchmark import BenchmarkResult

Data = Annotated[Path, typer.Option("--data", help="Folder that holds the dataset folders.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for runs, tables and report.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="Jobs to run, with * and ?; repeatable; default: all.")]
Redo = Annotated[list[str] | None, typer.Option("--redo", help="Finished jobs to do again, with * and ?; repeatable.")]
AtOnce = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Jobs at a time; default: one per GPU, else one per core.")
]


def finish(result: BenchmarkResult) -> None:
    """Say what came of all jobs; end with 1 where some failed, with 130 where some are left."""
    for name, reason in result.failed.items():
        typer.secho(f"{name}: {reason}", fg=typer.colors.RED, err=True)
    typer.echo(f"{len(result.finished)} jobs finished, {len(result.failed)} failed, {len(result.missing)} missing")
    if result.missing and not result.failed:
        typer.echo("Run the same command again to go on.")
    if (result.folder / "report.html").exists():
        typer.echo(f"report: {result.folder / 'report.html'}")
    if not result.complete:
        raise typer.Exit(1 if result.failed else 130)
