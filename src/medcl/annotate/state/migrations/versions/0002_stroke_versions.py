"""A version of a case is made by one stroke at most: the database itself refuses a second one. Undo finds its event."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index of cases by one of cases and versions, and add one of the strokes of events."""
    op.create_index("ix_strokes_case_version", "strokes", ["case", "version"], unique=True)
    op.drop_index("ix_strokes_case", "strokes")
    op.create_index("ix_events_stroke", "events", ["stroke"])


def downgrade() -> None:
    """Undo `upgrade`."""
    op.drop_index("ix_events_stroke", "events")
    op.create_index("ix_strokes_case", "strokes", ["case"])
    op.drop_index("ix_strokes_case_version", "strokes")
