"""The queue: one job at a time, and every end has a reason."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from medcl.annotate.context import Context
from medcl.annotate.jobs import processes, queue
from medcl.annotate.jobs.processes import identity, is_alive, log_folder, worker_lock, worker_runs
from medcl.annotate.jobs.worker import _reason
from medcl.annotate.schemas import Job, NewJob
from medcl.annotate.state.tables import EventRow, now


@pytest.fixture
def context(folder: Path) -> Iterator[Context]:
    context = Context(folder)
    yield context
    context.close()


def add(context: Context) -> int:
    return queue.add(context, NewJob(minutes=1), "ada").id


def job(context: Context, number: int) -> Job:
    found = queue.find(context, number)
    assert found is not None
    return found


def dead_worker() -> str:
    """Return the identity of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = identity(process.pid)
    assert is_alive(name)
    process.kill()
    process.wait()
    return name


def test_jobs_are_taken_in_order_and_one_at_a_time(context: Context) -> None:
    first, second = add(context), add(context)
    assert [j.id for j in queue.jobs(context)] == [second, first]
    assert queue.claim(context, identity()) == first
    assert queue.claim(context, identity()) is None, "one is at work"
    queue.end(context, first, "finished", "done")
    assert (job(context, first).state, job(context, first).share) == ("finished", 1.0)
    assert queue.claim(context, identity()) == second
    assert not queue.waiting(context)


def test_what_has_ended_stays_as_it_is(context: Context) -> None:
    number = add(context)
    queue.end(context, number, "finished", "done")
    queue.end(context, number, "crashed", "later")
    assert (job(context, number).state, job(context, number).message) == ("finished", "done")


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_asked(context: Context) -> None:
    first, second = add(context), add(context)
    assert queue.claim(context, identity()) == first
    assert queue.cancel(context, second, "ada")
    assert job(context, second).state == "cancelled"
    assert queue.cancel(context, first, "ada")
    assert job(context, first).state == "running"
    with context.database.session(write=False) as session:
        assert queue.row_of(session, first).cancel
    assert not queue.cancel(context, 99, "ada")


def test_a_job_whose_process_died_is_a_crash_with_the_last_line_of_its_log(context: Context) -> None:
    number = add(context)
    assert queue.claim(context, dead_worker()) == number
    (log_folder(context) / f"job-{number}.log").write_text("one\nout of memory at last\n\n", encoding="utf-8")
    queue.bury(context)
    found = job(context, number)
    assert found.state == "crashed"
    assert found.message.endswith("the last line of its log: out of memory at last")
    assert found.ended is not None


def test_a_living_worker_is_left_the_time_to_say_why(context: Context) -> None:
    number = add(context)
    queue.claim(context, dead_worker())
    with worker_lock(context):
        assert worker_runs(context)
        queue.bury(context)
        assert job(context, number).state == "running"
        with context.database.session() as session:
            queue.row_of(session, number).beat = now() - timedelta(seconds=60)
        queue.bury(context)
        assert job(context, number).state == "crashed"
    assert not worker_runs(context)


def test_a_number_that_another_process_got_is_not_the_same_process() -> None:
    assert is_alive(identity())
    number = identity().partition(":")[0]
    assert not is_alive(f"{number}:1.0")
    assert not is_alive("")
    assert not is_alive("nonsense:x")


def test_every_step_is_told(context: Context) -> None:
    number = add(context)
    queue.claim(context, identity())
    queue.cancel(context, number, "ada")
    queue.end(context, number, "cancelled", "so it is")
    with context.database.session(write=False) as session:
        told = [(row.action, row.author) for row in session.query(EventRow).filter(EventRow.job == number)]
    assert told == [("queued", "ada"), ("running", ""), ("cancelling", "ada"), ("cancelled", "")]


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "code 3"), (-9, "ended by SIGKILL (the system may have run out of memory)"), (-11, "SIGSEGV")],
)
def test_ends_have_names(code: int, words: str) -> None:
    assert words in _reason(code)


def test_a_worker_that_leaves_is_no_reason_to_start_none(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has given the lock back and takes no job any more, but its process needs seconds to end."""
    spawned: list[Context] = []

    class Leaving:
        def poll(self) -> None:
            return None

    def spawn(context: Context) -> Leaving:
        spawned.append(context)
        return Leaving()

    monkeypatch.setattr(processes, "_started", {})
    monkeypatch.setattr(processes, "_spawn", spawn)
    processes.start_worker(context)
    processes.start_worker(context)
    assert len(spawned) == 1, "one that was just started is waited for"
    monkeypatch.setattr(processes, "STARTING_SECONDS", 0.0)
    with worker_lock(context):
        processes.start_worker(context)
    assert len(spawned) == 1, "it works"
    processes.start_worker(context)
    assert len(spawned) == 2
