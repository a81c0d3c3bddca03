"""The ledger's tables. Migrations in ``migrations/`` make them; a test holds the two together.

Money is never stored: a lease has its price and its durations, and the cost is their product. Times are milliseconds
since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

# Migration tools need every constraint to have a name.
NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)

# One row per lease; its durations are what the agent has proven so far. A row is never deleted.
leases = Table(
    "leases",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kernel_id", String(64), nullable=False),
    Column("user", String(256), nullable=False),
    Column("agent_id", String(256), nullable=False),
    Column("agent_name", String(256), nullable=False),
    Column("model", String(128), nullable=False),
    Column("count", Integer, nullable=False),
    Column("gpus", JSON, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("price_microdollars_per_second", BigInteger, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("renewed_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=True),  # null while open
    Column("confirmed", Boolean, nullable=False),  # closed by the agent's word; false too while open
    Column("starting_ms", BigInteger, nullable=False),
    Column("busy_ms", BigInteger, nullable=False),
    Column("idle_ms", BigInteger, nullable=False),
    Column("notebook", Text, nullable=False),  # the path its kernel had when it was opened; empty: nobody had said
    Column("gap_ms", BigInteger, nullable=False),  # from its end to its kernel's next lease; 0 while there is none
    Index("ix_leases_opened_at", "opened_at"),
    Index("ix_leases_closed_at", "closed_at"),
    Index("ix_leases_user", "user"),
    Index("ix_leases_kernel_id", "kernel_id"),
)

# What happened to each lease, append-only: opened, checkpoint (at most one a minute), month (a month was opened),
# closed, adjusted.
lease_events = Table(
    "lease_events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("lease_id", String(64), ForeignKey("leases.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("starting_ms", BigInteger, nullable=False),
    Column("busy_ms", BigInteger, nullable=False),
    Column("idle_ms", BigInteger, nullable=False),
    Index("ix_lease_events_lease_id_at", "lease_id", "at"),
)

# Kernels that are not terminated, so that a restarted broker knows them.
kernels = Table(
    "kernels",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("spec", String(1024), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("idle_timeout_ms", BigInteger, nullable=True),
    Column("incarnation", String(64), nullable=True),
    Column("agent_id", String(256), nullable=True),
    Column("agent_name", String(256), nullable=False),
    Column("keepable", Boolean, nullable=False),
    Column("notice", Text, nullable=False),
    Column("budget_nanodollars", BigInteger, nullable=True),  # null: no limit; what was spent follows from the leases
    Column("notebook", Text, nullable=False),
    Column("kept_until", BigInteger, nullable=True),  # its user asked for its GPU to be kept
    Column("keep_extra_ms", BigInteger, nullable=False),  # asked for while something ran: so much longer after that
)

# Agents that are to take no new leases, until an admin undoes it.
drains = Table(
    "drains",
    metadata,
    Column("agent_id", String(256), primary_key=True),
    Column("agent_name", String(256), nullable=False),
    Column("asked_by", String(256), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("release_at", BigInteger, nullable=True),  # null: what runs there is let run to its end
)

# What a user may spend. Two rows of a scope: the lower one holds.
limits = Table(
    "limits",
    metadata,
    Column("user", String(256), primary_key=True),
    Column("scope", String(16), primary_key=True),  # kernel, user or month
    Column("set_by", String(16), primary_key=True),  # user or admin
    Column("nanodollars", BigInteger, nullable=False),
    Column("by", String(256), nullable=False),  # the name of who set it
    Column("at", BigInteger, nullable=False),
)

# The months that were opened, so that none is opened twice.
months = Table("months", metadata, Column("start", BigInteger, primary_key=True, autoincrement=False))

# Which kernel belongs to which notebook, as front-ends keep book of it.
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user", String(256), nullable=False),
    Column("kernel_id", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", String(64), nullable=False),
)

# Who did what to which kernel or token, append-only; what the values mean is in ``audit``.
audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("via", String(16), nullable=False),
    Column("action", String(32), nullable=False),
    Column("user", String(256), nullable=False),  # whose kernel or token it is about
    Column("kernel_id", String(64), nullable=False),  # empty where it is about none
    Column("detail", JSON, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_user", "user"),
)

# Who may come in. Only a token's hash is kept.
tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("role", String(16), nullable=False),  # user, agent or admin
    Column("name", String(256), nullable=False),  # of the user or agent, shown to people
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=True),
)
