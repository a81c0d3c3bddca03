"""Until when kernels' GPUs are kept, so that a restarted broker knows it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("kernels", sa.Column("kept_until", sa.BigInteger, nullable=True))
    op.add_column("kernels", sa.Column("keep_extra_ms", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("kernels", "keep_extra_ms")
    op.drop_column("kernels", "kept_until")
