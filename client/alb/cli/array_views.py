"""Arrays in ``alb status``, ``tasks``, ``wait``, ``logs``: how they are, and how their tasks ended."""

from __future__ import annotations

from collections import deque
from concurrent.futures import wait
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from alb.cli import out
from alb.cli.attendance import POLL_S
from alb.cli.progress import state_words
from alb.cli.values import format_clock
from alb_core import codec
from alb_core.errors import TaskGone
from alb_core.messages import StreamName
from alb_core.places import Places
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.cli.attendance import Patience
    from alb_core.arrays import ArrayLine, Stretch, Stride
    from alb_core.messages import ArrayPage, TaskLine

RANGES_SHOWN: Final = 20
#: Of those that ended alike, in `alb status`; --indexes shows all.
LOGS_AT_ONCE: Final = 16
#: Tasks whose output is fetched at once: each may hold some in memory.


def find_array(client: Client, text: str) -> ArrayPage | None:
    """Return an array's first page; None: this is the id of none in the table."""
    if "." in text:
        return None
    try:
        return next(client.array_pages(text))
    except TaskGone:
        return None


def why_absent(client: Client, task_id: str) -> str:
    """Return what an array tells of a task that has no record, as a sentence; empty: nothing."""
    array, _, index = task_id.partition(".")
    page = find_array(client, array) if index else None
    if page is None:
        return ""
    line, position = page.array, Places(codec.decode_array(page.spec).strides).position_of(int(index))
    if position is None or (line.whole and position >= line.total):
        return f"the array has no index {index}"
    if position >= line.cursor and not line.state.terminal:
        made = f"{line.cursor:,} of {line.total:,} are, for an array makes a few thousand at a time"
        return f"it is not made yet: {line.why or made}"
    for page in client.array_pages(array):
        for stretch in page.stretches:
            if stretch.first <= position < stretch.first + stretch.count:
                return f"it ended {_ending(stretch)}, and no more than that is kept"
    return ""


def why_gone(client: Client, named: str, gone: TaskGone) -> str:
    """Return what is known of an id that has no record: what its array tells, or else the leader."""
    hint = "" if "." in named else f"; if it was an array, its tasks are told one by one: {named}.INDEX"
    return why_absent(client, named) or f"{gone.why}{hint}"


def indexes_words(strides: Iterable[Stride]) -> str:
    """Write indexes as people do."""
    return ",".join(map(str, strides))


# --- status -----------------------------------------------------------------------------------------------


def array_form(client: Client, line: ArrayLine) -> dict[str, Any]:
    """Return what ``--json`` tells of an array: its line, and how its tasks ended."""
    found = client.array_stretches(line.id)
    return {
        "array": line,
        "ended": [stretch_form(indexes_words(strides), stretch) for strides, stretch in found],
    }


def stretch_form(indexes: str, stretch: Stretch) -> dict[str, Any]:
    """Return what ``--json`` tells of some tasks that ended alike."""
    return {"indexes": indexes, "state": stretch.state.value, "exit_status": stretch.exit_status}


def show_array(client: Client, page: ArrayPage, *, indexes: bool) -> None:
    """Write how an array is."""
    line, spec = page.array, codec.decode_array(page.spec)
    out.echo(f"array     {line.id}")
    out.echo(f"command   {line.command}")
    out.echo(f"znode     /arrays/{line.id}")
    out.echo(f"state     {line.state.value}{f': {line.why}' if line.why else ''}")
    out.echo(f"user      {line.user}")
    if line.name:
        out.echo(f"name      {line.name}")
    out.echo(f"submitted {format_clock(line.submitted)}")
    if line.finished:
        out.echo(f"finished  {format_clock(line.finished)}")
    bounds = [f"{spec.at_once} at once"] if spec.at_once else []
    bounds += [f"cancelled beyond {spec.max_fails} failures"] if spec.max_fails is not None else []
    out.echo(f"tasks     {state_words(line)}{''.join(f'; {bound}' for bound in bounds)}")
    if indexes:
        for strides, stretch in client.array_stretches(line.id):
            out.echo(f"{indexes_words(strides)}  {_ending(stretch)}")
    elif line.counts.failed or line.counts.cancelled:
        for ending, found in _endings(client, line.id).items():
            some = indexes_words(found[:RANGES_SHOWN])
            out.echo(f"{'ended':9} {ending}: {some}{',…' if len(found) > RANGES_SHOWN else ''}")


def _endings(client: Client, array: str) -> dict[str, list[Stride]]:
    """Return the indexes that did not end well, a few ranges by how they ended."""
    found: dict[str, list[Stride]] = {}
    for strides, stretch in client.array_stretches(array):
        if stretch.state is not TaskState.SUCCEEDED:
            ranges = found.setdefault(_ending(stretch), [])
            ranges += strides[: RANGES_SHOWN + 1 - len(ranges)]
    return found


