"""Bringing a database to the tables of this version."""

from __future__ import annotations

from medcl.annotate.state.database import Database
from medcl.annotate.state.tables import Base


def migrate(database: Database) -> None:
    """Make or change the tables."""
    Base.metadata.create_all(database.engine)
