"""Agents that are to take no new leases, so that a restarted broker knows it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drains",
        sa.Column("agent_id", sa.String(256), nullable=False),
        sa.Column("agent_name", sa.String(256), nullable=False),
        sa.Column("asked_by", sa.String(256), nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("release_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("agent_id", name="pk_drains"),
    )


def downgrade() -> None:
    op.drop_table("drains")
