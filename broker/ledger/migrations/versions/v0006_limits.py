"""What users may spend, set by themselves and by admins; and which months were opened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "limits",
        sa.Column("user", sa.String(256), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("set_by", sa.String(16), nullable=False),
        sa.Column("nanodollars", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(256), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user", "scope", "set_by", name="pk_limits"),
    )
    op.create_table(
        "months",
        sa.Column("start", sa.BigInteger, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("start", name="pk_months"),
    )


def downgrade() -> None:
    op.drop_table("months")
    op.drop_table("limits")
