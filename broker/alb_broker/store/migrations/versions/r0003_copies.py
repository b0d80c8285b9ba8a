"""Of attempts, which other one they were a copy of: in a column, and in the view for people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alb_broker.store.migrations.versions.r0001_first import views

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it; each part tolerates that it exists, where a database cannot undo half a step."""
    bind = op.get_bind()
    columns = {each["name"] for each in sa.inspect(bind).get_columns("alb_attempts")}
    if "copy_of" not in columns:  # SQLite cannot be asked for it in one statement
        op.add_column(
            "alb_attempts", sa.Column("copy_of", sa.BigInteger(), nullable=False, server_default="0")
        )
    op.execute("DROP VIEW IF EXISTS v_attempts")
    query = views(bind.dialect, of_attempts=("copy_of",))["v_attempts"]
    bind.exec_driver_sql(f"CREATE VIEW v_attempts AS {query}")
