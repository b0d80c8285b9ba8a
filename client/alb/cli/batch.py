"""``alb submit --each-line --incremental``: a task for each line of a file that has no good result yet.

Output comes in one piece when its task has ended, in the order of ending. A reader thread takes lines only as
fast as tasks end: the file may be endless.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, TypeAlias

from alb.api.result import describe
from alb.cli import out
from alb.cli.attendance import POLL_S, SECOND_INTERRUPT_S, Patience, caught
from alb.cli.forms import EarlierForm, LineForm, result_form
from alb.cli.outputs import write_outputs
from alb.cli.returns import Unmatched, bring_back
from alb.cli.statuses import FAILED_STATUS, INTERRUPTED_STATUS, READER_GONE_STATUS
from alb.core.notices import AnyNotice, TaskPlaced
from alb_core.arrays import command_for
from alb_core.errors import CoordinationError, InvalidTask, TaskError, TransferError
from alb_core.limits import WORKS_MAX
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.api.options import Command
    from alb_core.messages import TaskLine

WINDOW: Final = 1_000
#: Lines that are under way at once.
CAPTURE_BYTES: Final = 256 * 1024
#: Kept of each stream of each task until it is written; beyond, the end, and `alb logs` has all.
ASKING_S: Final = 60.0
#: So long it is asked which lines have a good result, while nobody answers.
NO_STORE: Final = "the cluster has no results store: finished tasks count only while they are in its table"


class Line(NamedTuple):
    """A line that was read."""

    number: int
    text: str


class Unreadable(NamedTuple):
    """The lines ended with an error."""

    error: OSError


class Accepted(NamedTuple):
    """A task is in the table."""

    task: str


class Job:
    """A task, and the lines that wait for it.

    Args:
        future: The task.
        line: The first of its lines.
        joined: It was under way before: it is not ours to cancel.
    """

    def __init__(self, future: TaskFuture, line: Line, *, joined: bool) -> None:
        self.future: Final = future
        self.joined: Final = joined
        self.lines: Final = [line]
        self.over = False


News: TypeAlias = Line | Unreadable | Accepted | Job | None
#: None: there are no more lines.


def command_of(template: Sequence[str], line: Line, *, words: bool = False) -> Command:
    """Return what a line makes of a command.

    Args:
        template: The command: words of a program, one word for a shell, or nothing: each line is a command.
            See `command_for`; the index is the line's number.
        line: The line.
        words: There is no shell: the template is the arguments of a program, however many.
    """
    if not template and not words:
        return line.text
    command = template[0] if len(template) == 1 and not words else tuple(template)
    return command_for(command, line.number, line.text)


class Batch:
    """Runs a command for each line.

    Args:
        template: See `command_of`.
        options: How each is to be run.
        detach: Leave tasks alone once they are accepted.
        as_json: Write a JSON line for each.
        return_dir: Where files go that tasks bring back, each line's into a folder with its number.
        say: Takes what a person should hear.
    """

    def __init__(  # noqa: PLR0913 (one parameter an option)
        self,
        template: Sequence[str],
        options: Mapping[str, Any],
        *,
        detach: bool,
        as_json: bool,
        return_dir: str,
        say: Callable[[str], None],
    ) -> None:
        self._template: Final = template
        self._options: Final = options
        self._detach: Final = detach
        self._as_json: Final = as_json
        self._return_dir: Final = return_dir
        self._say: Final = say
        self._news: Final[SimpleQueue[News]] = SimpleQueue()
        self._room: Final = threading.Semaphore(WINDOW)
        self._stopping = False
        self._jobs: Final[dict[str, Job]] = {}  #: Under way, by task.
        self._doing: Final[dict[Command, Job]] = {}  #: The same, by command.
        self._unasked: Final[deque[Line]] = deque()
        self._asking_since: float | None = None
        self._stored: bool | None = None  #: Whether the cluster has a results store; None: not asked yet.
        self._read_all = False
        self._counts: Final[Counter[str]] = Counter()
        self._unmatched: Final = Unmatched()
        self._failed: tuple[int, int] | None = None  #: The first line that failed, and its status.
        self._signals: Final[list[int]] = []
        self._interrupted_at = -SECOND_INTERRUPT_S - 1
        self._cancelling = False
        self._broken = False  #: Nobody reads our output any more.

    def hear(self, notice: AnyNotice) -> None:
        """Take a notice, on the client's thread."""
        if isinstance(notice, TaskPlaced):
            self._news.put(Accepted(notice.id))

    def run(self, client: Client, patience: Patience, source: BinaryIO) -> int:
        """Run everything; returns the exit status: that of the first line that failed, else 0."""
        threading.Thread(target=self._read, args=(source,), name="lines", daemon=True).start()
        try:
            with caught(self._signals.append):
                while self._jobs or self._unasked or not self._read_all:
                    patience.check()
                    left = self._on_signals(client)
                    if left is not None:
                        return left
                    try:
                        self._take_news(client)
                        self._submit(client)
                    except out.ReaderGone:
                        self._on_broken_pipe(client)
        except OSError as error:  # our output has no room: no reason to throw away what runs
            where = f": {error.filename}" if error.filename else ""
            out.say(f"leaving: {error.strerror or error}{where}; {self._goes_on()}")
            return FAILED_STATUS
        finally:
            self._stopping = True
        self._unmatched.tell(self._say)
        self._say(self._summary())
        if self._cancelling:
            return READER_GONE_STATUS if self._broken else INTERRUPTED_STATUS
        return 0 if self._failed is None else self._failed[1]

    # --- lines ----------------------------------------------------------------------------------------------

    def _read(self, source: BinaryIO) -> None:
        """Read lines while there is room for their tasks; on a thread of its own."""
        try:
            for number, line in enumerate(source, 1):
                text = line.decode(errors="surrogateescape").rstrip("\r\n")
                if text.strip():
                    self._room.acquire()
                    self._news.put(Line(number, text))
                if self._stopping:
                    break
        except OSError as error:
            self._news.put(Unreadable(error))
        self._news.put(None)

    def _take_news(self, client: Client) -> None:
        """Wait for the next thing to happen, a moment at most, and take what else is there."""
        for news in self._gathered():
            match news:
                case None:
                    self._read_all = True
                case Line():
                    self._unasked.append(news)
                case Unreadable(error=error):
                    out.say(f"the lines cannot be read on: {error.strerror or error}")
                    self._fail(0, FAILED_STATUS)
                case Accepted(task=task):
                    job = self._jobs.get(task)
                    if job is not None and self._detach:
                        client.detach(job.future)
                        self._left(job)
                case Job():
                    if not news.over:
                        self._ended(news)

    def _gathered(self) -> Iterable[News]:
        try:
            yield self._news.get(timeout=POLL_S)
            while len(self._unasked) < WORKS_MAX:
                yield self._news.get_nowait()
        except Empty:
            return

    # --- tasks ----------------------------------------------------------------------------------------------

    def _submit(self, client: Client) -> None:
        """Start the lines that were read."""
        if self._cancelling:
            for _ in range(len(self._unasked)):
                self._unasked.popleft()
                self._room.release()
            return
        lines = list(self._unasked)
        earlier = self._find(client, lines) if lines else []
        if earlier is None:
            return  # asked again in the next round
        self._unasked.clear()
        for line, found in zip(lines, earlier, strict=True):
            try:
                self._start(client, line, found)
            except (InvalidTask, TransferError) as error:
                self._explain(line, error)
                self._settle(line, "refused", FAILED_STATUS)

    def _find(self, client: Client, lines: Sequence[Line]) -> Sequence[TaskLine | None] | None:
        """Return what is known of each line; None: nobody tells now."""
        nothing: list[TaskLine | None] = [None] * len(lines)
        now = time.monotonic()
        self._asking_since = self._asking_since or now
        try:
            if self._stored is None:
                self._stored = bool(client.cluster().store)
                if not self._stored:
                    self._say(NO_STORE)
            found = client.find_earlier([self._command(line) for line in lines], **self._options)
        except InvalidTask:
            if len(lines) == 1:
                return nothing  # submitting it says what is wrong
            each = (self._find(client, [line]) for line in lines)
            return [found[0] if found else None for found in each]
        except (CoordinationError, TaskError) as error:
            if now - self._asking_since > ASKING_S:
                raise
            self._say(f"{error}; asking again")
            return None
        self._asking_since = None
        return found

    def _command(self, line: Line) -> Command:
        return command_of(self._template, line, words=bool(self._options.get("binary")))

    def _start(self, client: Client, line: Line, found: TaskLine | None) -> None:
        command = self._command(line)
        same = self._doing.get(command)
        if found is not None and found.state is TaskState.SUCCEEDED:
            self._skip(line, found)
        elif same is not None:
            same.lines.append(line)
        elif found is not None and found.id in self._jobs:
            self._jobs[found.id].lines.append(line)
        else:
            if found is not None:
                future = client.attach(found.id)
                self._counts["joined"] += 1
            else:
                future = client.submit(command, output=not self._detach, moves=self._detach, **self._options)
            job = Job(future, line, joined=found is not None)
            self._jobs[future.id] = self._doing[command] = job
            future.add_done_callback(lambda _: self._news.put(job))

    def _skip(self, line: Line, found: TaskLine) -> None:
        if self._as_json:
            out.emit_json(EarlierForm(line=line.number, id=found.id, state=found.state.value, exit_status=0))
        elif self._detach:
            out.echo(found.id)
        self._settle(line, "skipped", 0)

    def _left(self, job: Job) -> None:
        """The task goes on without us."""
        self._forget(job)
        for line in job.lines:
            if self._as_json:
                out.emit_json({"line": line.number, "id": job.future.id})
            else:
                out.echo(job.future.id)
            self._settle(line, "submitted", 0)

    def _ended(self, job: Job) -> None:
        self._forget(job)
        record = job.future.record
        status = FAILED_STATUS if record is None else record.exit_status()
        if record is not None and not self._broken:
            first = str(job.lines[0].number)
            folder = str(Path(self._return_dir) / first)
            status = bring_back(job.future, folder, status, quiet=True, title=f"line {first}")
            self._unmatched.look_at(record)
        good = status == 0
        for index, line in enumerate(job.lines):
            kind = "skipped" if index and good else "succeeded" if good else "failed"
            self._settle(line, kind, status)
        if self._broken:
            return
        if record is None:
            for line in job.lines:
                self._explain(line, job.future.exception())
        else:
            self._show(job)

    def _explain(self, line: Line, error: BaseException | None) -> None:
        """Say why a line has no result."""
        if self._as_json:
            out.emit_json({"line": line.number, "exit_status": FAILED_STATUS, "error": str(error)})
        else:
            out.say(f"line {line.number}: {error}")

    def _show(self, job: Job) -> None:
        """Write a task's output, and how it ended unless that was well."""
        future, number = job.future, job.lines[0].number
        if self._as_json:
            for line in job.lines:
                out.emit_json(LineForm.of(line.number, result_form(future)))
            return
        record = future.record
        assert record is not None  # noqa: S101 (the caller looked)
        write_outputs(future, record, f"line {number}", out.say, out.write_all)
        if record.state is not TaskState.SUCCEEDED:
            out.say(f"line {number}: {describe(record)}; task {future.id}")

    def _forget(self, job: Job) -> None:
        job.over = True
        self._jobs.pop(job.future.id, None)
        command = self._command(job.lines[0])
        if self._doing.get(command) is job:
            del self._doing[command]

    def _settle(self, line: Line, kind: str, status: int) -> None:
        self._counts[kind] += 1
        if status:
            self._fail(line.number, status)
        self._room.release()

    def _fail(self, number: int, status: int) -> None:
        if self._failed is None or number < self._failed[0]:
            self._failed = (number, status)

    # --- the person -----------------------------------------------------------------------------------------

    def _on_signals(self, client: Client) -> int | None:
        """Act on what was caught; returns the exit status if that means to leave."""
        while self._signals:
            number = self._signals.pop(0)
            goes_on = self._goes_on()
            if number != signal.SIGINT:
                out.say(f"leaving; {goes_on}")
                return 128 + number
            now = time.monotonic()
            if self._cancelling:
                out.say("leaving without waiting for the end")
                return INTERRUPTED_STATUS
            if now - self._interrupted_at <= SECOND_INTERRUPT_S:
                out.say(f"cancelling {self._ours()}; no more are submitted")
                self._cancel(client)
            else:
                self._interrupted_at = now
                out.say(f"{goes_on}. Ctrl-C again within 2 s cancels {self._ours(them=True)}")
        return None

    def _goes_on(self) -> str:
        return f"{len(self._jobs)} tasks are under way and go on"

    def _on_broken_pipe(self, client: Client) -> None:
        """End everything, as SIGPIPE would end commands that ran here."""
        if not self._broken:
            self._broken = True
            out.say(f"nobody reads the output any more: cancelling {self._ours()}")
            self._cancel(client)

    def _cancel(self, client: Client) -> None:
        self._cancelling = self._stopping = self._read_all = True
        for job in list(self._jobs.values()):
            if job.joined:
                client.detach(job.future)
                self._forget(job)
                for line in job.lines:
                    self._settle(line, "left", 0)
            else:
                client.start_cancel(job.future.id)

    def _ours(self, *, them: bool = False) -> str:
        """Word which of the tasks under way a cancellation ends."""
        joined = sum(job.joined for job in self._jobs.values())
        ours = len(self._jobs) - joined
        if joined:
            return f"{ours} tasks; {joined} that were under way before go on in any case"
        return "them" if them else f"{ours} tasks"

    def _summary(self) -> str:
        counts = self._counts
        ran = counts["succeeded"] + counts["failed"]
        parts = []
        if counts["submitted"]:
            parts.append(f"{counts['submitted']} submitted")
        if ran or not counts:
            parts.append(f"{ran} ran")
        parts.append(f"{counts['skipped']} skipped (they have a good result)")
        parts += [f"{counts[kind]} {kind}" for kind in ("failed", "refused") if counts[kind]]
        if counts["joined"]:
            parts.append(f"{counts['joined']} were under way already")
        if counts["left"]:
            parts.append(f"{counts['left']} left alone (their tasks go on)")
        lines = ran + sum(counts[kind] for kind in ("submitted", "skipped", "refused", "left"))
        return f"{lines} lines: {', '.join(parts)}"
