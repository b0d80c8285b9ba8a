"""``alb logs``: the output of a task that runs, has ended, or is history; of its last attempt or another."""

from __future__ import annotations

import time
from concurrent.futures import wait as wait_futures
from typing import TYPE_CHECKING, Final

import click

from alb.api.result import describe
from alb.cli import out
from alb.cli.attendance import POLL_S, Patience, Pump
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option, resolve
from alb.cli.story import Story
from alb_core.errors import InvalidTask
from alb_core.messages import StreamName

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb_core.tasks import Result, TaskRecord

QUIET_S: Final = 0.7
#: Without --follow, a running task's output is shown until nothing came for so long.
NOT_WANTED: Final = 2**62
#: An offset behind every stream: nothing is sent of a stream that is read from here on.


@click.command()
@click.argument("id_", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Standard output only.")
@click.option("--stderr", "only", flag_value="stderr", help="Standard error only.")
@click.option(
    "--since",
    "--offset",
    "since",
    type=click.IntRange(min=0),
    help="From this byte on; needs --stdout or --stderr.",
)
@click.option("-n", "--lines", type=click.IntRange(min=0), help="From the last so many lines of each on.")
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt; else of the last one.")
@json_option
@cluster_options
def logs(  # noqa: PLR0913 (one parameter an option)
    place: Place,
    id_: str,
    *,
    follow: bool,
    only: str | None,
    since: int | None,
    lines: int | None,
    attempt: int | None,
    as_json: bool,
) -> int:
    """Show the output of task ID: of a running one what there is, with -f until its end.

    It comes from the worker while it is there, and from the results store afterwards. Exit status: 0, also
    where the task failed (that is said on standard error).
    """
    if since is not None and lines is not None:
        raise click.UsageError("--since and -n exclude each other: each says where to begin")
    if since is not None and only is None:
        raise click.UsageError("--since needs --stdout or --stderr: each stream has its own bytes")
    names = [name for name in StreamName if only in (None, name.name.lower())]
    story = Story(out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        task_id = resolve(client, id_)
        if as_json:
            return _logs_json(client, task_id, patience)
        record = client.task(task_id)
        newest = record.attempts[-1].n if record.attempts else 0
        earlier = attempt is not None and attempt < newest
        if attempt is not None and attempt > newest:
            raise click.UsageError(f"there is no attempt {attempt}: the task had {newest} so far")
        if earlier or record.state.terminal:
            names = _show_stored(client, record, names, since=since, lines=lines, attempt=attempt)
            if not names:
                if record.result is not None:
                    out.say(f"task {record.id}: {describe(record.result)}")
                return 0
        starts = _starts(client, record, names, since=since, lines=lines)
        _show_live(client, task_id, starts, patience, story, follow=follow)
    return 0


def _starts(
    client: Client, record: TaskRecord, names: list[StreamName], *, since: int | None, lines: int | None
) -> dict[StreamName, int]:
    """Return from which byte on each stream is wanted."""
    if lines is None or not record.attempts:
        return dict.fromkeys(names, since or 0)
    n = record.attempts[-1].n
    try:
        return {name: client.last_lines(record.id, name, lines, attempt=n) for name in names}
    except InvalidTask as error:
        raise click.UsageError(f"-n cannot count back here: {error}; use --since") from error


def _show_stored(  # noqa: PLR0913 (as above)
    client: Client,
    record: TaskRecord,
    names: list[StreamName],
    *,
    since: int | None,
    lines: int | None,
    attempt: int | None,
) -> list[StreamName]:
    """Copy what the table or the results store has of an attempt that is over.

    Returns:
        The streams of which only a worker can have more: there is no results store.
    """
    elsewhere = []
    for name in names:
        try:
            _copy_stored(client, record, name, since=since, lines=lines, attempt=attempt or 0)
        except InvalidTask:
            if attempt is not None and attempt < record.attempts[-1].n:
                raise
            elsewhere.append(name)
    return elsewhere


def _copy_stored(  # noqa: PLR0913 (as above)
    client: Client,
    record: TaskRecord,
    name: StreamName,
    *,
    since: int | None,
    lines: int | None,
    attempt: int,
) -> None:
    offset = since or 0
    if lines is not None:
        offset = client.last_lines(record.id, name, lines, attempt=attempt)
    for page in client.stored_output(record.id, name, attempt=attempt, offset=offset):
        out.write_all(out.DESCRIPTORS[name], page.data)
        if page.lost:
            reached = page.offset + len(page.data)
            out.say(f"{name.name.lower()}: output lost from byte {reached} ({page.lost})")


def _show_live(  # noqa: PLR0913 (what a wait at the terminal needs)
    client: Client,
    task_id: str,
    starts: dict[StreamName, int],
    patience: Patience,
    story: Story,
    *,
    follow: bool,
) -> None:
    """Copy output as it comes."""
    stream = client.attach_stream(
        task_id,
        stdout=starts.get(StreamName.STDOUT, NOT_WANTED),
        stderr=starts.get(StreamName.STDERR, NOT_WANTED),
        moves=True,
    )
    wanted = {name: out.DESCRIPTORS[name] for name in starts}
    pump = Pump(stream, wanted)
    _read(pump, patience, story, follow=follow)
    if pump.broken:
        raise out.ReaderGone
    if stream.done():
        _show_end(stream, wanted)


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
