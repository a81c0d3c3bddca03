"""What a kernel may cost; and what it has cost, found quickly."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("kernels", sa.Column("budget_nanodollars", sa.BigInteger, nullable=True))
    op.create_index("ix_leases_kernel_id", "leases", ["kernel_id"])


def downgrade() -> None:
    op.drop_index("ix_leases_kernel_id", "leases")
    op.drop_column("kernels", "budget_nanodollars")
