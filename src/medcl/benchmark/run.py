"""`run_benchmark`: from a recipe to finished jobs, tables and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medcl.benchmark.folders import check_entry
from medcl.benchmark.jobs import Job, choose, expand
from medcl.benchmark.recipe import Recipe, load_recipe
from medcl.benchmark.runner import Show, Status
from medcl.benchmark.running import BenchmarkResult, run_jobs
from medcl.benchmark.work import finished
from medcl.data.dataset import Dataset
from medcl.errors import MedclError, SettingsError
from medcl.evaluation.report import flatten
from medcl.files import check_place, read_json, write_json
from medcl.methods import learns_from_labels
from medcl.training.configure import configure
from medcl.training.split import choose_annotated


def plan_benchmark(
    recipe: Recipe | Path | str,
    data: Path | str = ".",
    *,
    protocols: Sequence[str] | None = None,
) -> list[Job]:
    """Check a recipe against the data and return its jobs, without training anything.

    Args:
        recipe: A recipe or its file.
        data: Folder below which the folders of data sets lie.
        protocols: Names of protocols; default: the recipe's first one.

    Raises:
        SettingsError: Everything that is wrong with names and settings, in one message.
        DataError: Everything that is wrong with data sets.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    jobs = expand(chosen, protocols, data=Path(data))
    problems: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    opened: dict[tuple[str, bool], Dataset | None] = {}
    for job in jobs:
        try:
            config = configure(job.settings)
        except MedclError as error:
            problems.setdefault(str(error), job.name)
            continue
        what = (job.data, learns_from_labels(config.method))
        try:
            if what not in opened:
                opened[what] = None
                opened[what] = check_entry(job.entry, from_labels=what[1])
            dataset = opened[what]
            if dataset is not None:
                _check_cases(job, dataset)
                fingerprints.setdefault(job.data, dataset.digest)
        except MedclError as error:
            problems.setdefault(str(error), f"data set {job.data}")
    if problems:
        words = " ".join(f"{where}: {problem}" for problem, where in problems.items())
        raise SettingsError(f"recipe {chosen.name}: {words}")
    return [replace(job, fingerprint=fingerprints[job.data]) for job in jobs]


def _check_cases(job: Job, dataset: Dataset) -> None:
    kinds = ("label",) if job.entry.simulate is not None else ("scribble", "label")
    annotated = [case.id for case in dataset.cases("Tr") if any(getattr(case, kind) for kind in kinds)]
    choose_annotated(annotated, job.cases, job.seed)


def other_defaults(job: Job, out: Path) -> list[str]:
    """Return which settings a finished job was trained with that are different today, as 'key: was X, is Y'."""
    path = job.folder(out) / "run" / "run.json"
    if not path.exists():
        return []
    before, now = flatten(read_json(path)["settings"]), flatten(configure(job.settings).as_dict())
    # None stands for what follows from the data; a setting that only one of the two knows changes nothing by itself.
    shared = [key for key, value in now.items() if value is not None and key in before]
    return [f"{key}: was {before[key]}, is {now[key]}" for key in shared if before[key] != now[key]]


def run_benchmark(
    recipe: Recipe | Path | str,
    out: Path | str,
    data: Path | str = ".",
    *,
    protocols: Sequence[str] | None = None,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    jobs: int | None = None,
    ray: str | None = None,
    show: Show = lambda status: None,
) -> BenchmarkResult:
    """Train and score the jobs of a recipe that are not finished yet, and write tables and report.

    Args:
        recipe: A recipe or its file.
        out: Folder for everything; several processes may work on one folder, and a later call goes on.
        data: Folder below which the folders of data sets lie.
        protocols: Names of protocols; default: the recipe's first one.
        only: Names of jobs to run, with `*` and `?`; default: all. The report is about all that is finished.
        redo: Names of jobs to do again although they are finished; what they left is set aside.
        jobs: Jobs at a time; default: one per GPU, or one per core.
        ray: Address of a Ray cluster whose machines share the disk; default: processes of this machine.
        show: Told where it stands, at least once a second.

    Raises:
        SettingsError: The recipe, before any job.
        DataError: Data that cannot be used, or a folder that cannot be written.
    """
    from medcl.benchmark.results import write_results

    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = Path(out).absolute()
    check_place(out)
    planned = plan_benchmark(chosen, data, protocols=protocols)
    wanted = choose(planned, only)
    folder = out / chosen.name
    remember(chosen, planned, folder)
    again = choose(wanted, redo) if redo else []
    for job in wanted:
        changes = other_defaults(job, out) if finished(job, out) and job not in again else []
        if changes:
            words = f"{job.name}: finished with other defaults ({'; '.join(changes)}); --redo {job.name} does it again"
            show(Status(len(wanted), message=words))

    def write(ready: Sequence[Job]) -> None:
        if ready:
            write_results(out, chosen.name)

    return run_jobs(folder, planned, wanted, finished, write, redo=redo, jobs=jobs, ray=ray, show=show)


def remember(recipe: Recipe, jobs: Sequence[Job], folder: Path) -> None:
    """Keep what the recipe says now, for the report; jobs that it no longer has are no longer reported."""
    known = read_json(folder / "jobs.json")["jobs"] if (folder / "jobs.json").exists() else {}
    names = {job.name: job.folder(folder.parent).name for job in jobs}
    # Another protocol of the same recipe is another call: its jobs stay where the recipe still has them.
    still = {job.name for job in expand(recipe, list(recipe.protocols))}
    kept = {name: place for name, place in known.items() if name in still}
    write_json(folder / "jobs.json", {"recipe": recipe.model_dump(mode="json"), "jobs": {**kept, **names}})
