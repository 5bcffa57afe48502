"""`medcl benchmark`: compare methods on data sets; parse, call the API, show progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medcl.benchmark import BenchmarkResult
    from medcl.benchmark.jobs import Job


def benchmark(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML); see benchmarks/recipes.")] = None,
    data: Annotated[Path, typer.Option("--data", help="Folder that holds the dataset folders.")] = Path(),
    out: Annotated[Path, typer.Option("--out", help="Folder for runs, tables and report.")] = Path("benchmark"),
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Protocol of the recipe; repeatable; default: its first.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Jobs to run, with * and ?; repeatable; default: all.")
    ] = None,
    redo: Annotated[
        list[str] | None, typer.Option("--redo", help="Finished jobs to do again, with * and ?; repeatable.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Jobs at a time; default: one per GPU, else one per core.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data sets, methods and settings and list the jobs.")
    ] = False,
    quick: Annotated[
        Path | None, typer.Option("--quick", help="Folder: try every method on made-up data in a few steps.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder of a benchmark: write tables and report again.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Address of a Ray cluster with a shared disk ('auto', 'local').")
    ] = None,
) -> None:
    """Compare methods on data sets, with statistics.

    Every combination of the recipe's methods, data sets and seeds is trained and scored in a process of its own. Ctrl-C
    saves; the same command goes on, and what is finished is never done again. Writes results.csv, results.md and
    report.html below --out.
    """
    from medcl.benchmark import load_recipe, plan_benchmark, run_benchmark
    from medcl.cli.benchmark_progress import BenchmarkProgress
    from medcl.errors import SettingsError

    if sum(given is not None for given in (recipe, quick, report)) != 1:
        raise SettingsError("expected a recipe, or --quick FOLDER, or --report FOLDER: exactly one of the three.")
    if report is not None:
        from medcl.benchmark.results import recipes_in, write_results
        from medcl.errors import DataError

        names = recipes_in(report)
        if not names:
            raise DataError(f"{report}: no benchmark was run here; give the --out of one.")
        for name in names:
            typer.echo(f"report: {write_results(report.absolute(), name) / 'report.html'}")
        return
    if quick is not None:
        from medcl.benchmark.quick import quick_recipe

        out, chosen = quick, quick_recipe(quick)
    else:
        assert recipe is not None
        chosen = load_recipe(recipe)
    if dry_run:
        _list(plan_benchmark(chosen, data, protocols=protocol), out.absolute(), only or ())
        return
    with BenchmarkProgress() as progress:
        result = run_benchmark(
            chosen, out, data, protocols=protocol, only=only or (), redo=redo or (), jobs=jobs, ray=ray, show=progress
        )
    _tell(result)
    if not result.complete:
        raise typer.Exit(1 if result.failed else 130)


def _list(jobs: list[Job], out: Path, only: list[str] | tuple[str, ...]) -> None:
    from medcl.benchmark.jobs import choose
    from medcl.benchmark.work import finished

    chosen = choose(jobs, only)
    minutes = [job.minutes for job in chosen if not finished(job, out)]
    for job in chosen:
        budget = f"{job.settings['budget']['steps']} steps" if job.minutes is None else f"{job.minutes:g} min"
        typer.echo(f"{job.name}  {budget}  {'finished' if finished(job, out) else 'to do'}")
    known = sum(value for value in minutes if value is not None)
    typer.echo(f"{len(chosen)} jobs, {len(minutes)} to do" + (f", {known / 60:.1f} hours of training" if known else ""))


def _tell(result: BenchmarkResult) -> None:
    for name, reason in result.failed.items():
        typer.secho(f"{name}: {reason}", fg=typer.colors.RED, err=True)
    typer.echo(f"{len(result.finished)} jobs finished, {len(result.failed)} failed, {len(result.missing)} missing")
    if result.missing and not result.failed:
        typer.echo("Run the same command again to go on.")
    if result.finished:
        typer.echo(f"report: {result.folder / 'report.html'}")
