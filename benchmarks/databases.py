"""A PostgreSQL server of a benchmark's own, and plain connections: the floor's way to write."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from alb.local.ports import claim_ports
from alb_core.rows import Row, columns
from ground import BenchmarkFailed

START_S: Final = 60.0
TRANSACTION: Final = 500
#: Rows.

Statements = dict[type[Row], str]


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a server within the block, with the settings of its package and ``fsync=on``; gives its URL."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs:
        raise BenchmarkFailed("PostgreSQL is not installed; run: apt-get install postgresql")
    folder.mkdir()
    user: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody", "nogroup")
        user |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
    data = str(folder / "data")
    made = subprocess.run(
        [programs[-1] / "initdb", "-D", data, "-U", "alb", "--auth=trust", "-E", "UTF8"],
        check=False,
        capture_output=True,
        **user,
    )
    if made.returncode:
        raise BenchmarkFailed(f"PostgreSQL cannot be set up in {folder}: {made.stderr.decode()[-500:]}")
    (port,) = claim_ports(1)
    words = ["-D", data, "-p", str(port.number), "-c", f"unix_socket_directories={folder}", "-c", "fsync=on"]
    with (folder.parent / "postgresql.log").open("wb") as log:
        server = subprocess.Popen([programs[-1] / "postgres", *words], stdout=log, stderr=log, **user)
    try:
        url = f"postgresql://alb@127.0.0.1:{port.number}/postgres"
        _await(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # at once, whoever is connected
        server.wait(START_S)
        port.release()


def _await(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"PostgreSQL does not answer: {error}") from error
            time.sleep(0.05)
        else:
            return


def connect(url: str) -> Any:
    """Return a plain connection of the store's own driver, as durable as the store's."""
    if url.startswith("postgresql"):
        return psycopg.connect(url)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def settle(url: str) -> None:
    """Let the database write out what it has deferred, so that no measurement pays for the one before it."""
    connection = connect(url)
    if url.startswith("postgresql"):
        connection.autocommit = True
        connection.execute("CHECKPOINT")
    else:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def insert_all(url: str, table: str, families: Sequence[tuple[type[Row], Sequence[tuple[Any, ...]]]]) -> None:
    """Write rows with ``executemany``, 500 a transaction.

    Args:
        url: Of the store, whose schema is there.
        table: Id to put before each row.
        families: Each with the values of its rows.
    """
    connection = connect(url)
    mark = "%s" if url.startswith("postgresql") else "?"
    cursor = connection.cursor()
    for family, values in families:
        names = ", ".join(f'"{name}"' for name in ("table_id", *columns(family)))
        marks = ", ".join([mark] * (1 + len(columns(family))))
        statement = f"INSERT INTO alb_{family.family} ({names}) VALUES ({marks})"  # noqa: S608
        for start in range(0, len(values), TRANSACTION):
            cursor.executemany(statement, [(table, *each) for each in values[start : start + TRANSACTION]])
            connection.commit()
    connection.close()
