"""`simulate_annotation`: from a recipe to finished curves, tables and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medcl.benchmark.jobs import choose
from medcl.benchmark.runner import Show
from medcl.benchmark.running import BenchmarkResult, run_jobs
from medcl.benchmark.simulation.jobs import AnnotationJob, expand
from medcl.benchmark.simulation.recipe import AnnotationRecipe, load_annotation_recipe
from medcl.benchmark.simulation.stage import check_pool
from medcl.benchmark.simulation.work import finished
from medcl.errors import MedclError, SettingsError
from medcl.files import check_place, read_json, write_json
from medcl.methods import learns_from_labels
from medcl.training.configure import configure


def plan_simulation(recipe: AnnotationRecipe | Path | str, data: Path | str = ".") -> list[AnnotationJob]:
    """Check a recipe against the data and return its jobs, without drawing or training anything.

    Args:
        recipe: A recipe or its file.
        data: Folder below which the folders of data sets lie.

    Raises:
        SettingsError: Everything that is wrong with names, settings and data sets, in one message.
    """
    chosen = recipe if isinstance(recipe, AnnotationRecipe) else load_annotation_recipe(recipe)
    jobs = expand(chosen, Path(data))
    problems: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    for job in jobs:
        try:
            if job.data not in fingerprints:
                fingerprints[job.data] = ""
                fingerprints[job.data] = check_pool(job.data, job.entry, job.draw).digest
            if job.what == "full":
                configure(job.full_settings())
                continue
            # a curve has rounds only; `training.later` is theirs
            settings = configure(job.settings(0 if job.what == "start" else 1, None))
            if learns_from_labels(settings.method):
                raise SettingsError("training.settings: expected a method that learns from strokes, got 'dense'.")
        except MedclError as error:
            problems.setdefault(str(error), job.data)
    if problems:
        words = " ".join(f"{where}: {problem}" for problem, where in problems.items())
        raise SettingsError(f"recipe {chosen.name}: {words}")
    return [replace(job, fingerprint=fingerprints[job.data]) for job in jobs]


def simulate_annotation(
    recipe: AnnotationRecipe | Path | str,
    out: Path | str,
    data: Path | str = ".",
    *,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    jobs: int | None = None,
    show: Show = lambda status: None,
) -> BenchmarkResult:
    """Let a made-up person follow strategies round after round, and write curves, tables and report.

    Args:
        recipe: A recipe or its file.
        out: Folder for everything; several processes may work on one folder, and a later call goes on.
        data: Folder below which the folders of data sets lie.
        only: Names of jobs to run, with `*` and `?`; starts that they need are done too. The report is about all that
            is finished.
        redo: Names of jobs to do again although they are finished; what they left is set aside.
        jobs: Jobs at a time; default: one per GPU, or one per core.
        show: Told where it stands, at least once a second.

    Raises:
        SettingsError: The recipe or its data, before any job.
        DataError: A folder that cannot be written.
    """
    from medcl.benchmark.simulation.results import write_simulation

    chosen = recipe if isinstance(recipe, AnnotationRecipe) else load_annotation_recipe(recipe)
    out = Path(out).absolute()
    check_place(out)
    planned = plan_simulation(chosen, data)
    named = {job.name for job in choose(planned, only)}
    needed = named | {job.after for job in planned if job.name in named and job.after}
    wanted = [job for job in planned if job.name in needed]
    folder = out / chosen.name
    _remember(chosen, planned, folder)

    def write(ready: Sequence[AnnotationJob]) -> None:
        if any(job.what == "curve" for job in ready):
            write_simulation(out, chosen.name)

    return run_jobs(folder, planned, wanted, finished, write, redo=redo, jobs=jobs, show=show)


def _remember(recipe: AnnotationRecipe, jobs: Sequence[AnnotationJob], folder: Path) -> None:
    """Keep what the recipe says now, for the report."""
    names = {job.name: job.folder(folder.parent).name for job in jobs}
    path = folder / "jobs.json"
    content = {"kind": "annotation", "recipe": recipe.model_dump(mode="json"), "jobs": names}
    if not path.exists() or read_json(path) != content:  # several processes may begin at once
        write_json(path, content)
