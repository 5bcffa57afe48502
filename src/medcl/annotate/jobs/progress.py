"""How far a job is, for those who watch: written to its row now and then, and whether somebody wants it to stop."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from medcl.annotate.jobs.queue import row_of
from medcl.annotate.state.tables import now

if TYPE_CHECKING:
    from medcl.annotate.context import Context

BEAT_SECONDS = 3.0
LOOK_SECONDS = 0.7
WRITE_SECONDS = 1.5
"""At most one line about progress in so many seconds,"""

SHARE_OF_TIME = 1 / 200
"""and, later in a long job, in this share of the time that it has run."""

MOST_POINTS = 1000
"""A curve that grows longer loses every second point of its older half."""

_log = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818  # no error: somebody asked for it
    """A job was told to stop."""


class Report:
    """Progress of one job.

    Args:
        context: Whose job.
        job: Its number.

    Attributes:
        stop: Set when somebody cancels the job.
    """

    def __init__(self, context: Context, job: int) -> None:
        self.context, self.job = context, job
        self.stop = threading.Event()
        self._share, self._left, self._message = 0.0, None, ""  # type: tuple[float, float | None, str]
        self._points: dict[str, list[Any]] = {"losses": [], "scores": []}
        self._written = 0.0
        self._began = time.monotonic()

    def check(self) -> None:
        """Raise `Stopped` when somebody cancelled."""
        if self.stop.is_set():
            raise Stopped

    def say(self, message: str) -> None:
        """Tell in a sentence what is done now, at once."""
        self._message = message
        self._write(force=True)

    def at(self, share: float, seconds_left: float | None = None) -> None:
        """Tell how much is done."""
        self._share, self._left = min(1.0, max(0.0, share)), seconds_left
        self._write()

    def add(self, curve: str, step: int, values: dict[str, float]) -> None:
        """Add a point to 'losses' or 'scores'."""
        finite = {name: float(value) for name, value in values.items() if abs(value) < float("inf")}
        if finite:
            points = self._points[curve]
            points.append([step, finite])
            if len(points) > MOST_POINTS:
                half = len(points) // 2
                self._points[curve] = points[:half:2] + points[half:]
            self._write()

    def close(self) -> None:
        """Write what is not written yet."""
        self._write(force=True)

    def _write(self, *, force: bool = False) -> None:
        moment = time.monotonic()
        pause = max(WRITE_SECONDS, SHARE_OF_TIME * (moment - self._began))
        if not force and moment - self._written < pause:
            return
        self._written = moment
        with self.context.database.session() as session:
            row = row_of(session, self.job)
            row.share, row.seconds_left, row.message, row.beat = self._share, self._left, self._message, now()
            row.progress = {name: list(points) for name, points in self._points.items()}
            self.context.tell(session, "job", "progress", job=self.job)


class Beat(threading.Thread):
    """Says every few seconds that the job lives, and looks whether somebody wants it to stop."""

    def __init__(self, report: Report) -> None:
        super().__init__(name="medcl-beat", daemon=True)
        self._report = report
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until `end`."""
        beaten = 0.0
        while not self._ended.wait(LOOK_SECONDS):
            due = time.monotonic() - beaten > BEAT_SECONDS
            try:
                with self._report.context.database.session(write=due) as session:
                    row = row_of(session, self._report.job)
                    if row.cancel or row.state != "running":  # somebody took us for dead: two at once help nobody
                        self._report.stop.set()
                    if due:
                        row.beat = now()
                        beaten = time.monotonic()
            except SQLAlchemyError as error:  # a busy database is no reason to lose a training
                _log.warning("no sign of life could be written: %s", error)

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self.join(timeout=30)
