"""Who keeps all slots busy: starts jobs in their order, follows them, waits for others, ends on Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from medcl.benchmark.pool import LocalPool, Pool, machine_slots
from medcl.benchmark.work import BUSY, DONE, FAILED, FAILURE, PROGRESS, RESULT, STOPPED
from medcl.errors import DataError
from medcl.files import read_json

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


Show = Callable[[Status], None]


class Work(Protocol):
    """A job, as far as it must be known here: a training of a benchmark, or a part of a simulated annotation."""

    @property
    def name(self) -> str:
        """Readable name, unique among the jobs."""

    @property
    def minutes(self) -> float | None:
        """Minutes that it takes; None: see `like`."""

    @property
    def like(self) -> str:
        """A word that jobs share which take about as long."""

    @property
    def after(self) -> str | None:
        """Name of the job that must be finished first."""

    def folder(self, out: Path) -> Path:
        """Return its folder below `out`."""

    def save(self, folder: Path) -> None:
        """Write `job.json`, which a process of its own reads."""

    def summary(self, result: Mapping[str, Any]) -> str:
        """Say in a few words what came of it."""


def choose_pool(out: Path, wish: int | None, most: int, ray: str | None) -> Pool:
    """Return where jobs run.

    Args:
        out: Folder of all jobs.
        wish: Jobs at a time; default: one per GPU, or one per core.
        most: Number of jobs there are.
        ray: Address of a Ray cluster; None: processes of this machine.
    """
    if ray is not None:
        from medcl.benchmark.ray_pool import RayPool

        return RayPool(out, ray, slots=wish)
    slots, gpus = machine_slots()
    return LocalPool(out, min(wish or slots, most), gpus=gpus)


class Runner:
    """Keeps the slots of a pool busy with jobs, in their order.

    Args:
        out: Folder of all jobs.
        jobs: What to do.
        pool: Where.
        show: Told where it stands, at least once a second.
        finished: Whether a job needs nothing more.
    """

    def __init__(
        self, out: Path, jobs: Sequence[Work], pool: Pool, show: Show, finished: Callable[[Any, Path], bool]
    ) -> None:
        self.out, self.jobs, self.pool, self.show = out, list(jobs), pool, show
        self.finished = finished
        self.folders = {job.name: job.folder(out) for job in jobs}
        self.done = [job.name for job in jobs if finished(job, out)]
        self.waiting = [job for job in jobs if job.name not in self.done]
        self.running: dict[Path, Work] = {}
        self.elsewhere: list[Work] = []
        self.failed: dict[str, str] = {}
        self._looked = time.monotonic()
        self._told: set[str] = set()
        self._asked_to_stop = 0
        self._began: dict[str, float] = {}
        self._took: dict[str, list[float]] = {}

    def go(self) -> bool:
        """Work until nothing is left; return whether somebody stopped it."""
        with self._signals():
            while self.waiting or self.running or self.elsewhere:
                if self._asked_to_stop:
                    return self._wind_down()
                self._give_up()
                while len(self.running) < self.pool.slots and (job := self._next()) is not None:
                    self._start(job)
                self.show(self._status())
                if not (self.running or self.elsewhere):
                    continue
                for folder, code in self.pool.ended(POLL_SECONDS):
                    self._ended(folder, code)
                if time.monotonic() - self._looked > OTHERS_SECONDS:
                    self._look_at_others()
        return False

    def _next(self) -> Work | None:
        """Take the first job off the list that has nothing to wait for."""
        for job in self.waiting:
            if not self._waits(job):
                self.waiting.remove(job)
                return job
        return None

    def _waits(self, job: Work) -> bool:
        known = {other.name for other in self.jobs}
        return job.after in known and job.after not in self.done

    def _give_up(self) -> None:
        """Drop jobs that go on from one that failed."""
        for job in [job for job in self.waiting if job.after in self.failed]:
            self.waiting.remove(job)
            self.failed[job.name] = f"not started, as {job.after} failed"
            self.show(self._status(f"{job.name}: {self.failed[job.name]}"))

    def _start(self, job: Work) -> None:
        folder = self.folders[job.name]
        folder.mkdir(parents=True, exist_ok=True)
        job.save(folder)
        (folder / PROGRESS).unlink(missing_ok=True)
        self.running[folder] = job
        self._began[job.name] = time.monotonic()
        self.pool.start(folder)

    def _ended(self, folder: Path, code: int) -> None:
        job = self.running.pop(folder)
        if code == DONE:
            self.done.append(job.name)
            self._took.setdefault(job.like, []).append(time.monotonic() - self._began[job.name])
            self.show(self._status(f"{job.name}: {job.summary(read_json(folder / RESULT))}"))
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
            if self.finished(job, self.out):
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
        """Expect jobs to take their minutes; those without to take as long as others like them took."""
        total = 0.0
        for job in [*self.waiting, *self.elsewhere]:
            expected = self._expected(job)
            if expected is None:
                return None
            total += expected
        for job in self.running.values():
            doing, share, left = running[job.name]
            if left is None and share > 0 and job.minutes is None:
                left = (time.monotonic() - self._began[job.name]) * (1 - share) / share
            if left is None:
                left = self._expected(job)
            if left is None:
                return None
            if job.minutes is None or not doing.startswith("scoring"):
                total += left
        return total / min(self.pool.slots, max(1, len(self.waiting) + len(running)))

    def _expected(self, job: Work) -> float | None:
        if job.minutes is not None:
            return 60 * job.minutes
        known = self._took.get(job.like)
        return sum(known) / len(known) if known else None

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
