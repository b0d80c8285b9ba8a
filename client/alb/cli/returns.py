"""The files that tasks bring back: with `alb submit`, and later with `alb fetch`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve
from alb.cli.statuses import FAILED_STATUS
from alb.cli.story import Story
from alb.cli.values import format_size
from alb_core.errors import AlbError, InvalidTask
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from alb.api.future import TaskFuture
    from alb_core.tasks import Result

SHOWN_MAX: Final = 10
#: Names in one line; the others are counted.


class Unmatched:
    """Of many tasks those that ended well and left nothing of what was wanted back: said once, at the end."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""  #: What the first of them lacks.

    def look_at(self, record: Result) -> None:
        """Count a task that is one of them."""
        if record.state is TaskState.SUCCEEDED and record.why:
            self._count += 1
            self._first = self._first or record.why

    def tell(self, say: Callable[[str], None]) -> None:
        """Say it, if there are any."""
        if self._count:
            say(f"{self._count} of those that ended well: {self._first}")


def bring_back(future: TaskFuture, directory: str, status: int, *, quiet: bool, title: str = "") -> int:
    """Fetch what a task that was attended brought back, and say what came.

    Args:
        future: The task.
        directory: Where it goes.
        status: What to leave with if all is well.
        quiet: Say nothing of what came.
        title: Which of many tasks it is.

    Returns:
        The exit status: 125 where the command succeeded and its files did not come back.
    """
    record = future.record
    if record is None:
        return status
    if record.state is TaskState.SUCCEEDED and record.why and not quiet:
        out.say(record.why)
    if not (record.returned or record.unreturned):
        return status
    try:
        if record.returned:
            future.fetch(directory)
    except (AlbError, OSError) as error:
        out.say(f"the files of task {future.id} could not be fetched: {error}")
        out.say(f"try again with: alb fetch {future.id}")
        return status or FAILED_STATUS
    if record.returned and not quiet:
        out.say(f"came back{'' if directory == '.' else f' to {directory}'}: {_listed(record)}")
    if record.unreturned:
        out.say(f"{title}: {record.unreturned}" if title else record.unreturned)
        return status or FAILED_STATUS
    return status


def _listed(record: Result) -> str:
    shown = [f"{file.name} ({format_size(file.size_bytes)})" for file in record.returned[:SHOWN_MAX]]
    more = len(record.returned) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--to", "directory", default=".", help="Where they go. Else the current directory.")
@json_option
@cluster_options
def fetch(place: Place, id_: str, *, directory: str, as_json: bool) -> int:
    """Fetch the files that task ID brought back (alb submit --return). A file of the same name is replaced.

    What was fetched before, whole or in part, is not fetched again. The files stay in the cluster as long as
    the result stays in its table.
    """
    story = Story(out.say, time.monotonic)
    with place.client(story.tell) as client:
        task_id = resolve(client, id_)
        result = client.task(task_id).result
        if result is None:
            raise InvalidTask(task_id, "it has not ended, and files come back at the end; see alb wait")
        try:
            client.fetch(task_id, directory)
        except OSError as error:
            out.say(f"the files cannot be written to {directory}: {error.strerror or error}")
            return FAILED_STATUS
        if as_json:
            out.emit_json(
                [{"path": str(Path(directory) / file.name), "file": file} for file in result.returned]
            )
        elif result.returned:
            out.say(f"came back{'' if directory == '.' else f' to {directory}'}: {_listed(result)}")
        else:
            out.say(
                result.unreturned or result.why or "this task brought nothing back; see alb submit --return"
            )
        return FAILED_STATUS if result.unreturned else 0
