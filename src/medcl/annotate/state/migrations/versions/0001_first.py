"""Tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cases",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("written_version", sa.Integer, nullable=False),
        sa.Column("file_digest", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("verdict_by", sa.String(80), nullable=False),
        sa.Column("verdict_version", sa.Integer, nullable=False),
    )
    op.create_table(
        "strokes",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("case", sa.String(255), sa.ForeignKey("cases.id"), nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("author", sa.String(80), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("tool", sa.String(10), nullable=False),
        sa.Column("value", sa.Integer),
        sa.Column("plane", sa.String(10)),
        sa.Column("slice", sa.Integer),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("voxels", sa.Integer, nullable=False),
        sa.Column("on_prediction", sa.Integer),
        sa.Column("undone", sa.Boolean, nullable=False),
        sa.Column("runs", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("author", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("case", sa.String(255)),
        sa.Column("version", sa.Integer),
        sa.Column("job", sa.Integer),
        sa.Column("stroke", sa.Uuid),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("author", sa.String(80), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("started", _TIME),
        sa.Column("ended", _TIME),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("seconds_left", sa.Double),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("strokes", sa.Integer, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("worker", sa.String(80), nullable=False),
        sa.Column("beat", _TIME),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", sa.Integer, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("folder", sa.String(255), nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("strokes", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("voxels", sa.Integer, nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("case", sa.String(255), nullable=False, index=True),
        sa.Column("model", sa.Integer, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("folder", sa.String(255), nullable=False),
        sa.Column("uncertainty", sa.Double, nullable=False),
        sa.Column("volumes_ml", sa.JSON, nullable=False),
        sa.Column("places", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("predictions", "models", "jobs", "events", "strokes", "cases"):
        op.drop_table(table)
