"""Changes of the tables, in order (Alembic). Run at every start by `migrate`."""
