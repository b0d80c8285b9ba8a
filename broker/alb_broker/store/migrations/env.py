"""What Alembic runs: the steps, in the transaction that `alb_broker.store.upgrade` has begun."""

from __future__ import annotations

from alembic import context

from alb_broker.store.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
