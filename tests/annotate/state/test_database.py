from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from annotate_tiny import TOKEN, make_dataset
from sqlalchemy import inspect, select, text

from medcl.annotate.app import create_app
from medcl.annotate.runs import pack
from medcl.annotate.state.database import Database
from medcl.annotate.state.migrate import claim, migrate
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import Base, CaseRow, StrokeRow, now
from medcl.errors import DataError


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.in_file(tmp_path / "annotate.db")


def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    migrate(database)
    migrate(database)  # again changes nothing
    with database.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_of_the_first_version_keeps_its_strokes(database: Database) -> None:
    migrate(database, "0001")
    assert "project" not in inspect(database.engine).get_table_names()
    import numpy as np

    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO cases VALUES ('a', 1, 0, '', '', '', 0)"))
        connection.execute(
            text(
                'INSERT INTO strokes (id, "case", version, author, at, tool, value, width, seconds, voxels, undone, '
                "runs) VALUES (:id, 'a', 1, 'anna', '2026-01-01 12:00:00', 'pen', 2, 1, 1.5, 4, false, :runs)"
            ),
            {"id": uuid4().hex, "runs": pack(np.array([[3, 4]]))},
        )
    migrate(database)
    with database.session(write=False) as session:
        stroke = session.scalars(select(StrokeRow)).one()
        assert (stroke.author, stroke.value, stroke.at.isoformat()) == ("anna", 2, "2026-01-01T12:00:00+00:00")
    with database.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_of_a_newer_version_is_refused_in_a_sentence(database: Database) -> None:
    migrate(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataError, match="newer medcl made this database; update medcl"):
        migrate(database)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (folder / ".medcl").mkdir()
    (folder / ".medcl" / "annotate.db").write_text(
        "not a database, but long enough to be taken for one " * 100, encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"annotate\.db: the database cannot be used"):
        create_app(folder, token=TOKEN)


@pytest.mark.parametrize("url", ["mysql://x", "nonsense", "://"])
def test_addresses_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="--database: expected sqlite"):
        create_app(make_dataset(tmp_path / "tiny"), token=TOKEN, database=url)


def test_what_is_committed_is_on_the_disk(database: Database) -> None:
    with database.session() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA synchronous")) == 2  # FULL
        assert session.scalar(text("PRAGMA busy_timeout")) == 30_000
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_the_database_refuses_a_second_stroke_of_one_version(database: Database) -> None:
    migrate(database)
    for _ in range(2):
        with database.session() as session:
            locked_case(session, "a")
    row = {"case": "a", "version": 1, "author": "", "at": now(), "tool": "pen", "runs": b""}
    with database.session() as session:
        session.add(StrokeRow(id=uuid4(), **row))
    with pytest.raises(Exception, match="UNIQUE"), database.session() as session:
        session.add(StrokeRow(id=uuid4(), **row))


def test_writers_wait_for_each_other_and_lose_nothing(database: Database) -> None:
    migrate(database)

    def count() -> None:
        for _ in range(20):
            with database.session() as session:
                locked_case(session, "a").version += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    with database.session(write=False) as session:  # readers wait for nobody
        session.scalars(select(CaseRow)).all()
    for thread in threads:
        thread.join()
    with database.session(write=False) as session:
        assert session.get(CaseRow, "a").version == 80


def test_one_database_belongs_to_one_data_set(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'team.db'}"
    first, second = (make_dataset(tmp_path / name) for name in ("first", "second"))
    create_app(first, token=TOKEN, database=url).state.context.close()
    create_app(first, token=TOKEN, database=url).state.context.close()
    with pytest.raises(DataError, match="another data set"):
        create_app(second, token=TOKEN, database=url)


def test_a_copied_folder_with_its_state_goes_on(tmp_path: Path) -> None:
    database = Database.in_file(tmp_path / "a.db")
    migrate(database)
    claim(database, tmp_path / "id")
    key = (tmp_path / "id").read_text(encoding="utf-8")
    database.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT key FROM project").fetchall() == [(key,)]
    (tmp_path / "id").unlink()
    with pytest.raises(DataError, match=key):  # the sentence says how to tie them again
        claim(Database.in_file(tmp_path / "a.db"), tmp_path / "id")
