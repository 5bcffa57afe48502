"""The database: SQLite in the state folder, or PostgreSQL by URL. What a caller was told to be saved is on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from medcl.errors import DataError, MissingExtraError

BUSY_SECONDS = 30
"""How long a writer waits for another one."""

# Any numbers; every server and worker on one PostgreSQL uses the same.
_EVENTS_LOCK = 0x6D65_6463_6C
_TABLES_LOCK = _EVENTS_LOCK + 1


class Database:
    """Sessions on one database, for as many threads as like.

    Args:
        url: SQLAlchemy's address: `sqlite:///FILE` or `postgresql+psycopg://...`.

    Attributes:
        url: The same, with its password.
        engine: SQLAlchemy's engine.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @classmethod
    def in_file(cls, path: Path) -> Database:
        """Open or make an SQLite database."""
        return cls(f"sqlite:///{path}")

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def session(self, *, write: bool = True) -> Iterator[Session]:
        """Give a session; committed when the block ends without an error, else rolled back.

        Args:
            write: A session that may write waits for other writers at its start, so that what it reads stays true
                until it has written. Reading sessions wait for nobody.
        """
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            options: dict[str, Any] = {"medcl_write": write}
            if not write and not self.is_sqlite:  # a version and its strokes must be of one moment, as in SQLite
                options["isolation_level"] = "REPEATABLE READ"
            session.connection(execution_options=options)
            yield session

    @property
    def name(self) -> str:
        """How messages call it: its file, or its address without password."""
        url = self.engine.url
        return str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)

    def migrate_alone(self, connection: Connection) -> None:
        """Wait until nobody else changes tables; lasts as long as the transaction."""
        if not self.is_sqlite:  # there every transaction that writes is alone
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TABLES_LOCK})

    def events_in_order(self, session: Session) -> None:
        """Let events become visible in the order of their numbers, so that who waits for the next misses none.

        SQLite has one writer at a time. In PostgreSQL a number is drawn before its transaction ends; a lock that lasts
        as long as the transaction makes those that tell of something follow each other.
        """
        if not self.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EVENTS_LOCK})

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":  # the driver that the extra brings
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise DataError(
                f"--database: expected sqlite:///FILE or postgresql://USER@HOST/NAME, got {parsed.get_backend_name()}."
            )
        if parsed.get_backend_name() == "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(parsed, pool_pre_ping=True, pool_size=20)
    except (ArgumentError, NoSuchModuleError):
        raise DataError("--database: expected sqlite:///FILE or postgresql://USER@HOST/NAME.") from None
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "postgresql", "A PostgreSQL database") from None


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin_sqlite`, not behind our back
    # WAL: readers and the writer do not wait for each other. FULL: a commit is on the disk when it returns.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another one wrote in between: writers begin as
    # writers.
    write = connection.get_execution_options().get("medcl_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
