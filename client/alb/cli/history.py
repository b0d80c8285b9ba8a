"""``alb history``: what the results store keeps of finished tasks."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import AT_MOST, format_clock, format_duration, parse_duration
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alb_core.rows import FinishedTask

LIMIT: Final = 100
#: Tasks shown without --limit.


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
@click.option("--limit", type=AT_MOST, default=LIMIT, show_default=True)
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
    ended = format_clock(task.finished)
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
