"""Run by alembic: migrates over the connection that the ledger hands it, in one transaction.

Alembic loads this file by its path, outside of any package, so the import of ours is absolute.
"""

from __future__ import annotations

from alembic import context
from perijove.broker.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
