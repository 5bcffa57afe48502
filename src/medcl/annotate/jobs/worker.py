"""The worker: takes jobs one after the other, each in a process of its own, and leaves when there is nothing to do.

`python -m medcl.annotate.jobs.worker` reads from its standard input what to open; the server starts it.
A job in a process of its own cannot take the worker along, and its memory goes back when it ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from filelock import Timeout

from medcl.annotate.jobs import queue
from medcl.annotate.jobs.processes import hand_over, identity, log_folder, open_context, step_back, worker_lock

if TYPE_CHECKING:
    from medcl.annotate.context import Context

IDLE_SECONDS = 120.0
"""The worker leaves after so long without a job."""

LOOK_SECONDS = 0.5

LOCK_SECONDS = 5.0
"""Who looks whether a worker runs holds the lock for a moment; another worker holds it for longer."""

PATIENCE_SECONDS = 20.0
"""A job that was cancelled and does not end is ended by force after so long."""


def main() -> int:
    """Work until there is nothing to do; leave at once where another worker is at it."""
    context = open_context()
    step_back()
    while True:
        lock = worker_lock(context)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            return 0
        try:
            work(context)
        finally:
            lock.release()
        # A job that came between the last look and the release found the lock taken, so nobody was started for it.
        if not queue.waiting(context):
            return 0


def work(context: Context, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Take jobs until none came for a while."""
    idle = time.monotonic()
    while time.monotonic() - idle < idle_seconds:
        queue.bury(context)
        job = queue.claim(context, identity())
        if job is None:
            time.sleep(LOOK_SECONDS)
            continue
        run(context, job)
        idle = time.monotonic()


def run(context: Context, job: int) -> None:
    """Run one job in a process of its own and see it to its end."""
    with (log_folder(context) / f"job-{job}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medcl.annotate.jobs.work", str(job)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=context.state,
        )
    hand_over(process, context)
    asked_at: float | None = None
    while True:
        try:
            code = process.wait(timeout=LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            pass
        if asked_at is None and _cancelled(context, job):
            asked_at = time.monotonic()
        waited = 0.0 if asked_at is None else time.monotonic() - asked_at
        if waited > 2 * PATIENCE_SECONDS:
            process.kill()
        elif waited > PATIENCE_SECONDS:
            process.terminate()
    if asked_at is not None and code:
        queue.end(context, job, "cancelled", "cancelled; it had to be ended by force")
    queue.end(context, job, "crashed", _reason(code) + queue.last_words(context, job))


def _cancelled(context: Context, job: int) -> bool:
    with context.database.session(write=False) as session:
        return queue.row_of(session, job).cancel


def _reason(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else f"signal {-code}"
    hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


if __name__ == "__main__":
    sys.exit(main())
