"""Brings the schema of an SQL store up to date, once, however many brokers start together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from alb_broker.store.interface import StoreUnusable
from alb_broker.store.schema import VERSION_TABLE

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_ONE_AT_A_TIME: Final = threading.Lock()
#: Alembic keeps what it works on in global variables.


def upgrade(
    connection: Connection, place: str, locked: Callable[[Connection], AbstractContextManager[None]]
) -> None:
    """Run the steps that are missing.

    Args:
        connection: Not in a transaction.
        place: Where the store is, for the error.
        locked: Begins a transaction that no other process can begin meanwhile, and commits it.

    Raises:
        StoreUnusable: The schema is newer than this program.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    known = {step.revision for step in script.walk_revisions()}
    head = script.get_current_head()
    if _revision(connection, place, known) == head:
        return
    with _ONE_AT_A_TIME, locked(connection):
        if _found(connection) != head:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection, place: str, known: set[str]) -> str | None:
    with connection.begin():
        found = _found(connection)
    if found is not None and found not in known:
        raise StoreUnusable(
            f"the schema of {place} is {found}, which this version of alb does not know (its newest is "
            f"{max(known)}): upgrade alb on this machine, or use another database"
        )
    return found


def _found(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()
