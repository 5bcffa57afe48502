"""What a benchmark and a simulated annotation do alike: run what is open, have written what is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medcl.benchmark.jobs import choose
from medcl.benchmark.runner import Runner, Show, Work, choose_pool


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


def set_aside(job: Work, out: Path) -> Path | None:
    """Rename the folder of a job, so that the job is done again; nothing is deleted."""
    folder = job.folder(out)
    if not folder.exists():
        return None
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return folder.rename(target)


W = TypeVar("W", bound=Work)


def run_jobs(
    folder: Path,
    planned: Sequence[W],
    wanted: Sequence[W],
    finished: Callable[[Any, Path], bool],
    write: Callable[[Sequence[W]], None],
    *,
    redo: Sequence[str] = (),
    jobs: int | None = None,
    ray: str | None = None,
    show: Show = lambda status: None,
) -> BenchmarkResult:
    """Do the jobs that are not finished, and have written what the finished ones say.

    Args:
        folder: Folder of tables and report; jobs lie beside it.
        planned: All jobs of the recipe.
        wanted: Those that are asked for.
        finished: Whether a job needs nothing more.
        write: Called with the finished ones among `planned`; writes tables and report where they are enough.
        redo: Names of jobs to do again although they are finished; what they left is set aside.
        jobs: Jobs at a time; default: one per GPU, or one per core.
        ray: Address of a Ray cluster; default: processes of this machine.
        show: Told where it stands.
    """
    out = folder.parent
    for job in choose(wanted, redo) if redo else ():
        set_aside(job, out)
    open_jobs = [job for job in wanted if not finished(job, out)]
    failed: dict[str, str] = {}
    stopped = False
    if open_jobs:
        with closing(choose_pool(out, jobs, len(open_jobs), ray)) as place:
            runner = Runner(out, wanted, place, show, finished)
            stopped = runner.go()
            failed = runner.failed
    ready = [job for job in planned if finished(job, out)]
    write(ready)
    missing = [job.name for job in wanted if job not in ready]
    return BenchmarkResult(
        folder, tuple(job.name for job in ready), failed, tuple(missing), not missing and not stopped
    )
