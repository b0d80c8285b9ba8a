"""``alb logs``: the output of a task that runs, has ended, or is history; of its last attempt or another."""

from __future__ import annotations

import time
from concurrent.futures import wait as wait_futures
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

import click

from alb.api.result import describe
from alb.cli import out
from alb.cli.attendance import POLL_S, Patience, Pump
from alb.cli.forms import UnfinishedForm, result_form
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve
from alb.cli.story import Story
from alb.core.notices import OutputRestarted
from alb_core.errors import InvalidTask, TaskError
from alb_core.messages import StreamName
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.core.notices import AnyNotice
    from alb_core.tasks import Result, TaskRecord

QUIET_S: Final = 0.7
#: Without --follow, a running task's output is shown until nothing came for so long.
STORED_QUIET_S: Final = 20.0
#: The same while less came than the results store has: a worker looks for the new leader that long at most,
#: and a worker that died takes its attempt along.
NUMBER_MAX: Final = 2**62
OF_ARRAYS: Final = "of an array: alb attach --json; or the options with one of its tasks, ARRAY.INDEX"
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
    type=click.IntRange(0, NUMBER_MAX),
    help="From this byte on; needs --stdout or --stderr.",
)
@click.option(
    "-n", "--lines", type=click.IntRange(0, NUMBER_MAX), help="From the last so many lines of each on."
)
@click.option("--attempt", type=click.IntRange(1, NUMBER_MAX), help="Of this attempt; else of the last one.")
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

    Of an array, the output of all tasks that have ended and of which it is kept, in their order.

    It comes from the worker while it is there, and from the results store afterwards. Exit status: 0, also
    where the task failed (that is said on standard error).
    """
    _check(only, since, lines, attempt, as_json=as_json)
    names = [name for name in StreamName if only in (None, name.name.lower())]
    story = Story(out.say, time.monotonic)

    def hear(notice: AnyNotice) -> None:
        if attempt is None or not isinstance(notice, OutputRestarted):  # of one attempt, none starts again
            story.tell(notice)

    with place.client(hear) as client:
        patience = Patience(client, story, place.connect_timeout)
        task_id = resolve(client, id_)
        if _is_array(client, task_id):
            from alb.cli.array_views import show_logs  # noqa: PLC0415 (most tasks are of none)

            if as_json or (since, lines, attempt) != (None, None, None):
                raise click.UsageError(OF_ARRAYS)
            return show_logs(client, task_id, names, patience, follow=follow)
        record = client.task(task_id)
        if as_json:
            return _logs_json(client, record, patience, story, follow=follow)
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
        live = _Live(client, record, starts, attempt or 0)
        live.show(patience, story, follow=follow)
    return 0


def _is_array(client: Client, named: str) -> bool:
    from alb.cli.array_views import find_array  # noqa: PLC0415

    return find_array(client, named) is not None


def _check(
    only: str | None, since: int | None, lines: int | None, attempt: int | None, *, as_json: bool
) -> None:
    """Refuse options that contradict each other."""
    if since is not None and lines is not None:
        raise click.UsageError("--since and -n exclude each other: each says where to begin")
    if since is not None and only is None:
        raise click.UsageError("--since needs --stdout or --stderr: each stream has its own bytes")
    if as_json and (only, since, lines, attempt) != (None, None, None, None):
        raise click.UsageError("--json shows the whole result: no --stdout, --stderr, --since, -n, --attempt")


def _starts(
    client: Client, record: TaskRecord, names: list[StreamName], *, since: int | None, lines: int | None
) -> dict[StreamName, int]:
    """Return from which byte on each stream is wanted."""
    if lines is None or not record.attempts:
        return dict.fromkeys(names, since or 0)
    shown = record.shown()
    n = shown.n if shown is not None else 0
    try:
        return {
            name: client.last_lines(record.id, name, lines, attempt=n, on_bound=_say_bound) for name in names
        }
    except InvalidTask as error:
        raise click.UsageError(f"-n cannot count back here: {error}; use --since") from error


def _say_bound(looked_bytes: int) -> None:
    out.say(f"these lines begin more than {looked_bytes} bytes before the end; shown from there on")


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
        offset = client.last_lines(record.id, name, lines, attempt=attempt, on_bound=_say_bound)
    _copy_pages(client, record.id, name, attempt=attempt, offset=offset)


def _copy_pages(client: Client, task_id: str, name: StreamName, *, attempt: int, offset: int) -> None:
    for page in client.stored_output(task_id, name, attempt=attempt, offset=offset):
        out.write_all(out.DESCRIPTORS[name], page.data)
        if page.lost:
            reached = page.offset + len(page.data)
            out.say(f"{name.name.lower()}: output lost from byte {reached} ({page.lost})")


class _Live:
    """Copies the output of a task that runs, as it comes.

    Args:
        client: Brings it.
        record: The task as it was when we began.
        starts: From which byte on each stream is wanted.
        attempt: Only of this attempt; 0: of whichever runs.
        wanted: Where it goes, by stream; None: to our own streams.
    """

    def __init__(
        self,
        client: Client,
        record: TaskRecord,
        starts: dict[StreamName, int],
        attempt: int,
        wanted: dict[StreamName, int] | None = None,
    ) -> None:
        self._client = client
        self._id = record.id
        self._starts = starts
        self._attempt = attempt
        shown = record.shown()
        self._newest = shown.n if shown is not None else 0
        self._wanted = {name: out.DESCRIPTORS[name] for name in starts} if wanted is None else wanted

    def show(self, patience: Patience, story: Story, *, follow: bool) -> None:
        """Copy to the end; without `follow` as far as there is something now."""
        stored_bytes = 0 if follow else self._measure()
        stream = self._client.attach_stream(
            self._id,
            stdout=self._starts.get(StreamName.STDOUT, NOT_WANTED),
            stderr=self._starts.get(StreamName.STDERR, NOT_WANTED),
            moves=True,
        )
        pump = Pump(stream, self._wanted, attempt=self._attempt)
        self._read(pump, patience, story, follow=follow, stored_bytes=stored_bytes)
        if pump.failure is not None:
            raise pump.failure
        if pump.broken:
            raise out.ReaderGone
        if self._is_superseded(pump, story) or (
            stream.record is not None and self._is_other(stream.record.attempt)
        ):
            self._show_rest(pump)
        elif stream.done():
            _show_end(stream, self._wanted)

    def _measure(self) -> int:
        """Return how many of the wanted bytes are stored: the worker has them, too, and will send them."""
        if not self._newest:
            return 0
        try:
            ends = {
                name: self._client.last_lines(self._id, name, 0, attempt=self._newest)
                for name in self._starts
            }
        except TaskError:  # no store, or it is away: then quiet alone has to tell
            return 0
        return sum(max(0, end - self._starts[name]) for name, end in ends.items())

    def _read(self, pump: Pump, patience: Patience, story: Story, *, follow: bool, stored_bytes: int) -> None:
        pump.start()
        written, since = -1, time.monotonic()
        while not pump.join(POLL_S) and not pump.broken:
            patience.check()
            if self._is_superseded(pump, story):
                return
            now = time.monotonic()
            placed = story.placed
            if pump.written != written or pump.stuck() or placed is None or story.searching:
                written, since = pump.written, now
                continue
            here = placed.state is TaskState.RUNNING and placed.attempt == self._newest
            behind = here and written < stored_bytes
            if not follow and now - since > (STORED_QUIET_S if behind else QUIET_S):
                if behind:
                    out.say(f"{stored_bytes - written} bytes that are stored did not come; -f waits for them")
                out.say(f"task {placed.id} is {placed.state.value}; -f goes on until its end")
                return

    def _is_superseded(self, pump: Pump, story: Story) -> bool:
        """Tell whether another attempt has begun in place of the one that is wanted."""
        placed = 0 if story.placed is None else story.placed.attempt
        return self._is_other(placed) or self._is_other(pump.stream.attempt)

    def _is_other(self, attempt: int) -> bool:
        return 0 < self._attempt < attempt

    def _show_rest(self, pump: Pump) -> None:
        """Copy what the store has of an attempt that is over, behind what came from its worker."""
        self._client.detach(pump.stream)
        while not pump.join(POLL_S):
            pass  # what has arrived is written first
        if pump.failure is not None:
            raise pump.failure
        for name, start in self._starts.items():
            reached = start + pump.copied[name]
            try:
                _copy_pages(self._client, self._id, name, attempt=self._attempt, offset=reached)
            except InvalidTask as error:
                out.say(f"{name.name.lower()}: what may follow byte {reached} cannot be read: {error}")
        out.say(f"attempt {self._attempt} of task {self._id} is over: another one was begun")


def _logs_json(client: Client, record: TaskRecord, patience: Patience, story: Story, *, follow: bool) -> int:
    """Write the result of a task; without `follow`, of one that has not ended, what there is of it now."""
    if not follow and not record.state.terminal:
        with TemporaryFile() as stdout, TemporaryFile() as stderr:
            wanted = {StreamName.STDOUT: stdout.fileno(), StreamName.STDERR: stderr.fileno()}
            _Live(client, record, dict.fromkeys(wanted, 0), 0, wanted).show(patience, story, follow=False)
            record = client.task(record.id)
            if not record.state.terminal:
                written = [_whole(file) for file in (stdout, stderr)]
                out.emit_json(UnfinishedForm.of(record, *written))
                return 0
    future = client.attach(record.id)
    while not future.done():
        patience.check()
        wait_futures({future}, POLL_S)
    out.emit_json(result_form(future))
    return 0


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


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
    known = {missing.stream for missing in future.missing}
    for stream, kept in zip(StreamName, (record.stdout, record.stderr), strict=True):
        if kept.truncated and stream in wanted and stream not in known:
            why = "the command wrote more than its worker keeps of one stream, or had room for"
            out.say(f"{stream.name.lower()}: output lost from byte {kept.size_bytes} ({why})")
