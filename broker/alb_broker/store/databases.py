"""What differs between the SQL databases: connecting, writing many rows, locking, and what errors mean."""

from __future__ import annotations

import importlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Protocol

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, exc, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from alb_broker.store.interface import StoreError, StoreUnavailable, StoreUnusable
from alb_broker.store.schema import METADATA, TABLES
from alb_core.columns import Column
from alb_core.io.clock import monotonic
from alb_core.rows import FAMILIES, Merge, Row

CONNECT_S: Final = 5
LOCK_S: Final = 5
#: For a lock that another session has.
STATEMENT_S: Final = 10
#: For one statement, by the database's clock.
CALL_S: Final = 15
#: For one statement, by ours: the database itself may hang.
IDLE_S: Final = 15
#: A transaction that rests longer is ended, so that a frozen leader's cannot hold up its successor.
LOCKED_PAUSE_S: Final = 0.05
LOCK_NUMBER: Final = 0x616C62
#: Of the lock under which the schema changes.
SAMPLE_PAGES: Final = 1_000
#: Of a table in PostgreSQL, read to tell how much its rows take: 8 MiB, some 20 ms.
ROW_OVERHEAD_BYTES: Final = 60
#: Of a row there: its header, its pointer, and its entry in an index.
READS: Final = "alb_reads"
#: The option of a connection that only reads.


class Database(Protocol):
    """One kind of SQL database."""

    def engine(self, url: URL) -> Engine:
        """Return how to connect; raises ModuleNotFoundError where the driver is missing."""

    def write(self, connection: Connection, family: type[Row], columns: Sequence[Column]) -> None:
        """Write rows, given as all columns of their table; no two have the same key."""

    def locked(self, connection: Connection) -> Any:
        """Return a context: a transaction that only one process is in at a time; commits."""

    def size_bytes(self, connection: Connection) -> int:
        """Return about how much room the rows take; what is free for new ones does not count."""

    def trouble(self, error: SQLAlchemyError, place: str) -> StoreError:
        """Return what an error means."""


class Sqlite:
    """A file, written by one process at a time."""

    _UNUSABLE: ClassVar = {11, 26}
    #: SQLITE_CORRUPT, SQLITE_NOTADB.

    def engine(self, url: URL) -> Engine:
        """Connect with a log that readers do not wait for, synced by every commit."""
        if url.database in {None, "", ":memory:"}:
            raise StoreUnusable("the results store needs a file: sqlite:////path/of/the/file")
        engine = create_engine(
            url, poolclass=NullPool, hide_parameters=True, connect_args={"check_same_thread": False}
        )

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions begin where we say so
            for setting in (f"busy_timeout={LOCK_S * 1000}", "synchronous=FULL"):
                connection.execute(f"PRAGMA {setting}").close()
            _keep_log(connection)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            reads = connection.get_execution_options().get(READS)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine

    def write(self, connection: Connection, family: type[Row], columns: Sequence[Column]) -> None:
        """Insert row by row: the driver loops in C."""
        rows = list(zip(*columns, strict=True))
        connection.exec_driver_sql(_insert(connection, family, _values("?", family)), rows)

    @contextmanager
    def locked(self, connection: Connection) -> Iterator[None]:
        """Every transaction that may write has the file for itself."""
        with connection.begin():
            yield

    def size_bytes(self, connection: Connection) -> int:
        """Pages of the file that are in use; its log is bounded."""
        pages, free, size = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def trouble(self, error: SQLAlchemyError, place: str) -> StoreError:
        """By SQLite's primary code."""
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
        if code is None:
            return _by_kind(error, place)
        unusable = code & 0xFF in self._UNUSABLE
        return _told(place, error, unusable=unusable)


def _keep_log(connection: Any) -> None:
    """Turn a new file to a write-ahead log; while others do the same, SQLite refuses and does not wait."""
    deadline = monotonic() + LOCK_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError:
            if monotonic() >= deadline:
                raise
            time.sleep(LOCKED_PAUSE_S)
        else:
            return


