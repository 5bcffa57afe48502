"""Bringing a database to the tables of this version."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DatabaseError, InterfaceError

from medcl.annotate.state.database import Database
from medcl.errors import DataError

_SCRIPTS = Path(__file__).parent / "migrations"


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