def _ending(stretch: Stretch) -> str:
    failed = stretch.state is TaskState.FAILED
    return f"{stretch.state.value}{f' with exit status {stretch.exit_status}' if failed else ''}"


def first_failure(client: Client, array: str) -> int:
    """Return the exit status of the first index that did not end well; of cancelled ones only if no other."""
    cancelled = 0
    for _, stretch in client.array_stretches(array):
        if stretch.state is TaskState.CANCELLED:
            cancelled = cancelled or stretch.exit_status
        elif stretch.exit_status:
            return stretch.exit_status
    return cancelled


# --- lists ------------------------------------------------------------------------------------------------


def array_row(line: ArrayLine) -> tuple[str, ...]:
    """Return an array as a row of ``alb tasks``."""
    far = f"[{state_words(line)}] {line.command}"
    return (line.id, line.state.value, "", line.user, "", line.name, far)


def list_array(
    client: Client, page: ArrayPage, states: Sequence[TaskState]
) -> tuple[list[TaskLine], list[tuple[str, Stretch]]]:
    """Return the tasks of an array in these states: those that have not ended, and how the others did."""
    line = page.array
    moving = [each for each in states if not each.terminal]
    live = list(client.tasks(prefix=f"{line.id}.", states=moving)) if moving else []
    live.sort(key=lambda task: int(task.id.partition(".")[2]))
    over: list[tuple[str, Stretch]] = []
    if len(moving) < len(states):
        over = [
            (indexes_words(strides), stretch)
            for strides, stretch in client.array_stretches(line.id)
            if stretch.state in states
        ]
    return live, over


def stretch_row(line: ArrayLine, indexes: str, stretch: Stretch) -> tuple[str, ...]:
    """Return some tasks that ended alike as a row of ``alb tasks``."""
    name = f"{line.id}.{indexes}"
    return (name, stretch.state.value, str(stretch.exit_status), line.user, "", line.name, line.command)


# --- output -----------------------------------------------------------------------------------------------


def show_logs(
    client: Client, array: str, names: Sequence[StreamName], patience: Patience, *, follow: bool
) -> int:
    """Write the output of an array's tasks in their order; returns the exit status.

    Args:
        client: Brings it.
        array: The array.
        names: Which streams.
        patience: Bounds the wait for a cluster that is not there.
        follow: Go on to the array's end; else only of those that have ended.
    """
    lost = 0
    futures = _followed(client, array, patience) if follow else _ended(client, array, patience)
    for future in futures:
        lost += not _write(future, names)
    if lost:
        out.say(f"the output of {lost} tasks is no longer kept; alb status {array} tells how they ended")
    line = client.array_line(array)
    if not line.state.terminal:
        out.say(
            f"array {array} goes on: {line.counts.over} of {line.total} have ended; -f goes on to its end"
        )
    return 0


def _followed(client: Client, array: str, patience: Patience) -> Iterator[TaskFuture | None]:
    """Yield the tasks of an array in their order, as they end; None: nothing is kept of it."""
    future = client.attach_array(array, ordered=True)
    while True:
        patience.check()
        try:
            task = future.next_task(POLL_S)
        except TimeoutError:
            continue
        if task is None:
            return
        if task.state is not TaskState.CANCELLED:
            yield task.future


def _ended(client: Client, array: str, patience: Patience) -> Iterator[TaskFuture | None]:
    """Yield the tasks of an array that have ended, in their order."""
    under_way: deque[TaskFuture] = deque()
    for index in chain(_ended_indexes(client, array), [None]):
        if index is not None:
            under_way.append(client.attach(f"{array}.{index}"))
        while under_way and (index is None or len(under_way) >= LOGS_AT_ONCE):
            first = under_way.popleft()
            while not wait({first}, POLL_S).done:
                patience.check()
            yield None if isinstance(first.exception(), TaskGone) else first


def _ended_indexes(client: Client, array: str) -> Iterator[int]:
    from alb_core.arrays import indexes  # noqa: PLC0415

    for strides, stretch in client.array_stretches(array):
        if stretch.state is not TaskState.CANCELLED:
            yield from indexes(strides)


def _write(future: TaskFuture | None, names: Sequence[StreamName]) -> bool:
    """Write a task's output; tells whether it is kept."""
    if future is None:
        return False
    record = future.record
    if record is None:
        future.result()
        return False
    streams = zip(StreamName, future.captured(), (record.stdout, record.stderr), strict=True)
    for name, captured, kept in streams:
        if name in names:
            out.write_all(out.DESCRIPTORS[name], captured.data if captured else kept.tail())
    return True
