"""`run_benchmark`: keep all slots busy until every job is finished, failed or somebody stops it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medcl.benchmark.folders import check_entry
from medcl.benchmark.jobs import Job, choose, expand
from medcl.benchmark.pool import LocalPool, Pool, machine_slots
from medcl.benchmark.recipe import Recipe, load_recipe
from medcl.benchmark.work import BUSY, DONE, FAILED, FAILURE, PROGRESS, RESULT, STOPPED, finished
from medcl.data.dataset import Dataset
from medcl.errors import DataError, MedclError, SettingsError
from medcl.evaluation.report import flatten
from medcl.files import check_place, read_json, write_json
from medcl.methods import learns_from_labels
from medcl.training.configure import configure
from medcl.training.split import choose_annotated

POLL_SECONDS = 1.0
OTHERS_SECONDS = 10.0
"""How often jobs that another process works on are looked at again."""


@dataclass(frozen=True)
class Status:
    """Where a benchmark stands.

    Attributes:
        total: Number of jobs.
        finished: Names of finished jobs.
        failed: Name -> reason.
        running: Name -> (what it does, share done, seconds left or None).
        elsewhere: Names of jobs that another process works on.
        seconds_left: Expected seconds until all is done; None where that is not known yet.
        message: Something to print once, or empty.
    """

    total: int
    finished: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, tuple[str, float, float | None]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    seconds_left: float | None = None
    message: str = ""


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark left.

    Attributes:
        folder: Folder of tables and report.
        finished: Names of finished jobs, those of before included.
        failed: Name -> reason.
        missing: Names of jobs that are not finished: after an interruption, or with `only`.
        complete: Whether every job that was asked for is finished.
    """

    folder: Path
    finished: tuple[str, ...]
    failed: Mapping[str, str]
    missing: tuple[str, ...]
    complete: bool


Show = Callable[[Status], None]


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


def set_aside(job: Job, out: Path) -> Path | None:
    """Rename the folder of a job, so that the job is done again; nothing is deleted."""
    folder = job.folder(out)
    if not folder.exists():
        return None
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return folder.rename(target)


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
    for job in choose(wanted, redo) if redo else ():
        set_aside(job, out)
    for job in wanted:
        changes = other_defaults(job, out) if finished(job, out) else []
        if changes:
            words = f"{job.name}: finished with other defaults ({'; '.join(changes)}); --redo {job.name} does it again"
            show(Status(len(wanted), message=words))
    open_jobs = [job for job in wanted if not finished(job, out)]
    failed: dict[str, str] = {}
    stopped = False
    if open_jobs:
        with _closing(_pool(out, jobs, len(open_jobs), ray)) as place:
            runner = _Runner(out, wanted, place, show)
            stopped = runner.go()
            failed = runner.failed
    ready = [job.name for job in planned if finished(job, out)]
    if ready:
        write_results(out, chosen.name)
    missing = [job.name for job in wanted if job.name not in ready]
    return BenchmarkResult(folder, tuple(ready), failed, tuple(missing), not missing and not stopped)


def remember(recipe: Recipe, jobs: Sequence[Job], folder: Path) -> None:
    """Keep what the recipe says now, for the report; jobs that it no longer has are no longer reported."""
    known = read_json(folder / "jobs.json")["jobs"] if (folder / "jobs.json").exists() else {}
    names = {job.name: job.folder(folder.parent).name for job in jobs}
    # Another protocol of the same recipe is another call: its jobs stay where the recipe still has them.
    still = {job.name for job in expand(recipe, list(recipe.protocols))}
    kept = {name: place for name, place in known.items() if name in still}
    write_json(folder / "jobs.json", {"recipe": recipe.model_dump(mode="json"), "jobs": {**kept, **names}})


def _pool(out: Path, wish: int | None, most: int, ray: str | None) -> Pool:
    if ray is not None:
        from medcl.benchmark.ray_pool import RayPool

        return RayPool(out, ray, slots=wish)
    slots, gpus = machine_slots()
    return LocalPool(out, min(wish or slots, most), gpus=gpus)


