"""What a bill is broken down by: the notebook of each lease, and how long its kernel then went without one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Until now gaps were only added up, as money, for each kernel. How long each was follows from the next lease.
_GAPS = """
UPDATE leases SET gap_ms = (
    SELECT CASE WHEN MIN(later.opened_at) > leases.closed_at THEN MIN(later.opened_at) - leases.closed_at ELSE 0 END
    FROM leases AS later WHERE later.kernel_id = leases.kernel_id AND later.opened_at > leases.opened_at
)
WHERE closed_at IS NOT NULL AND EXISTS (
    SELECT 1 FROM leases AS later WHERE later.kernel_id = leases.kernel_id AND later.opened_at > leases.opened_at
)
"""


def upgrade() -> None:
    op.add_column("leases", sa.Column("notebook", sa.Text, nullable=False, server_default=""))
    op.add_column("leases", sa.Column("gap_ms", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_leases_opened_at", "leases", ["opened_at"])
    op.execute(_GAPS)
    op.add_column("kernels", sa.Column("notebook", sa.Text, nullable=False, server_default=""))
    op.drop_column("kernels", "saved_nanodollars")


def downgrade() -> None:
    """The leases stay; which notebook they were for, and what releasing has saved, is not known any more."""
    op.add_column("kernels", sa.Column("saved_nanodollars", sa.BigInteger, nullable=False, server_default="0"))
    op.drop_column("kernels", "notebook")
    op.drop_index("ix_leases_opened_at", "leases")
    op.drop_column("leases", "gap_ms")
    op.drop_column("leases", "notebook")
