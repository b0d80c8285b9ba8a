"""Many tasks as one array, in front of a terminal: outputs in one piece each, one line of status, a summary.

Output comes when its task has ended, as they end or in their order. Whoever reads it sets the pace.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alb.api.arrays import split_inputs
from alb.cli import out
from alb.cli.attendance import POLL_S, SECOND_INTERRUPT_S, Patience, caught
from alb.cli.forms import IndexForm, LineForm, ResultForm, result_form
from alb.cli.lines import Lines
from alb.cli.outputs import write_outputs
from alb.cli.progress import Progress
from alb.cli.returns import Unmatched, bring_back
from alb.cli.statuses import FAILED_STATUS, INTERRUPTED_STATUS, READER_GONE_STATUS
from alb.cli.story import Story
from alb.cli.workflow import resolved
from alb.core.notices import AnyNotice, TaskPlaced
from alb_core.kinds import COMMAND_KIND
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from alb.api.array import ArrayFuture, ArrayTask
    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.api.options import Command
    from alb.cli.options import Place

CAPTURE_BYTES: Final = 256 * 1024
#: Kept of each stream of each task until it is written; beyond, the end, and `alb logs` has all.
CLOSING_S: Final = 5.0
#: Whoever leaves waits so long until the array knows that there are no more inputs.
SHELL_LINE: Final = ("/bin/sh", "-c", "{}")
#: The command whose input is a shell command line of its own.


class Wanted(NamedTuple):
    """Which tasks an array is to have, and what is to be seen of them."""

    template: tuple[str, ...]
    #: The command: words of a program, one word for a shell, or nothing: each input is a command line.
    indexes: str | None
    inputs: Sequence[str] | None
    lines: Lines | None
    #: One of the three says which tasks there are.
    array_id: str | None
    at_once: int | None
    max_fails: int | None
    keep_order: bool
    detach: bool
    as_json: bool
    quiet: bool
    return_dir: str

    def command(self, options: Mapping[str, Any]) -> Command:
        """Return the command as a client takes it; for a program that comes along, its arguments."""
        if options.get("binary"):
            return self.template
        if not self.template:
            kind = options.get("kind", COMMAND_KIND)
            return SHELL_LINE if kind == COMMAND_KIND else (kind,)
        return self.template[0] if len(self.template) == 1 else self.template


def run_array(place: Place, wanted: Wanted, options: dict[str, Any]) -> int:
    """Submit an array, and stay with it; returns the exit status."""
    progress = Progress(wanted=not wanted.quiet and not wanted.detach)
    say = out.silence if wanted.quiet else progress.say
    lines = wanted.lines
    batches: Iterator[Sequence[str]] | None = None
    first: Sequence[str] | None = ()
    if wanted.inputs is not None:
        first, batches = split_inputs(wanted.inputs)
    if lines is not None:
        batches = lines.batches()
        first = next(batches, None)  # an interrupt before the first line ends us: there is nothing yet
        if first is None:
            return ArrayView(None, wanted, progress, say).report_none()
    with open_client(place, say) as (client, patience):
        options["after"] = resolved(client, options["after"])
        future = client.feed_array(
            wanted.command(options),
            indexes=wanted.indexes,
            first=first or (),
            batches=batches,
            at_once=wanted.at_once,
            max_fails=wanted.max_fails,
            results=not wanted.detach,
            ordered=wanted.keep_order,
            id=wanted.array_id,
            **options,
        )
        view = ArrayView(future, wanted, progress, say)
        return view.leave_running(client, patience) if wanted.detach else view.run(client, patience)


@contextmanager
def open_client(place: Place, say: Callable[[str], None]) -> Iterator[tuple[Client, Patience]]:
    """Open a client for many tasks, for the time of a block; it tells the person who leads."""
    story = Story(say, time.monotonic)

    def hear(notice: AnyNotice) -> None:
        if not isinstance(notice, TaskPlaced):  # the story is of one task; here are many
            story.tell(notice)

    with place.client(hear, capture_bytes=CAPTURE_BYTES) as client:
        yield client, Patience(client, story, place.connect_timeout)


class ArrayView:
    """Shows an array until it has ended, or the person leaves.

    Args:
        future: The array; None: there is none, for there was no line.
        wanted: What is to be seen.
        progress: Tells how far it is.
        say: Takes what a person should hear.
        joined: Somebody submitted it before: two interrupts leave it alone.
    """

    def __init__(
        self,
        future: ArrayFuture | None,
        wanted: Wanted,
        progress: Progress,
        say: Callable[[str], None],
        *,
        joined: bool = False,
    ) -> None:
        self._future: Final = future
        self._wanted: Final = wanted
        self._progress: Final = progress
        self._say: Final = say
        self._joined: Final = joined
        self._counts: Final[Counter[str]] = Counter()
        self._unmatched: Final = Unmatched()
        self._failed: tuple[int, int] | None = None  #: The first number that failed, and its status.
        self._lost = 0  #: Tasks whose output is no longer kept.
        self._signals: Final[list[int]] = []
        self._interrupted_at = -SECOND_INTERRUPT_S - 1
        self._cancelling = False
        self._broken = False  #: Nobody reads our output any more.
        self._refused_told = False

    def report_none(self) -> int:
        """Say that there was no line, or why none could be read."""
        self._look_at_lines()
        self._say(self._summary())
        return 0 if self._failed is None else self._failed[1]

    def leave_running(self, client: Client, patience: Patience) -> int:
        """Wait until the array is in the table with all its inputs, and print its id."""
        future = self._array
        told = False
        while not future.wait_given(POLL_S):
            patience.check()
            if future.accepted and not told and self._wanted.lines is not None:
                told = True
                self._say(f"array {future.id} is accepted; reading its lines to their end")
        if future.done():
            future.result()
        self._look_at_lines()
        self._look_at_inputs()
        client.detach(future)
        with out.told_anyway(f"array {future.id} was accepted, and goes on"):
            if self._wanted.as_json:
                out.emit_json({"id": future.id})
            else:
                out.echo(future.id)
        return 0 if self._failed is None else self._failed[1]

    @property
    def _array(self) -> ArrayFuture:
        assert self._future is not None  # noqa: S101 (only `report_none` goes without)
        return self._future

    def run(self, client: Client, patience: Patience) -> int:
        """Show everything; returns the exit status: that of the first one that failed, else 0."""
        try:
            with caught(self._signals.append):
                left = self._watch(client, patience)
                if left is not None:
                    return left
        except OSError as error:  # our output has no room: no reason to throw away what runs
            where = f": {error.filename}" if error.filename else ""
            self._progress.close()
            out.say(f"leaving: {error.strerror or error}{where}; {self._goes_on()}")
            return self._leave(FAILED_STATUS)
        finally:
            self._progress.close()
            if self._wanted.lines is not None:
                self._wanted.lines.stopped = True
        return self._conclude()

    def _watch(self, client: Client, patience: Patience) -> int | None:
        """Show tasks as they end; returns the exit status where the person leaves before."""
        while True:
            patience.check()
            left = self._on_signals(client)
            if left is not None:
                return self._leave(left)
            self._look_at_lines()
            if self._wanted.max_fails is None:  # else only its end tells whether that was the reason
                self._look_at_inputs()
            try:
                task = self._array.next_task(POLL_S)
                if task is None:
                    return None
                self._ended(task)
            except TimeoutError:
                pass
            except out.ReaderGone:
                self._on_broken_pipe(client)
            self._progress.update(self._array.line)

    # --- lines ----------------------------------------------------------------------------------------------

    def _look_at_lines(self) -> None:
        """Tell of lines that can be no input, and of those that cannot be read."""
        lines = self._wanted.lines
        if lines is None:
            return
        for number, why in lines.refused():
            self._explain(number, f"the line {why}")
            self._counts["refused"] += 1
            self._fail(number, FAILED_STATUS)
        if lines.error is not None:
            error, lines.error = lines.error, None
            self._progress.say(f"the lines cannot be read on: {error.strerror or error}")
            self._fail(0, FAILED_STATUS)

    def _look_at_inputs(self) -> None:
        """Tell that the array takes no more inputs."""
        if self._array.refused and not self._refused_told:
            self._refused_told = True
            if not self._cancelling and not self._failed_too_often():
                self._progress.say(f"no more lines are taken: {self._array.refused}")
                self._fail(0, FAILED_STATUS)

    def _failed_too_often(self) -> bool:
        """Tell whether --max-fails ended the array: the status is that of what failed, as with few lines."""
        line, most = self._array.line, self._wanted.max_fails
        return line is not None and most is not None and line.counts.failed > most

    # --- tasks ----------------------------------------------------------------------------------------------

    def _number(self, task: ArrayTask) -> int:
        lines = self._wanted.lines
        return task.index if lines is None else lines.number_of(task.position)

    def _ended(self, task: ArrayTask) -> None:
        number, status = self._number(task), task.exit_status
        future, record = task.future, None if task.future is None else task.future.record
        if future is not None and record is not None and not self._broken:
            folder = str(Path(self._wanted.return_dir) / str(number))
            status = bring_back(future, folder, status, quiet=True, title=f"{self._word} {number}")
            self._unmatched.look_at(record)
        if task.state is TaskState.CANCELLED:
            self._counts["cancelled"] += 1
        else:
            self._counts["ran"] += 1
            if status:
                self._counts["failed"] += 1
                self._fail(number, status)
        if future is None and task.state is not TaskState.CANCELLED:
            self._lost += 1
        if self._broken:
            return
        if self._wanted.as_json:
            self._show_json(task, number, status)
        elif future is not None and record is not None:
            self._show(future, number)
        elif status and task.state is not TaskState.CANCELLED:
            self._progress.say(f"{self._word} {number}: {task.describe()}; its output is no longer kept")

    @property
    def _word(self) -> str:
        return "index" if self._wanted.lines is None else "line"

    def _show_json(self, task: ArrayTask, number: int, status: int) -> None:
        if task.future is not None:
            form = result_form(task.future)
        else:
            why = "" if task.state is TaskState.CANCELLED else "its output is no longer kept"
            form = ResultForm(id=task.id, state=task.state.value, exit_status=status, why=why)
        kind = IndexForm if self._wanted.lines is None else LineForm
        out.emit_json(kind.of(number, form))

    def _explain(self, number: int, why: str) -> None:
        """Say why a line has no result."""
        if self._wanted.as_json:
            out.emit_json({"line": number, "exit_status": FAILED_STATUS, "error": why})
        else:
            self._progress.say(f"line {number}: {why}")

    def _show(self, future: TaskFuture, number: int) -> None:
        """Write a task's output, and how it ended unless that was well."""
        from alb.api.result import describe  # noqa: PLC0415 (as everywhere here: a client brings it)

        record = future.record
        assert record is not None  # noqa: S101 (the caller looked)
        progress, title = self._progress, f"{self._word} {number}"
        write_outputs(future, record, title, progress.say, progress.write)
        if record.state not in (TaskState.SUCCEEDED, TaskState.CANCELLED):
            progress.say(f"{title}: {describe(record)}; task {future.id}")

    def _fail(self, number: int, status: int) -> None:
        if self._failed is None or number < self._failed[0]:
            self._failed = (number, status)

    # --- the person -----------------------------------------------------------------------------------------

    def _on_signals(self, client: Client) -> int | None:
        """Act on what was caught; returns the exit status if that means to leave."""
        while self._signals:
            number = self._signals.pop(0)
            if number != signal.SIGINT:
                self._progress.say(f"leaving; {self._goes_on()}")
                return 128 + number
            now = time.monotonic()
            if self._cancelling:
                self._progress.say("leaving without waiting for the end")
                return INTERRUPTED_STATUS
            again = now - self._interrupted_at <= SECOND_INTERRUPT_S
            if again and self._joined:
                self._progress.say(f"leaving; {self._goes_on()}")
                return INTERRUPTED_STATUS
            if again:
                self._progress.say(f"cancelling array {self._array.id}")
                self._cancel(client)
            else:
                self._interrupted_at = now
                what = "leaves it alone: it was under way before" if self._joined else "cancels it"
                self._progress.say(f"{self._goes_on()}. Ctrl-C again within 2 s {what}")
        return None

    def _goes_on(self) -> str:
        array, line = self._array, self._array.line
        if not array.accepted and line is None:
            return f"array {array.id} is not accepted yet"
        if line is not None and line.state.terminal:
            return f"array {array.id} has ended; its output: alb logs {array.id}"
        so_far = "" if line is None else f"{line.counts.over} of {line.total} tasks have ended; "
        return f"{so_far}array {array.id} goes on; attach again with: alb attach {array.id}"

    def _leave(self, status: int) -> int:
        """Let the array know that no more lines come, and go."""
        lines = self._wanted.lines
        if lines is not None and not lines.stopped and not self._cancelling:
            lines.stopped = True
            self._array.close_inputs()
            if not self._array.wait_given(CLOSING_S):
                out.say(f"array {self._array.id} may not know that no more lines come: see alb status")
        return status

    def _on_broken_pipe(self, client: Client) -> None:
        """End everything, as SIGPIPE would end commands that ran here; what others submitted is only left."""
        if self._broken:
            return
        self._broken = True
        if self._joined:
            self._progress.say(f"nobody reads the output any more: leaving; {self._goes_on()}")
            raise out.ReaderGone
        self._progress.say(f"nobody reads the output any more: cancelling array {self._array.id}")
        self._cancel(client)

    def _cancel(self, client: Client) -> None:
        self._cancelling = True
        if self._wanted.lines is not None:
            self._wanted.lines.stopped = True
        client.start_cancel(self._array.id)

    # --- the end --------------------------------------------------------------------------------------------

    def _conclude(self) -> int:
        self._look_at_lines()
        self._look_at_inputs()
        array, line = self._array, self._array.line
        if self._lost:
            self._progress.say(f"the output of {self._lost} tasks is no longer kept; how they ended is")
        if line is not None and line.why and not self._cancelling:
            self._progress.say(f"array {array.id}: {line.why}")
        if line is not None and line.counts.failed:  # not what only could not bring its files back
            self._say(f"run what failed again with: alb retry --failed {array.id}")
        self._unmatched.tell(self._say)
        self._say(self._summary())
        if self._cancelling:
            return READER_GONE_STATUS if self._broken else INTERRUPTED_STATUS
        if self._failed is not None:
            return self._failed[1]
        return FAILED_STATUS if self._counts["cancelled"] else 0

    def _summary(self) -> str:
        counts = self._counts
        parts = [f"{counts['ran']} ran"]
        parts += [f"{counts[kind]} {kind}" for kind in ("failed", "cancelled", "refused") if counts[kind]]
        count = counts["ran"] + counts["cancelled"] + counts["refused"]
        return f"{count} {'tasks' if self._wanted.lines is None else 'lines'}: {', '.join(parts)}"
