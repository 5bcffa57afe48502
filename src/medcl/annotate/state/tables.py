"""Tables of the annotation server. A change of them comes with a migration (`migrations/`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, Double, ForeignKey, Index, LargeBinary, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """A time that knows that it is UTC, in SQLite too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give the zone back that SQLite drops."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Columns by annotation."""

    type_annotation_map = {float: Double, dict[str, Any]: JSON, list[Any]: JSON, datetime: UtcTime, bytes: LargeBinary}  # noqa: RUF012


class ProjectRow(Base):
    """The one data set that a database is of."""

    __tablename__ = "project"

    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    """The same as in the file `id` of the state folder."""


class CaseRow(Base):
    """What is known about a case beyond its files."""

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    version: Mapped[int] = mapped_column(default=0)
    written_version: Mapped[int] = mapped_column(default=0)
    """Version whose strokes lie in `scribblesTr`; behind `version` while the file waits to be written."""
    file_digest: Mapped[str] = mapped_column(String(64), default="")
    """Of the stroke file as last read or written: tells when somebody else changed it."""
    verdict: Mapped[str] = mapped_column(String(10), default="")
    """'' or 'accept' or 'wrong'."""
    verdict_by: Mapped[str] = mapped_column(String(80), default="")
    verdict_version: Mapped[int] = mapped_column(default=0)


class StrokeRow(Base):
    """One stroke; never deleted."""

    __tablename__ = "strokes"
    __table_args__ = (Index("ix_strokes_case_version", "case", "version", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    version: Mapped[int]
    """Of the case, that it made: the order of strokes."""
    author: Mapped[str] = mapped_column(String(80))
    at: Mapped[datetime]
    tool: Mapped[str] = mapped_column(String(10))
    value: Mapped[int | None]
    plane: Mapped[str | None] = mapped_column(String(10))
    slice: Mapped[int | None]
    width: Mapped[int] = mapped_column(default=1)
    seconds: Mapped[float] = mapped_column(default=0.0)
    voxels: Mapped[int] = mapped_column(default=0)
    on_prediction: Mapped[int | None]
    undone: Mapped[bool] = mapped_column(default=False)
    runs: Mapped[bytes]
    """zlib of little-endian int64 (start, length) pairs in the view grid; imports: (start, length, class) triples."""


class EventRow(Base):
    """History of everything: who did what when. Its number is what pages wait for."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    author: Mapped[str] = mapped_column(String(80), default="")
    kind: Mapped[str] = mapped_column(String(20))
    """'case', 'job', 'model', 'prediction' or 'project'."""
    action: Mapped[str] = mapped_column(String(20), default="")
    """'stroke', 'undo', 'redo', 'import', 'accept', 'wrong', 'reopen', 'queued', 'running', 'finished' and so on."""
    case: Mapped[str | None] = mapped_column(String(255))
    version: Mapped[int | None]
    job: Mapped[int | None]
    stroke: Mapped[UUID | None] = mapped_column(index=True)


class JobRow(Base):
    """A job of the queue."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), index=True)
    author: Mapped[str] = mapped_column(String(80), default="")
    at: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    asked: Mapped[dict[str, Any]]
    """The `NewJob` as JSON."""
    share: Mapped[float] = mapped_column(default=0.0)
    seconds_left: Mapped[float | None]
    message: Mapped[str] = mapped_column(default="")
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """'losses' and 'scores': lists of [step, {name: value}]."""
    strokes: Mapped[int] = mapped_column(default=0)
    cancel: Mapped[bool] = mapped_column(default=False)
    worker: Mapped[str] = mapped_column(String(80), default="")
    """'PID:START' of the process that has it: the start time tells a process from a later one of the same number."""
    beat: Mapped[datetime | None]


class ModelRow(Base):
    """A model that a job left."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime]
    folder: Mapped[str] = mapped_column(String(255))
    """Relative to the state folder."""
    steps: Mapped[int]
    strokes: Mapped[int]
    seconds: Mapped[float]
    """Seconds spent drawing when it was made."""
    voxels: Mapped[int]
    scores: Mapped[dict[str, Any]]


class PredictionRow(Base):
    """A prediction of a case; files lie in the state folder under `predictions/`."""

    __tablename__ = "predictions"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case: Mapped[str] = mapped_column(String(255), index=True)
    model: Mapped[int] = mapped_column(ForeignKey("models.id"))
    at: Mapped[datetime]
    folder: Mapped[str] = mapped_column(String(255))
    """Relative to the state folder: mask.nii.gz and uncertainty.nii.gz in the file's own grid."""
    uncertainty: Mapped[float]
    volumes_ml: Mapped[dict[str, Any]]
    places: Mapped[list[Any]] = mapped_column(deferred=True)
    """What the query strategies read: see `queries`."""
