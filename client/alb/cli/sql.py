"""``alb sql``: the results store's own shell, or one query without it."""

from __future__ import annotations

import csv
import io
import os
import shutil
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from alb.cli import out
from alb.cli.statuses import FAILED_STATUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

CONNECT_S: Final = 5

_SHELLS: Final = {"sqlite": "sqlite3", "postgresql": "psql", "mariadb": "mariadb", "mysql": "mariadb"}
_DRIVERS: Final = {
    "sqlite": ("sqlite", {"timeout": CONNECT_S}),
    "postgresql": (
        "postgresql+psycopg",
        {"connect_timeout": CONNECT_S, "options": "-c default_transaction_read_only=on"},
    ),
    "mariadb": (
        "mariadb+pymysql",
        {"connect_timeout": CONNECT_S, "init_command": "SET SESSION TRANSACTION READ ONLY"},
    ),
}
#: By kind of database: SQLAlchemy's name of the driver, and how it connects for reading only.


@click.command()
@click.argument("query", required=False)
@click.option("--store", envvar="ALB_STORE", help="URL of the results store. Else $ALB_STORE.")
@click.option("--url", "only_url", is_flag=True, help="Print the URL.")
@click.option("--csv", "as_csv", is_flag=True, help="Write what the query finds as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Write what the query finds, or the URL, as JSON.")
def sql(query: str | None, store: str | None, *, only_url: bool, as_csv: bool, as_json: bool) -> int:
    """Open the results store's own shell on it: sqlite3, psql or mariadb. With QUERY: run that, read-only.

    A query needs no shell on this machine. docs/results.md lists tables and views.
    """
    if not store:
        raise click.UsageError("which store? use --store or set ALB_STORE to what the brokers have")
    if only_url or (as_json and query is None):
        if as_json:
            out.emit_json({"url": store})
        else:
            out.echo(store)
        return 0
    kind = store.partition("://")[0].partition("+")[0]
    if kind not in _SHELLS:
        raise click.UsageError(f"{kind[:40]!r} has no SQL; its own tools can read it (--url tells where)")
    if query is None:
        _open_shell(store, _SHELLS[kind])
    return _run(query, store, "mariadb" if kind == "mysql" else kind, as_csv=as_csv, as_json=as_json)


# --- a query ----------------------------------------------------------------------------------------------


def _run(query: str, store: str, kind: str, *, as_csv: bool, as_json: bool) -> int:
    from sqlalchemy import text  # noqa: PLC0415 (slow to import)
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        engine = _engine(store, kind)
        with engine.connect() as connection:
            found = connection.execute(text(query.replace(":", "\\:")))  # nothing in it is a parameter
            if not found.returns_rows:
                raise click.UsageError("this is no query: it finds nothing; SELECT does")
            columns = tuple(found.keys())
            rows = [tuple(row) for row in found]
    except SQLAlchemyError as error:
        orig = getattr(error, "orig", None)
        words = str(orig.args[-1] if orig is not None and orig.args else orig or error)
        out.say(f"the results store refused: {' '.join(words.split())[:500]}")
        return FAILED_STATUS
    _show(columns, rows, as_csv=as_csv, as_json=as_json)
    return 0


def _engine(store: str, kind: str) -> Engine:
    """Return how to connect for reading only; raises UsageError where that is not possible from here."""
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    driver, arguments = _DRIVERS[kind]
    try:
        url = make_url(store).set(drivername=driver)
    except (SQLAlchemyError, ValueError):  # its text may hold the password
        raise click.UsageError("the URL of the store cannot be read; check its host, port and path") from None
    if kind == "sqlite":
        url = url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the driver is not installed (no module {error.name}): pip install 'alb[{kind}]'"
        ) from None


def _show(columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        out.emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows(rows)
        out.write_all(1, text.getvalue().encode(errors="surrogateescape"))
    else:
        cells = [tuple("" if value is None else str(value) for value in row) for row in rows]
        out.emit_table(columns, cells, empty="nothing was found")


# --- the shell --------------------------------------------------------------------------------------------


def _open_shell(store: str, shell: str) -> NoReturn:
    program = shutil.which(shell)
    if program is None:
        raise click.UsageError(
            f"there is no {shell} on this machine: give a query (alb sql 'SELECT …'); --url tells where the "
            "store is"
        )
    arguments = [shell, *_arguments(shell, store, store.partition("://")[2])]
    os.execv(program, arguments)  # noqa: S606 (it takes our place and terminal)


def _arguments(shell: str, url: str, rest: str) -> list[str]:
    """Return the arguments with which a shell opens a store; what is secret goes by the environment."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415

    if shell == "sqlite3":
        return ["-readonly", "-header", "-column", "/" + rest.lstrip("/") if rest.startswith("/") else rest]
    parts = urlsplit(url)
    if shell == "psql":
        os.environ["PGPASSWORD"] = unquote(parts.password or "")
        login = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return [f"postgresql://{login}{parts.hostname or ''}{port}{parts.path}"]
    os.environ["MYSQL_PWD"] = unquote(parts.password or "")
    arguments = ["--host", parts.hostname or "localhost", "--user", unquote(parts.username or "root")]
    return [*arguments, *(["--port", str(parts.port)] if parts.port else []), parts.path.strip("/")]
