"""What Alembic runs: the changes, on the connection and in the transaction of `migrate`."""

from __future__ import annotations

from alembic import context

from medcl.annotate.state.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
