"""Work in the background: train, predict, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session

from medcl.annotate.context import Author, Context, Here
from medcl.annotate.jobs import queue
from medcl.annotate.jobs.processes import start_worker
from medcl.annotate.jobs.recipe import check
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import Job, NewJob
from medcl.annotate.state.tables import JobRow

router = APIRouter(prefix="/api/jobs", tags=["jobs"])
Number = Annotated[int, Path(ge=1, lt=2**31)]

MOST_WAITING = 50


@router.post("")
def start_job(context: Here, author: Author, new: NewJob) -> Job:
    """Put a job into the queue; a worker is started where none runs."""
    return _found(context, put_job(context, author, new).id)


@router.get("")
def get_jobs(context: Here) -> list[Job]:
    """All jobs, the newest first (at most 200)."""
    look_after(context)
    return queue.jobs(context)


@router.get("/{job}")
def get_job(context: Here, job: Number) -> Job:
    """A job and how far it is."""
    look_after(context)
    return _found(context, job)


@router.post("/{job}/cancel")
def cancel_job(context: Here, author: Author, job: Number) -> Job:
    """Stop a job within seconds; what a training has learned is kept."""
    if not queue.cancel(context, job, author):
        raise _unknown(job)
    look_after(context)
    return _found(context, job)


def put_job(context: Context, author: str, new: NewJob, *, refuse: Callable[[Session], None] | None = None) -> JobRow:
    """Put a job into the queue and see that a worker comes; `refuse` raises where it shall not be added.

    Raises:
        Refused: A case is unknown, or too many jobs wait.
        SettingsError: The settings cannot be used.
    """
    for case in [*(new.cases or []), *([] if new.first is None else [new.first])]:
        context.case(case)  # an unknown name is refused here, with the known ones
    if new.kind == "train":
        check(new)
    _ = context.dataset()

    def refuse_too_many(session: Session) -> None:
        if queue.count_waiting(session) >= MOST_WAITING:
            raise Refused(409, f"expected at most {MOST_WAITING} waiting jobs; wait, or cancel some.")
        if refuse is not None:
            refuse(session)

    row = queue.add(context, new, author, refuse=refuse_too_many)
    start_worker(context)
    return row


def look_after(context: Context) -> None:
    """Mark jobs whose process died, and start a worker where jobs wait and none runs."""
    if context.needs_setup:
        return
    queue.bury(context)
    if queue.waiting(context):
        start_worker(context)


def _found(context: Context, job: int) -> Job:
    found = queue.find(context, job)
    if found is None:
        raise _unknown(job)
    return found


def _unknown(job: int) -> Refused:
    return Refused(404, f"unknown job {job}; GET /api/jobs lists the known ones.")
