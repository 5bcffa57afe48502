"""The database guards itself: one stroke a version of a case, one data set a database. Undo finds its event."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index of cases by one of cases and versions; add one of the strokes of events, and the project."""
    op.create_index("ix_strokes_case_version", "strokes", ["case", "version"], unique=True)
    op.drop_index("ix_strokes_case", "strokes")
    op.create_index("ix_events_stroke", "events", ["stroke"])
    op.create_table("project", sa.Column("key", sa.String(32), primary_key=True))


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_table("project")
    op.drop_index("ix_events_stroke", "events")
    op.create_index("ix_strokes_case", "strokes", ["case"])
    op.drop_index("ix_strokes_case_version", "strokes")
