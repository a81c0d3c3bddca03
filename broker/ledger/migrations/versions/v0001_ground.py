"""The first tables: leases, what happened to them, kernels and tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DURATIONS = ("starting_ms", "busy_ms", "idle_ms")


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kernel_id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(256), nullable=False),
        sa.Column("agent_id", sa.String(256), nullable=False),
        sa.Column("agent_name", sa.String(256), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("gpus", sa.JSON, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("price_microdollars_per_second", sa.BigInteger, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger, nullable=True),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _DURATIONS),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
    )
    op.create_index("ix_leases_closed_at", "leases", ["closed_at"])
    op.create_index("ix_leases_user", "leases", ["user"])
    op.create_table(
        "lease_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("lease_id", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _DURATIONS),
        sa.PrimaryKeyConstraint("seq", name="pk_lease_events"),
        sa.ForeignKeyConstraint(["lease_id"], ["leases.id"], name="fk_lease_events_lease_id_leases"),
    )
    op.create_index("ix_lease_events_lease_id_at", "lease_events", ["lease_id", "at"])
    op.create_table(
        "kernels",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(256), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("spec", sa.String(1024), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("idle_timeout_ms", sa.BigInteger, nullable=True),
        sa.Column("incarnation", sa.String(64), nullable=True),
        sa.Column("agent_id", sa.String(256), nullable=True),
        sa.Column("agent_name", sa.String(256), nullable=False),
        sa.Column("keepable", sa.Boolean, nullable=False),
        sa.Column("saved_nanodollars", sa.BigInteger, nullable=False),
        sa.Column("notice", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kernels"),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("hash", name="pk_tokens"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER lease_events_no_{verb.lower()} BEFORE {verb} ON lease_events "
                "BEGIN SELECT RAISE(ABORT, 'lease_events is append-only'); END"
            )


def downgrade() -> None:
    """The books are not thrown away."""
    raise RuntimeError("the ledger's first version has nothing before it")
