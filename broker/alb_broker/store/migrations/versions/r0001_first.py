"""The first schema: five families of rows, the terms, and the views for people.

It may have been cut off half way where a database cannot undo it (MariaDB), so each part tolerates that it
exists.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from alb_broker.store.schema import binary, key_text, long_text

revision = "0001"
down_revision = None


def _key(name: str, kind: Any | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind or key_text(64), primary_key=True, nullable=False, autoincrement=False)


def _column(name: str, kind: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def _columns(kind: type[Any], *names: str) -> list[sa.Column[Any]]:
    return [_column(name, kind()) for name in names]


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, long_text()) for name in names]


def _exit() -> list[sa.Column[Any]]:
    return [_column(name, sa.BigInteger(), nullable=True) for name in ("exit_code", "signal")]


def upgrade() -> None:
    """Make everything."""
    _create("alb_terms", _column("epoch", sa.BigInteger()))
    _create(
        "alb_output",
        *(_key("task"), _key("attempt", sa.BigInteger()), _key("stream"), _key("offset", sa.BigInteger())),
        _column("data", binary()),
    )
    _create(
        "alb_increments",
        *(_key("task"), _key("seq", sa.BigInteger())),
        *(*_columns(sa.BigInteger, "attempt"), *_texts("key", "value"), *_columns(sa.Double, "time")),
    )
    _create(
        "alb_tasks",
        *(_key("task"), _column("user", key_text(255)), *_texts("name", "command", "state"), *_exit()),
        *(*_texts("why", "worker"), *_columns(sa.BigInteger, "attempt", "crashes")),
        *_columns(sa.Double, "submitted", "finished", "wall_s", "cpu_s"),
        *_columns(sa.BigInteger, "memory_bytes", "stdout_bytes", "stderr_bytes"),
        *_columns(sa.Double, "cpus"),
        *_columns(sa.BigInteger, "request_memory_bytes", "request_net_bps"),
        *_texts("labels", "spec", "digest"),
    )
    _create(
        "alb_attempts",
        *(_key("task"), _key("n", sa.BigInteger()), *_texts("worker", "incarnation")),
        *(*_columns(sa.BigInteger, "epoch"), *_columns(sa.Double, "placed", "ended"), *_texts("cause")),
        *(*_exit(), *_columns(sa.Double, "wall_s", "cpu_s"), *_columns(sa.BigInteger, "memory_bytes")),
        *(
            *_texts("policy"),
            *_columns(sa.Double, "waited_s"),
            *_columns(sa.BigInteger, "candidates", "ahead"),
        ),
    )
    _create(
        "alb_loads",
        *(_key("worker"), _key("time", sa.Double()), *_columns(sa.Double, "cpu", "memory", "net")),
        *(*_columns(sa.BigInteger, "running"), *_columns(sa.Double, "reserved_cpus", "capacity_cpus")),
        *_columns(sa.BigInteger, "capacity_memory_bytes"),
    )
    op.create_index("alb_tasks_by_finished", "alb_tasks", ["table_id", "finished"], if_not_exists=True)
    op.create_index("alb_tasks_by_user", "alb_tasks", ["table_id", "user", "finished"], if_not_exists=True)
    op.create_index("alb_loads_by_time", "alb_loads", ["table_id", "time"], if_not_exists=True)
    bind = op.get_bind()
    for name, query in views(bind.dialect).items():
        op.execute(f"DROP VIEW IF EXISTS {name}")
        bind.exec_driver_sql(f"CREATE VIEW {name} AS {query}")


def _create(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(name, _key("table_id"), *columns, if_not_exists=True)


def views(dialect: sa.Dialect, *, of_attempts: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the views. Times are the database's own, in the session's time zone; SQLite's are UTC.

    Args:
        dialect: Of the database.
        of_attempts: Columns that later steps added to ``alb_attempts``.
    """
    time = {
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {}, 'unixepoch')",
        "postgresql": "to_timestamp({})",
    }.get(dialect.name, "from_unixtime({})")
    quote = dialect.identifier_preparer.quote  # `signal` is a word of MariaDB, `user` one of PostgreSQL

    def columns(table: str, *names: str) -> str:
        plain = (
            time.format(f"{table}.{quote(name[1:])}") if name[0] == "@" else f"{table}.{quote(name)}"
            for name in names
        )
        titles = (_TITLES.get(name) or name.replace("@", "") + "_at" * (name[0] == "@") for name in names)
        return ", ".join(f"{value} AS {quote(title)}" for value, title in zip(plain, titles, strict=True))

    usage = ("exit_code", "signal", "wall_s", "cpu_s", "memory_bytes")
    task = columns("t", "table_id", "task", "user", "name", "command", "state", "why", "worker", *usage)
    more = columns("t", "attempt", "crashes", "@submitted", "@finished", "stdout_bytes", "stderr_bytes")
    asked = columns("t", "cpus", "request_memory_bytes", "request_net_bps", "labels", "spec")
    attempt = columns("a", "table_id", "task", "n", "worker", "epoch", "@placed", "@ended", "cause", *usage)
    decision = columns("a", "policy", "waited_s", "candidates", "ahead", *of_attempts)
    load = columns("l", "table_id", "worker", "@time", "cpu", "memory", "net", "running", "reserved_cpus")
    stream = columns("o", "table_id", "task", "attempt", "stream")
    of_task = "LEFT JOIN alb_tasks t ON t.table_id = a.table_id AND t.task = a.task"
    by_stream = "GROUP BY o.table_id, o.task, o.attempt, o.stream"
    size = f"count(*) AS pieces, max(o.{quote('offset')} + length(o.data)) AS size_bytes"
    return {
        "v_tasks": f"SELECT {task}, {more}, {asked} FROM alb_tasks t",  # noqa: S608
        "v_attempts": f"SELECT {attempt}, {decision}, {columns('t', 'user')} FROM alb_attempts a {of_task}",  # noqa: S608
        "v_worker_load": f"SELECT {load}, {columns('l', 'capacity_cpus')} FROM alb_loads l",  # noqa: S608
        "v_output_size": f"SELECT {stream}, {size} FROM alb_output o {by_stream}",  # noqa: S608
    }


_TITLES = {"user": "user_name", "@time": "sampled_at"}