@contextmanager
def _closing(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.close()


class _Runner:
    def __init__(self, out: Path, jobs: Sequence[Job], pool: Pool, show: Show) -> None:
        self.out, self.jobs, self.pool, self.show = out, list(jobs), pool, show
        self.folders = {job.name: job.folder(out) for job in jobs}
        self.done = [job.name for job in jobs if finished(job, out)]
        self.waiting = [job for job in jobs if job.name not in self.done]
        self.running: dict[Path, Job] = {}
        self.elsewhere: list[Job] = []
        self.failed: dict[str, str] = {}
        self._looked = time.monotonic()
        self._told: set[str] = set()
        self._asked_to_stop = 0

    def go(self) -> bool:
        """Work until nothing is left; return whether somebody stopped it."""
        with self._signals():
            while self.waiting or self.running or self.elsewhere:
                if self._asked_to_stop:
                    return self._wind_down()
                while self.waiting and len(self.running) < self.pool.slots:
                    self._start(self.waiting.pop(0))
                self.show(self._status())
                for folder, code in self.pool.ended(POLL_SECONDS):
                    self._ended(folder, code)
                if time.monotonic() - self._looked > OTHERS_SECONDS:
                    self._look_at_others()
        return False

    def _start(self, job: Job) -> None:
        folder = self.folders[job.name]
        folder.mkdir(parents=True, exist_ok=True)
        job.save(folder)
        (folder / PROGRESS).unlink(missing_ok=True)
        self.running[folder] = job
        self.pool.start(folder)

    def _ended(self, folder: Path, code: int) -> None:
        job = self.running.pop(folder)
        if code == DONE:
            self.done.append(job.name)
            result = read_json(folder / RESULT)
            dice = "no score" if result["dice"] is None else f"Dice {result['dice']:.4f}"
            self.show(self._status(f"{job.name}: {dice}, {result['steps']} steps, {result['train_minutes']:.1f} min"))
        elif code == BUSY:
            self.elsewhere.append(job)
            if job.name not in self._told:
                self._told.add(job.name)
                self.show(self._status(f"{job.name}: another process works on it"))
        elif code != STOPPED:
            self.failed[job.name] = self._reason(folder, code)
            self.show(self._status(f"{job.name}: failed: {self.failed[job.name]}"))
        elif not self._asked_to_stop:  # somebody interrupted this one job
            self.failed[job.name] = "interrupted; run the same command again to go on"
            self.show(self._status(f"{job.name}: {self.failed[job.name]}"))

    def _reason(self, folder: Path, code: int) -> str:
        if code == FAILED and (folder / FAILURE).exists():
            return str(read_json(folder / FAILURE)["reason"])
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"ended by signal {name}{hint}; run the same command again to go on"
        return f"ended with code {code}; see {folder / 'job.log'}"

    def _look_at_others(self) -> None:
        self._looked = time.monotonic()
        for job in list(self.elsewhere):
            self.elsewhere.remove(job)
            if finished(job, self.out):
                self.done.append(job.name)
            else:
                self.waiting.append(job)  # its lock tells whether somebody still works on it

    def _wind_down(self) -> bool:
        self.show(self._status("stopping: every job saves where it is; Ctrl-C again ends at once"))
        self.pool.stop()
        while self.running and self._asked_to_stop < 2:
            for folder, code in self.pool.ended(POLL_SECONDS):
                self._ended(folder, code)
        return True

    def _status(self, message: str = "") -> Status:
        running = {job.name: self._progress(folder) for folder, job in self.running.items()}
        return Status(
            len(self.jobs),
            tuple(self.done),
            dict(self.failed),
            running,
            tuple(job.name for job in self.elsewhere),
            self._seconds_left(running),
            message,
        )

    def _progress(self, folder: Path) -> tuple[str, float, float | None]:
        with suppress(DataError):
            content: dict[str, Any] = read_json(folder / PROGRESS)
            return content["doing"], content["share"], content["seconds_left"]
        return "starting", 0.0, None

    def _seconds_left(self, running: Mapping[str, tuple[str, float, float | None]]) -> float | None:
        lengths = {job.name: job.minutes for job in self.jobs}
        total = 0.0
        for job in [*self.waiting, *self.elsewhere]:
            if job.minutes is None:
                return None
            total += 60 * job.minutes
        for name, (doing, _, left) in running.items():
            minutes = lengths[name]
            if left is None and minutes is None:
                return None
            if not doing.startswith("scoring"):
                total += left if left is not None else 60 * (minutes or 0)
        return total / min(self.pool.slots, max(1, len(self.waiting) + len(running)))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self._asked_to_stop += 1

        old = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                with suppress(ValueError):  # not the main thread: whoever owns the signals decides
                    old[name] = signal.signal(name, stop)
            yield
        finally:
            for name, handler in old.items():
                signal.signal(name, handler)