class Postgresql:
    """PostgreSQL, by psycopg."""

    _UNUSABLE: ClassVar = ("28", "3D", "42", "22", "23", "0A")
    #: Classes of SQLSTATE: authorisation, no such database, syntax and rights, data, constraints, features.
    _REFUSED: ClassVar = (
        "authentication failed",
        "does not exist",
        "no pg_hba.conf entry",
        "no password supplied",
    )
    #: The driver tells no code for what happens while it connects.

    def engine(self, url: URL) -> Engine:
        """Connect so that no server, and no dead network, is waited for without end."""
        psycopg = importlib.import_module("psycopg")

        class Bounded(psycopg.Connection):  # type: ignore[misc, name-defined]  # (imported only where used)
            def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
                return super().wait(gen, interval, CALL_S if timeout is None else timeout)

        settings = {
            "statement_timeout": STATEMENT_S,
            "lock_timeout": LOCK_S,
            "idle_in_transaction_session_timeout": IDLE_S,
        }
        arguments = {
            "connect_timeout": CONNECT_S,
            "tcp_user_timeout": CALL_S * 1000,
            "application_name": "alb",
            "options": " ".join(f"-c {name}={value}s" for name, value in settings.items()),
        }
        engine = create_engine(
            url, poolclass=NullPool, hide_parameters=True, isolation_level="READ COMMITTED"
        )

        @event.listens_for(engine, "do_connect")
        def _connect(_dialect: Any, _record: Any, given: Any, named: dict[str, Any]) -> Any:
            return Bounded.connect(*given, **(arguments | named))

        return engine

    def write(self, connection: Connection, family: type[Row], columns: Sequence[Column]) -> None:
        """Send columns as binary arrays: one statement, a fifth of the time of one for each row."""
        kinds = (column.type.compile(connection.dialect).split(" COLLATE")[0] for column in TABLES[family].c)
        arrays = ", ".join(f"%b::{kind}[]" for kind in kinds)
        source = f"SELECT * FROM unnest({arrays})"  # noqa: S608 (names of our own columns only)
        connection.exec_driver_sql(_insert(connection, family, source), tuple(map(list, columns)))

    @contextmanager
    def locked(self, connection: Connection) -> Iterator[None]:
        """The lock goes with the transaction."""
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
            yield

    def size_bytes(self, connection: Connection) -> int:
        """By a sample of each table's pages: files keep the room of rows that were removed, for new ones."""
        return sum(self._size(connection, TABLES[family]) for family in FAMILIES)

    def _size(self, connection: Connection, table: Table) -> int:
        """Return what the rows of a table take, with what is kept beside them and in indexes."""
        pages = text("SELECT pg_relation_size(to_regclass(:name)) / current_setting('block_size')::int")
        share = min(1.0, SAMPLE_PAGES / max(1, connection.execute(pages, {"name": table.name}).scalar() or 0))
        quote = connection.dialect.identifier_preparer.quote
        columns = [f"coalesce(pg_column_size({quote(column.name)}), 0)" for column in table.c]
        indexed = [f"coalesce(pg_column_size({quote(column.name)}), 0)" for column in table.primary_key]
        width = " + ".join([*columns, *indexed, str(ROW_OVERHEAD_BYTES)])
        sample = f"TABLESAMPLE SYSTEM ({100 * share})" if share < 1.0 else ""
        query = text(f"SELECT sum({width}) FROM {table.name} {sample}")  # noqa: S608 (our own names only)
        return int((connection.execute(query).scalar() or 0) / share)

    def trouble(self, error: SQLAlchemyError, place: str) -> StoreError:
        """By the class of its SQLSTATE."""
        orig = getattr(error, "orig", None)
        code = getattr(orig, "sqlstate", None)
        if code is None:
            if isinstance(error, DBAPIError) and any(sign in str(orig) for sign in self._REFUSED):
                return _told(place, error, unusable=True)
            return _by_kind(error, place)
        return _told(place, error, unusable=code.startswith(self._UNUSABLE))


