"""`medcl benchmark`: compare methods on data sets; parse, call the API, show progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcl.cli.jobs import AtOnce, Data, Only, Out, Redo, finish

if TYPE_CHECKING:
    from medcl.benchmark.jobs import Job


def benchmark(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML); see benchmarks/recipes.")] = None,
    data: Data = Path(),
    out: Out = Path("benchmark"),
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Protocol of the recipe; repeatable; default: its first.")
    ] = None,
    only: Only = None,
    redo: Redo = None,
    jobs: AtOnce = None,
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
    finish(result)


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
