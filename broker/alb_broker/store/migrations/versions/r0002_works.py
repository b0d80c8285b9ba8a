"""Works, so that what was done well need not run again; and what results say that no column showed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alb_broker.store.schema import key_text, long_text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them; each part tolerates that it exists, where a database cannot undo half a step."""
    keys = [sa.Column(name, key_text(64), primary_key=True, nullable=False) for name in ("table_id", "work")]
    op.create_table("alb_works", *keys, sa.Column("task", long_text(), nullable=False), if_not_exists=True)
    columns = {each["name"] for each in sa.inspect(op.get_bind()).get_columns("alb_tasks")}
    if "more" not in columns:  # SQLite cannot be asked for it in one statement
        op.add_column("alb_tasks", sa.Column("more", long_text(), nullable=False, server_default=""))