class Mariadb:
    """MariaDB, by PyMySQL."""

    _UNUSABLE: ClassVar = {1044, 1045, 1049, 1054, 1064, 1142, 1146, 1264, 1366, 1406, 1698}
    #: Access denied (1044, 1045, 1142, 1698), no such database or table, syntax, data that does not fit.
    _SETTINGS: ClassVar = {
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",  # nothing is cut off in silence
        "max_statement_time": STATEMENT_S,
        "innodb_lock_wait_timeout": LOCK_S,
        "lock_wait_timeout": LOCK_S,
        "idle_transaction_timeout": IDLE_S,
    }

    def engine(self, url: URL) -> Engine:
        """Connect so that nothing is waited for without end."""
        importlib.import_module("pymysql")
        settings = ", ".join(f"{name}={value}" for name, value in self._SETTINGS.items())
        return create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            connect_args={
                "charset": "utf8mb4",
                "connect_timeout": CONNECT_S,
                "read_timeout": CALL_S,
                "write_timeout": CALL_S,
                "init_command": f"SET SESSION {settings}",
            },
        )

    def write(self, connection: Connection, family: type[Row], columns: Sequence[Column]) -> None:
        """Insert: the driver makes statements of many rows, a megabyte each."""
        rows = list(zip(*columns, strict=True))
        connection.exec_driver_sql(_insert(connection, family, _values("%s", family)), rows)

    @contextmanager
    def locked(self, connection: Connection) -> Iterator[None]:
        """A named lock of the server: here a change of the schema commits by itself."""
        name = {"name": f"alb:{connection.engine.url.database}"[:64], "within": LOCK_S}
        with connection.begin():
            if connection.execute(text("SELECT get_lock(:name, :within)"), name).scalar() != 1:
                raise StoreUnavailable(
                    "another broker is changing the schema of the results store; it is waited for"
                )
            try:
                yield
            finally:
                connection.execute(text("SELECT release_lock(:name)"), name)

    def size_bytes(self, connection: Connection) -> int:
        """As the server's statistics tell it, which are made anew: by themselves they lag by a tenth."""
        names = ", ".join(METADATA.tables)
        connection.execute(text(f"ANALYZE NO_WRITE_TO_BINLOG TABLE {names}")).close()
        query = text(
            "SELECT sum(data_length + index_length) FROM information_schema.tables "
            "WHERE table_schema = database() AND table_name LIKE 'alb\\_%'"
        )
        return int(connection.execute(query).scalar() or 0)

    def trouble(self, error: SQLAlchemyError, place: str) -> StoreError:
        """By the server's number."""
        orig = getattr(error, "orig", None)
        code = orig.args[0] if orig is not None and orig.args else None
        if not isinstance(code, int) or not code:
            return _by_kind(error, place)
        return _told(place, error, unusable=code in self._UNUSABLE)


KINDS: Final[dict[str, tuple[str, type[Database]]]] = {
    "sqlite": ("sqlite", Sqlite),
    "postgresql": ("postgresql+psycopg", Postgresql),
    "mariadb": ("mariadb+pymysql", Mariadb),
    "mysql": ("mariadb+pymysql", Mariadb),
}
#: From a URL's scheme to SQLAlchemy's name and what we know of it.


# --- statements ---------------------------------------------------------------------------------------------


def _values(mark: str, family: type[Row]) -> str:
    return f"VALUES ({', '.join([mark] * len(TABLES[family].c))})"


def _insert(connection: Connection, family: type[Row], source: str) -> str:
    """Return the statement that writes rows from a source and settles those that are there already."""
    quote = connection.dialect.identifier_preparer.quote
    table: Table = TABLES[family]
    names = ", ".join(quote(column.name) for column in table.c)
    settle = _on_duplicate if connection.dialect.name in {"mariadb", "mysql"} else _on_conflict
    others = [quote(column.name) for column in table.c if not column.primary_key]
    keys = [quote(column.name) for column in table.primary_key]
    return f"INSERT INTO {table.name} ({names}) {source} {settle(family.merge, table.name, keys, others)}"


def _on_conflict(merge: Merge, table: str, keys: list[str], others: list[str]) -> str:
    if merge is Merge.FIRST:
        return "ON CONFLICT DO NOTHING"
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    longer = f" WHERE length(excluded.data) > length({table}.data)" if merge is Merge.LONGEST else ""
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}{longer}"


def _on_duplicate(merge: Merge, _table: str, keys: list[str], others: list[str]) -> str:
    match merge:
        case Merge.FIRST:
            changes = f"{keys[0]} = {keys[0]}"  # INSERT IGNORE would ignore other errors too
        case Merge.LAST:
            changes = ", ".join(f"{name} = VALUES({name})" for name in others)
        case Merge.LONGEST:
            changes = "data = IF(length(VALUES(data)) > length(data), VALUES(data), data)"
    return f"ON DUPLICATE KEY UPDATE {changes}"


# --- errors -------------------------------------------------------------------------------------------------


def _by_kind(error: SQLAlchemyError, place: str) -> StoreError:
    """Judge an error without a code: what went wrong on the way can go well later, what was asked cannot."""
    asked = (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.NotSupportedError)
    return _told(place, error, unusable=isinstance(error, asked) or not isinstance(error, DBAPIError))


def _told(place: str, error: SQLAlchemyError, *, unusable: bool) -> StoreError:
    orig = getattr(error, "orig", None)
    words = str(orig.args[-1] if orig is not None and orig.args else orig or error)
    why = f"{place}: {' '.join(words.split())}"[:500]
    return StoreUnusable(why) if unusable else StoreUnavailable(why)
