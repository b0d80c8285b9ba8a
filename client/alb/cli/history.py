"""``alb history`` and ``alb sql``: what the results store keeps of finished tasks."""

from __future__ import annotations

import csv
import io
import os
import shutil
import time
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import format_duration, parse_duration
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alb_core.rows import FinishedTask

LIMIT: Final = 100
#: Tasks shown without --limit.

_SHELLS: Final = {"sqlite": "sqlite3", "postgresql": "psql", "mariadb": "mariadb", "mysql": "mariadb"}


class Moment(click.ParamType["float"]):
    """A moment: a date, or how long ago; in seconds since 1970, or below 0 for so long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail with what is wrong."""
        try:
            return -parse_duration(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            self.fail(f"{value!r} is no moment; write 24h (ago) or 2026-11-22T10:00", param, ctx)


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in TaskState if state.terminal], case_sensitive=False),
    help="Only these; may be repeated.",
)
@click.option("--worker", default="", help="Only those whose result this worker delivered.")
@click.option("-J", "--name", default="", help="Only those of this name.")
@click.option("--since", type=Moment(), help="Only those that ended since: 24h (ago) or 2026-11-22T10:00.")
@click.option("--until", type=Moment(), help="Only those that ended before.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True)
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV with all columns.")
@json_option
@cluster_options
def history(  # noqa: PLR0913, PLR0917 (one parameter an option)
    place: Place,
    states: Sequence[str],
    worker: str,
    name: str,
    since: float | None,
    until: float | None,
    limit: int,
    *,
    as_csv: bool,
    as_json: bool,
) -> int:
    """List finished tasks from the results store, the newest first. With --user only that user's.

    The store keeps them after they left the table. It has a task moments after its end; those that it has
    not yet are in `alb tasks --all`.
    """
    with place.client() as client:
        now = client.cluster().now if (since or until) is not None else 0.0
        found = client.history(
            user=place.user or "",
            states=states,
            worker=worker,
            name=name,
            since=_absolute(since, now),
            until=_absolute(until, now),
        )
        tasks = list(islice(found, limit + 1))
    more, tasks = len(tasks) > limit, tasks[:limit]
    if as_json:
        out.emit_json(tasks)
    elif as_csv:
        _emit_csv(tasks)
    else:
        columns = ("ID", "STATE", "EXIT", "USER", "WORKER", "ENDED", "RAN", "NAME", "COMMAND")
        out.emit_table(columns, map(_row, tasks), empty="the results store has no such task")
    if more:
        out.say(f"only the newest {limit} are shown; --limit shows more")
    return 0


def _absolute(moment: float | None, now: float) -> float:
    if moment is None:
        return 0.0
    return max(now + moment, 1.0) if moment <= 0 else moment


def _row(task: FinishedTask) -> tuple[str, ...]:
    status = "" if task.exit_code is None else str(task.exit_code)
    ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(task.finished))
    return (
        task.task,
        task.state,
        status,
        task.user,
        task.worker,
        ended,
        format_duration(task.wall_s),
        task.name,
        task.command[:120],
    )


def _emit_csv(tasks: Iterable[FinishedTask]) -> None:
    from alb_core.rows import FinishedTask  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(FinishedTask.__struct_fields__)
    writer.writerows(msgspec.structs.astuple(task) for task in tasks)
    out.write_all(1, text.getvalue().encode(errors="surrogateescape"))


@click.command()  # noqa: RET503 (the last line does not return)
@click.option("--store", envvar="ALB_STORE", help="URL of the results store. Else $ALB_STORE.")
@click.option("--url", "only_url", is_flag=True, help="Print the URL.")
@click.option("--json", "as_json", is_flag=True, help="Write the URL as JSON.")
def sql(store: str | None, *, only_url: bool, as_json: bool) -> int:
    """Open the results store's own shell on it: sqlite3, psql or mariadb.

    docs/results.md lists tables and views.
    """
    if not store:
        raise click.UsageError("which store? use --store or set ALB_STORE to what the brokers have")
    if as_json:
        out.emit_json({"url": store})
        return 0
    if only_url:
        out.echo(store)
        return 0
    scheme, _, rest = store.partition("://")
    shell = _SHELLS.get(scheme.partition("+")[0])
    if shell is None:
        raise click.UsageError(f"{scheme[:40]!r} has no SQL; its own tools can read it (--url tells where)")
    program = shutil.which(shell)
    if program is None:
        raise click.UsageError(f"there is no {shell} on this machine; --url prints where the store is")
    arguments = [shell, *_arguments(shell, store, rest)]
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
