"""``alb attach``: come back to a task or an array as if never left; ``alb retry``: run it again."""

from __future__ import annotations

import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.array import ArrayView, Wanted, open_client
from alb.cli.array_views import find_array
from alb.cli.attendance import POLL_S, Attendance, Patience, Pump
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.outputs import tell_missing
from alb.cli.progress import Progress
from alb.cli.short_ids import resolve
from alb.cli.story import Story
from alb_core.arrays import ENDED_BADLY
from alb_core.errors import TaskError
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from alb.api.array import ArrayFuture
    from alb.api.client import Client

NOTHING_STATUS: Final = 0
#: There is nothing to be run again.

keep_order_option = click.option(
    "--keep-order", is_flag=True, help="Of an array, output in its order, not in that of ending."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")


@click.command()
@click.argument("id_", metavar="ID")
@keep_order_option
@quiet_option
@json_option
@cluster_options
def attach(place: Place, id_: str, *, keep_order: bool, quiet: bool, as_json: bool) -> int:
    """Follow the task or array ID to its end: output, and exit status, as alb submit has them.

    Of an array's tasks that have ended what is kept is shown, too. Two Ctrl-C leave; nothing is cancelled.
    """
    wanted = _wanted(keep_order=keep_order, quiet=quiet, as_json=as_json)
    progress = Progress(wanted=not quiet)
    with open_client(place, out.silence if quiet else progress.say) as (client, patience):
        found = resolve(client, id_)
        if find_array(client, found) is not None:
            future = client.attach_array(found, ordered=keep_order)
            say = out.silence if quiet else progress.say
            return ArrayView(future, wanted, progress, say, joined=True).run(client, patience)
    return _attach_task(place, found, quiet=quiet, as_json=as_json)


def _wanted(*, keep_order: bool, quiet: bool, as_json: bool) -> Wanted:
    return Wanted(
        template=(),
        indexes=None,
        inputs=None,
        lines=None,
        array_id=None,
        at_once=None,
        max_fails=None,
        keep_order=keep_order,
        detach=False,
        as_json=as_json,
        quiet=quiet,
        return_dir=".",
    )


def _attach_task(place: Place, task_id: str, *, quiet: bool, as_json: bool) -> int:
    from alb.cli.forms import result_form  # noqa: PLC0415

    story = Story(out.silence if quiet else out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        if as_json:
            future = client.attach(task_id)
            status = Attendance(client, future, patience, story, joined=True).attend()
            if future.done():
                out.emit_json(result_form(future))
            return status
        stream = client.attach_stream(task_id, moves=True)
        pump = Pump(stream, out.DESCRIPTORS)
        status = Attendance(client, stream, patience, story, pump, joined=True).attend()
        tell_missing(stream)
        return status


@click.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--failed", is_flag=True, help="What failed, broke a limit, or was lost (of arrays the default)."
)
@click.option("--cancelled", is_flag=True, help="What was cancelled.")
@click.option("--attach", "stay", is_flag=True, help="Stay with it, as alb attach does.")
@keep_order_option
@quiet_option
@json_option
@cluster_options
def retry(  # noqa: PLR0913 (one parameter an option)
    place: Place,
    id_: str,
    *,
    failed: bool,
    cancelled: bool,
    stay: bool,
    keep_order: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run ID again, and print the new id: a task with the same specification, or of an array what failed.

    The new array has exactly the indexes that failed (with --cancelled, those that were cancelled), with the
    same specification and their inputs.
    """
    states = {TaskState.CANCELLED} if cancelled else set()
    if failed or not cancelled:
        states |= ENDED_BADLY
    story = Story(out.silence if quiet else out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        found = resolve(client, id_)
        page = find_array(client, found)
        if page is None:
            chosen = states if failed or cancelled else set(TaskState)
            again = client.task(found).state in chosen
            new = [_retry_task(client, found, patience, story)] if again else []
        else:
            futures = client.retry_array(found, states=states)
            new = [_given(client, future, patience) for future in futures]
    if not new:
        whose = f"no task of array {found}" if page is not None else f"task {found} has not"
        out.say(f"{whose} ended so: there is nothing to run again")
    with out.told_anyway(f"runs again as {', '.join(new)}"):
        if as_json and not stay:
            out.emit_json([{"id": each} for each in new])
        elif not stay:
            for each in new:
                out.echo(each)
    if not stay:
        return NOTHING_STATUS
    if not quiet:
        out.say(f"runs again as {', '.join(new)}")
    arguments = {"keep_order": keep_order, "quiet": quiet, "as_json": as_json}
    statuses = [_stay(place, each, array=page is not None, **arguments) for each in new]
    return next((status for status in statuses if status), 0)


def _retry_task(client: Client, task_id: str, patience: Patience, story: Story) -> str:
    """Submit a task's specification again; returns the new id once it is accepted."""
    future = client.retry(task_id)
    while story.placed is None and not future.done():
        patience.check()
        wait({future}, POLL_S)
    if future.done() and future.record is None:
        future.result()
    client.detach(future)
    return future.id


def _given(client: Client, future: ArrayFuture, patience: Patience) -> str:
    """Wait until an array is in the table with its inputs, and leave it; returns its id."""
    while not future.wait_given(POLL_S):
        patience.check()
    if future.done():
        future.result()
    if future.refused:
        raise TaskError(future.id, f"not all inputs were taken: {future.refused}")
    client.detach(future)
    return future.id


def _stay(  # noqa: PLR0913 (what is to be seen)
    place: Place, new: str, *, array: bool, keep_order: bool, quiet: bool, as_json: bool
) -> int:
    """Follow what runs again."""
    if not array:
        return _attach_task(place, new, quiet=quiet, as_json=as_json)
    progress = Progress(wanted=not quiet)
    say = out.silence if quiet else progress.say
    wanted = _wanted(keep_order=keep_order, quiet=quiet, as_json=as_json)
    with open_client(place, say) as (client, patience):
        future = client.attach_array(new, ordered=keep_order)
        return ArrayView(future, wanted, progress, say).run(client, patience)
