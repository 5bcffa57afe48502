"""Bringing a database to the tables of this version."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError, InterfaceError

from medcl.annotate.state.database import Database
from medcl.annotate.state.tables import ProjectRow
from medcl.errors import DataError
from medcl.files import atomic_write

_SCRIPTS = Path(__file__).parent / "migrations"


def claim(database: Database, file: Path) -> None:
    """Tie a database and a data set to each other: strokes of one must never get into the files of another.

    Args:
        database: Migrated.
        file: Holds the key of the data set; made if neither it nor the database's key is there.

    Raises:
        DataError: The database is of another data set.
    """
    with database.session() as session:
        database.migrate_alone(session.connection())  # two servers that first open it together would both claim it
        known = session.scalar(select(ProjectRow.key))
        key = file.read_text(encoding="ascii", errors="replace").strip() if file.is_file() else ""
        if known is None:
            key = key or uuid4().hex
            session.add(ProjectRow(key=key[:32]))
            session.flush()
        elif key != known:
            raise DataError(
                f"{database.name}: this database is of another data set; make one for each. (If it is of this one, "
                f"whose folder {file.parent.name} was removed, write {known} into {file}.)"
            )
        if not file.is_file():
            with atomic_write(file) as temporary:
                temporary.write_text(key, encoding="ascii")


def migrate(database: Database, revision: str = "head") -> None:
    """Make or change the tables, all or nothing. Two servers that start together wait for each other.

    Args:
        database: Empty, or of this or an earlier version.
        revision: Where to stop; tests make older databases with it.

    Raises:
        DataError: A newer medcl made the database, it is damaged, or it cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    try:
        with database.engine.begin() as connection:
            database.migrate_alone(connection)
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            there = set(MigrationContext.configure(connection).get_current_heads())
            if not there <= known:
                raise DataError(
                    f"{database.name}: a newer medcl made this database; update medcl, or restore an older database."
                )
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except (DatabaseError, InterfaceError) as error:
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        raise DataError(f"{database.name}: the database cannot be used ({reason}).") from None
