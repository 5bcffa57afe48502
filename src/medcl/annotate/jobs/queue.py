"""The queue: jobs are rows; whoever claims one writes its process into it, and a row whose process died is a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from medcl.annotate.jobs.processes import is_alive, log_folder, worker_runs
from medcl.annotate.schemas import Job, NewJob, Point
from medcl.annotate.state.tables import JobRow, now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from medcl.annotate.context import Context

GRACE_SECONDS = 15.0
"""So long after its last sign of life a job of a dead process is left to the worker, which knows more about its end."""

_MOST_POINTS = 400


def add(context: Context, new: NewJob, author: str, *, refuse: Callable[[Session], None] | None = None) -> JobRow:
    """Put a job at the end of the queue.

    Args:
        context: Whose queue.
        new: What to do.
        author: Who asks for it.
        refuse: Raises where the job shall not be added. What it reads stays true until the job is in the queue: of
            several callers at once the later ones see the jobs of the earlier ones.
    """
    with context.database.session() as session:
        context.database.events_in_order(session)  # before all else: in PostgreSQL nobody adds a job meanwhile
        if refuse is not None:
            refuse(session)
        row = JobRow(
            kind=new.kind, state="queued", author=author, at=now(), asked=new.model_dump(mode="json"), progress={}
        )
        session.add(row)
        session.flush()
        context.tell(session, "job", "queued", job=row.id, author=author)
    return row


def claim(context: Context, worker: str) -> int | None:
    """Take the oldest waiting job, unless another one is at work.

    Args:
        context: Whose queue.
        worker: Identity of the process that takes it.

    Returns:
        Number of the job, now running; None where there is nothing to do.
    """
    with context.database.session() as session:
        if any(is_alive(row.worker) for row in session.scalars(select(JobRow).where(JobRow.state == "running"))):
            return None
        query = select(JobRow).where(JobRow.state == "queued").order_by(JobRow.id).limit(1)
        row = session.scalars(query.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        row.state, row.started, row.beat, row.worker = "running", now(), now(), worker
        row.message = "starting"
        context.tell(session, "job", "running", job=row.id)
        return row.id


def waiting(context: Context) -> bool:
    """Whether a job waits."""
    with context.database.session(write=False) as session:
        return session.scalar(select(JobRow.id).where(JobRow.state == "queued").limit(1)) is not None


def count_waiting(session: Session) -> int:
    """Return how many jobs wait."""
    return session.scalar(select(func.count()).select_from(JobRow).where(JobRow.state == "queued")) or 0


def open_training(session: Session) -> JobRow | None:
    """Return a training that runs or waits, the newest one."""
    query = select(JobRow).where(JobRow.kind == "train", JobRow.state.in_(("queued", "running")))
    return session.scalars(query.order_by(JobRow.id.desc()).limit(1)).first()


def end(context: Context, job: int, state: str, message: str) -> None:
    """Write how a job ended; what has ended stays as it is."""
    with context.database.session() as session:
        row = session.get(JobRow, job)
        if row is None or row.state not in ("queued", "running"):
            return
        row.state, row.message, row.ended, row.seconds_left = state, message, now(), None
        if state == "finished":
            row.share = 1.0
        context.tell(session, "job", state, job=job)


def cancel(context: Context, job: int, author: str) -> bool:
    """Stop a job: one that waits at once, one that runs as soon as it looks. Return whether there is such a job."""
    with context.database.session() as session:
        row = session.get(JobRow, job)
        if row is None:
            return False
        if row.state == "queued":
            row.state, row.ended, row.message = "cancelled", now(), "cancelled before it began"
            context.tell(session, "job", "cancelled", job=job, author=author)
        elif row.state == "running" and not row.cancel:
            row.cancel = True
            context.tell(session, "job", "cancelling", job=job, author=author)
        return True


def bury(context: Context) -> None:
    """Mark jobs as crashed whose process died; where a worker runs, it is left the time to say why."""
    with context.database.session(write=False) as session:
        running = list(session.scalars(select(JobRow).where(JobRow.state == "running")))
    for row in running:
        if is_alive(row.worker):
            continue
        silent = (now() - (row.beat or row.at)).total_seconds()
        if silent > GRACE_SECONDS or not worker_runs(context):
            end(context, row.id, "crashed", f"its process ended without a word{last_words(context, row.id)}")


def last_words(context: Context, job: int) -> str:
    """Return the last line of a job's log, as the end of a sentence."""
    try:
        lines = (log_folder(context) / f"job-{job}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "."
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; the last line of its log: {last[:300]}" if last else "; its log is empty."


def jobs(context: Context) -> list[Job]:
    """Return all jobs, the newest first."""
    with context.database.session(write=False) as session:
        return [to_job(row) for row in session.scalars(select(JobRow).order_by(JobRow.id.desc()).limit(200))]


def find(context: Context, job: int) -> Job | None:
    """Return one job."""
    with context.database.session(write=False) as session:
        row = session.get(JobRow, job)
        return None if row is None else to_job(row)


def to_job(row: JobRow) -> Job:
    """Return a job as callers see it."""
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,
        author=row.author,
        at=row.at,
        started=row.started,
        ended=row.ended,
        share=row.share,
        seconds_left=row.seconds_left,
        message=row.message,
        losses=_points(row.progress.get("losses", [])),
        scores=_points(row.progress.get("scores", [])),
        strokes=row.strokes,
    )


def _points(pairs: list[Any]) -> list[Point]:
    thinned = pairs[:: 1 + len(pairs) // _MOST_POINTS]
    return [Point(step=step, values=values) for step, values in thinned]


def row_of(session: Session, job: int) -> JobRow:
    """Return the row of a job that is known to be there."""
    row = session.get(JobRow, job)
    assert row is not None  # rows of jobs are never deleted
    return row
