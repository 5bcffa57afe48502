"""`medcl simulate-annotation`: which strategy asks for the best strokes; parse, call the API, show progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medcl.cli.jobs import AtOnce, Data, Only, Out, Redo, finish


def simulate_annotation(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML); see benchmarks/recipes/annotation-*.")] = None,
    data: Data = Path(),
    out: Out = Path("annotation"),
    only: Only = None,
    redo: Redo = None,
    jobs: AtOnce = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check recipe and data and list the jobs.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder of a simulation: write tables and report again.")
    ] = None,
) -> None:
    """Let a made-up person draw where strategies ask, and compare them.

    Seconds of drawing are what is spent; after each round a model is trained and scored on cases that nobody draws on.
    Ctrl-C saves; the same command goes on. Writes curves.csv, results.json, results.md and report.html below --out.
    """
    from medcl.benchmark.simulation import plan_simulation
    from medcl.benchmark.simulation import simulate_annotation as simulate
    from medcl.benchmark.simulation.results import simulations_in, write_simulation
    from medcl.cli.benchmark_progress import BenchmarkProgress
    from medcl.errors import DataError, SettingsError

    if report is not None and recipe is None:
        names = simulations_in(report)
        if not names:
            raise DataError(f"{report}: no annotation was simulated here; give the --out of one.")
        for name in names:
            typer.echo(f"report: {write_simulation(report.absolute(), name) / 'report.html'}")
        return
    if recipe is None or report is not None:
        raise SettingsError("expected a recipe, or --report FOLDER: exactly one of the two.")
    if dry_run:
        from medcl.benchmark.jobs import choose
        from medcl.benchmark.simulation.work import finished

        for job in choose(plan_simulation(recipe, data), only or ()):
            typer.echo(f"{job.name}  {'finished' if finished(job, out.absolute()) else 'to do'}")
        return
    with BenchmarkProgress() as progress:
        result = simulate(recipe, out, data, only=only or (), redo=redo or (), jobs=jobs, show=progress)
    finish(result)
