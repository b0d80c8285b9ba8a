"""``alb wait``, ``alb logs``, ``alb cancel``: verbs about tasks that were submitted before."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_futures
from typing import TYPE_CHECKING, Final

import click

from alb.api.result import describe
from alb.cli import out
from alb.cli.attendance import POLL_S, Patience, Pump, conclude
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option, resolve
from alb.cli.story import Story
from alb.cli.values import DURATION
from alb_core.messages import StreamName
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb_core.tasks import Result

TIMED_OUT_STATUS: Final = 124
QUIET_S: Final = 0.7
#: Without --follow, a running task's output is shown until nothing came for so long.
NOT_WANTED: Final = 2**62
#: An offset behind every stream: nothing is sent of a stream that is read from here on.


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--any", "any_", is_flag=True, help="Until the first of them has ended.")
@click.option("--timeout", type=DURATION, help="Give up after so long, with exit status 124.")
@json_option
@cluster_options
def wait(place: Place, ids: Sequence[str], *, any_: bool, timeout: float | None, as_json: bool) -> int:
    """Wait until the tasks IDS have ended. Those that have left the table are asked of the results store.

    Exit status: that of the task; of several, the first that is not 0 (--any: of the one that ended first).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    story = Story(out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        futures = [client.attach(resolve(client, text), output=False) for text in dict.fromkeys(ids)]
        pending = set(futures)
        while pending and not (any_ and len(pending) < len(futures)):
            patience.check()
            if deadline is not None and time.monotonic() > deadline:
                out.say(f"{len(pending)} of {len(futures)} tasks have not ended")
                return TIMED_OUT_STATUS
            pending -= wait_futures(pending, POLL_S, FIRST_COMPLETED).done
        ended = [future for future in futures if future not in pending]
        if as_json:
            out.emit_json([result_form(future) for future in ended])
        statuses = [conclude(future) for future in ended]
        return next((status for status in statuses if status), 0)


@click.command()
@click.argument("id_")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Standard output only.")
@click.option("--stderr", "only", flag_value="stderr", help="Standard error only.")
@click.option("--offset", type=click.IntRange(min=0), help="From this byte on; needs --stdout or --stderr.")
@json_option
@cluster_options
def logs(  # noqa: PLR0913 (one parameter an option)
    place: Place, id_: str, *, follow: bool, only: str | None, offset: int | None, as_json: bool
) -> int:
    """Show the output of task ID: of a running one what there is, with -f until its end.

    Exit status: 0, also where the task failed (that is said on standard error).
    """
    if offset is not None and only is None:
        raise click.UsageError("--offset needs --stdout or --stderr: each stream has its own bytes")
    story = Story(out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        task_id = resolve(client, id_)
        if as_json:
            return _logs_json(client, task_id, patience)
        start = {
            name: offset or 0 if only in (None, name.name.lower()) else NOT_WANTED for name in StreamName
        }
        stream = client.attach_stream(
            task_id, stdout=start[StreamName.STDOUT], stderr=start[StreamName.STDERR], moves=True
        )
        wanted = {name: out.DESCRIPTORS[name] for name in StreamName if start[name] != NOT_WANTED}
        pump = Pump(stream, wanted)
        _read(pump, patience, story, follow=follow)
        if pump.broken:
            raise out.ReaderGone
        if stream.done():
            _show_end(stream, wanted)
        return 0


def _logs_json(client: Client, task_id: str, patience: Patience) -> int:
    future = client.attach(task_id)
    while not future.done():
        patience.check()
        wait_futures({future}, POLL_S)
    out.emit_json(result_form(future))
    return 0


def _read(pump: Pump, patience: Patience, story: Story, *, follow: bool) -> None:
    """Copy the output to its end, or (without `follow`) of a running task until nothing more comes."""
    pump.start()
    written, since = -1, time.monotonic()
    while not pump.join(POLL_S) and not pump.broken:
        patience.check()
        now = time.monotonic()
        if pump.written != written or pump.stuck() or story.placed is None:
            written, since = pump.written, now
        elif not follow and now - since > QUIET_S:
            out.say(f"task {story.placed.id} is {story.placed.state.value}; -f goes on until its end")
            return


def _show_end(future: TaskFuture, wanted: dict[StreamName, int]) -> None:
    """Say how the task ended; raises the future's error where it has no result."""
    if future.record is None:
        future.result()
        return
    show_lost(future, future.record, wanted)
    out.say(f"task {future.id}: {describe(future.record)}")


def show_lost(future: TaskFuture, record: Result, wanted: dict[StreamName, int]) -> None:
    """Say what output is gone, and show what the table kept of its end."""
    for missing in future.missing:
        if missing.stream not in wanted:
            continue
        kept = record.stdout if missing.stream is StreamName.STDOUT else record.stderr
        tail = kept.tail()
        unread = tail[max(0, missing.offset - (kept.size_bytes - len(tail))) :]
        out.say(f"{missing.stream.name.lower()}: output lost from byte {missing.offset} ({missing.why})")
        if unread:
            out.say(f"the last {len(unread)} of its {kept.size_bytes} bytes were kept:")
            out.write_all(wanted[missing.stream], unread)


@click.command()
@click.argument("ids", nargs=-1, required=True)
@json_option
@cluster_options
def cancel(place: Place, ids: Sequence[str], *, as_json: bool) -> int:
    """End the tasks IDS. A task that has ended stays as it is."""
    with place.client() as client:
        chosen = [resolve(client, text) for text in dict.fromkeys(ids)]
        for task_id in chosen:
            client.cancel(task_id)
        if as_json:
            out.emit_json([{"id": task_id, "state": _state(client, task_id).value} for task_id in chosen])
        else:
            for task_id in chosen:
                state = _state(client, task_id)
                word = "cancellation noted" if not state.terminal else state.value
                out.echo(f"{task_id} {word}")
    return 0


def _state(client: Client, task_id: str) -> TaskState:
    return client.task(task_id).state
