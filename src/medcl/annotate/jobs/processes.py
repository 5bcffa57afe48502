"""Which process is which, whether it lives, and how a worker is started so that it outlives the server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from medcl.annotate.context import Context

NICE = 10
"""Priority of the worker: whoever draws comes first."""

STARTING_SECONDS = 15.0
"""So long after its start a worker may not hold its lock yet. Later only the lock counts: one that leaves lives on for
seconds after it has given the lock back, and takes no job any more."""

_started: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
"""Workers that this process started, and when by the monotonic clock."""

_guard = threading.Lock()


def identity(pid: int | None = None) -> str:
    """Return 'PID:START' of a process; the start time tells it from a later one of the same number."""
    import psutil

    process = psutil.Process(pid)
    return f"{process.pid}:{process.create_time():.2f}"


def is_alive(worker: str) -> bool:
    """Whether the process of an `identity` runs on this machine; a dead one that nobody buried does not."""
    import psutil

    number, _, start = worker.partition(":")
    try:
        process = psutil.Process(int(number))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(start)) < 0.05
    except (psutil.Error, ValueError, OverflowError):
        return False


def worker_lock(context: Context) -> FileLock:
    """Return the lock that the one worker of a data set holds; it dies with its process."""
    return FileLock(context.state / "worker.lock")


def worker_runs(context: Context) -> bool:
    """Whether a worker of this data set lives on this machine."""
    lock = worker_lock(context)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def log_folder(context: Context) -> Path:
    """Return the folder of the logs of worker and jobs."""
    folder = context.state / "logs"
    folder.mkdir(exist_ok=True)
    return folder


def start_worker(context: Context) -> None:
    """Start a worker where none runs: in a session of its own, so that it outlives the server and its terminal.

    One too many does no harm: it finds the lock taken and leaves.
    """
    with _guard:
        if _starts(context) or worker_runs(context):
            return
        _started[context.state] = _spawn(context), time.monotonic()


def _starts(context: Context) -> bool:
    """Whether a worker that this process started may still be on its way to the lock."""
    if context.state not in _started:
        return False
    process, since = _started[context.state]
    return process.poll() is None and time.monotonic() - since < STARTING_SECONDS


def _spawn(context: Context) -> subprocess.Popen[bytes]:
    with (log_folder(context) / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medcl.annotate.jobs.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=context.state,
        )
    hand_over(process, context)
    return process


def hand_over(process: subprocess.Popen[bytes], context: Context) -> None:
    """Tell a new process what to open. By a pipe: the database's address may hold a password that `ps` would show."""
    assert process.stdin is not None  # opened as a pipe
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(context.recipe()).encode())


def open_context() -> Context:
    """Open what `hand_over` told."""
    from medcl.annotate.context import Context

    return Context(**json.loads(sys.stdin.read()))


def step_back() -> None:
    """Give way to whoever draws; on Linux a session has a share of the processor of its own, which gives way too."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")


def threads() -> int:
    """Return how many threads to compute with: on a small machine all, as the priority is low; else one less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return cores if cores <= 2 else cores - 1
