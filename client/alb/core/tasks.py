"""The tasks that this client answers for, from the request of the user to the result.

A task waits (the window of unanswered submissions is full), is unanswered (sent, or told Busy), accepted, or
finished with output still on its way. Its submission is sent with the same bytes until it is answered; once
it is accepted the client only attaches. That order is what makes a task that is sent twice run once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from alb.core import actions, notices
from alb.core.actions import ClientAction
from alb.core.events import AttachRequested, OutputTaken, SubmitRequested
from alb.core.output import OutputReader
from alb_core.limits import WINDOW_BYTES_MAX
from alb_core.messages import Accepted, Ack, Attach, Busy, Chunk, Finished, Rejected, Submit, TaskMoved
from alb_core.tasks import Result

RESEND_S: Final = 2.0
RESEND_S_MAX: Final = 8.0
#: The pause before a request is sent again doubles up to this. It begins long: a link that broke says so, and
#: a leader that is busy with thousands of submissions must not get them all twice.
BUSY_S: Final = (0.05, 60.0)
#: A delay that a broker asks for is kept between these.
HOLDING_SHARE: Final = 0.9
#: Of the holding time: what is sent again must not only leave, but arrive before it is over.
PULLS_MAX: Final = 16
#: Finished tasks whose large output is fetched at the same time; more wait, and hold no window at the leader.


class Tracked(msgspec.Struct, kw_only=True, gc=False):
    """One task under way, as the client sees it."""

    id: str
    spec: bytes = b""
    #: What was submitted; empty once it is accepted, and for tasks that others submitted.
    output: bool
    moves: bool
    reader: OutputReader | None = None
    #: None: nobody reads along, and there is nothing (yet) to fetch.
    first_sent: float = -1.0
    #: Of the submission; -1: never sent, or known not to be in the table.
    send_at: float = 0.0
    #: When its request is sent again.
    pause_s: float = RESEND_S
    withdrawn: bool = False
    #: Cancelled before it was accepted: not submitted again.
    child: bool = False
    #: It is a task of an array, which acknowledges it when its consumer took it.
    result: Result | None = None
    asked_since: float = -1.0
    #: Since when liveness is asked for in vain; -1: the last question was answered well.
    heard_at: float = 0.0
    #: Last sign of life.


class TaskBook:
    """Keeps every task under way, and sends what it needs.

    Args:
        unanswered_max: Submissions under way at once.
        holding_s: How long an unaccepted submission may be sent again, in seconds.
    """

    def __init__(self, *, unanswered_max: int, holding_s: float) -> None:
        self._unanswered_max = unanswered_max
        self._holding_s = holding_s * HOLDING_SHARE
        self.tasks: dict[str, Tracked] = {}
        self._waiting: deque[Tracked] = deque()
        self._unanswered: dict[str, Tracked] = {}
        self._attaching: dict[str, Tracked] = {}
        #: Those that a leader still has to confirm; a part of `accepted`.
        self.accepted: dict[str, Tracked] = {}
        #: In the table, without a result; the one that was silent or unasked longest comes first.
        self._reading: dict[str, OutputReader] = {}
        #: Whose output is granted at present.
        self._pulls: deque[Tracked] = deque()
        #: Finished; output to fetch as soon as fewer than `PULLS_MAX` are at it.
        self._pulling: set[str] = set()
        self._output_link = 0

    @property
    def unsettled(self) -> bool:
        """Whether a broker owes us an answer or a result."""
        return bool(self._unanswered or self.accepted)

    # --- the user -----------------------------------------------------------------------------------------

    def submit(self, event: SubmitRequested, link: int, out: list[ClientAction]) -> None:
        """Take a new task; an id that is under way already is left as it is."""
        if event.id in self.tasks:
            return
        tracked = Tracked(
            id=event.id,
            spec=event.spec,
            output=event.output,
            moves=event.moves,
            reader=OutputReader(event.id, live=True) if event.live else None,
        )
        self.tasks[event.id] = tracked
        if event.live and tracked.reader is not None:
            self._reading[event.id] = tracked.reader
        self._waiting.append(tracked)
        self.fill_window(event.at, link, out)

    def attach(self, event: AttachRequested, link: int, out: list[ClientAction]) -> None:
        """Follow a task that is in the table already, or was."""
        if event.id in self.tasks:
            return
        tracked = Tracked(id=event.id, output=event.output, moves=event.moves, heard_at=event.at)
        if event.live or event.stdout or event.stderr:
            tracked.reader = OutputReader(event.id, live=event.live, stdout=event.stdout, stderr=event.stderr)
        if tracked.reader is not None and event.live:
            self._reading[event.id] = tracked.reader
        self.tasks[event.id] = self.accepted[event.id] = tracked
        self._attach(event.at, tracked, link, out)

    def abandon(self, task_id: str) -> None:
        """Forget a task; what still comes about it is acknowledged and dropped."""
        tracked = self.tasks.get(task_id)
        if tracked is not None:
            self._drop(tracked)

    def withdraw(self, task_id: str, out: list[ClientAction]) -> bool:
        """Stop to submit a task that is to be cancelled.

        Returns:
            Whether that settles it: it was never sent, so no broker need be told.
        """
        tracked = self.tasks.get(task_id)
        if tracked is None or task_id in self.accepted or tracked.result is not None:
            return False
        tracked.withdrawn = True
        if task_id in self._unanswered:
            return False
        self.fail(tracked, "cancelled", "it was cancelled before it was sent", out)
        return True

    # --- sending ------------------------------------------------------------------------------------------

    def fill_window(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Submit waiting tasks while the window has room."""
        while self._waiting and link and len(self._unanswered) < self._unanswered_max:
            tracked = self._waiting.popleft()
            if tracked.withdrawn or self.tasks.get(tracked.id) is not tracked:
                continue
            self._unanswered[tracked.id] = tracked
            self._submit(at, tracked, link, out)

    def _submit(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        if tracked.first_sent < 0:
            tracked.first_sent = at
        self._back_off(at, tracked)
        window = 0
        if tracked.reader is not None:
            tracked.reader.on_granted(at)
            window = WINDOW_BYTES_MAX
        spec = msgspec.Raw(tracked.spec)
        out.append(actions.Send(link, Submit(id=tracked.id, spec=spec, window=window, moves=tracked.moves)))

    def _attach(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        self._attaching[tracked.id] = tracked
        if not link:
            return
        self._back_off(at, tracked)
        stdout = stderr = window = 0
        if tracked.reader is not None and tracked.reader.live and tracked.result is None:
            tracked.reader.on_granted(at)
            stdout, stderr = (stream.reached for stream in tracked.reader.streams)
            window = WINDOW_BYTES_MAX
        message = Attach(id=tracked.id, stdout=stdout, stderr=stderr, window=window, moves=tracked.moves)
        out.append(actions.Send(link, message))

    @staticmethod
    def _back_off(at: float, tracked: Tracked) -> None:
        tracked.send_at = at + tracked.pause_s
        tracked.pause_s = min(tracked.pause_s * 2, RESEND_S_MAX)

    def on_welcome(self, at: float, link: int, output_link: int, out: list[ClientAction]) -> None:
        """Tell a new leader everything that is under way."""
        self._output_link = output_link
        for tracked in self.tasks.values():
            tracked.pause_s = RESEND_S
            tracked.asked_since = -1.0
        for tracked in list(self._unanswered.values()):
            self._resubmit(at, tracked, link, out)
        for tracked in self.tasks.values():
            # Also those whose output is being fetched: a leader reads the record of a finished task, and so
            # learns which worker has its output, when somebody attaches to it.
            if tracked.id in self.accepted or (tracked.result is not None and tracked.id in self._reading):
                self._attach(at, tracked, link, out)
        self.fill_window(at, link, out)

    def on_leader_lost(self) -> None:
        """Grant nothing until the next leader's output link is there."""
        self._output_link = 0

    def on_output_opened(self, at: float, out: list[ClientAction]) -> None:
        """Grant again what is being read: grants and bytes of before the link was open are lost."""
        for task_id, reader in self._reading.items():
            if task_id in self.accepted or self.tasks[task_id].result is not None:
                reader.ask(at, self._output_link, out, now=True)

    def _resubmit(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        if tracked.withdrawn:
            return
        if 0 <= tracked.first_sent < at - self._holding_s:
            why = (
                f"nobody answered its submission for {self._holding_s:.0f} s: it may or may not have run; "
                "see `alb status` before you submit it again"
            )
            self.fail(tracked, "unknown", why, out)
        elif link:
            self._submit(at, tracked, link, out)

    def on_tick(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Send again what is due; give up what was never answered."""
        for tracked in [each for each in self._unanswered.values() if at >= each.send_at]:
            self._resubmit(at, tracked, link, out)
        if link:
            for tracked in [each for each in self._attaching.values() if at >= each.send_at]:
                self._attach(at, tracked, link, out)
        self.fill_window(at, link, out)
        if self._output_link:
            for task_id, reader in self._reading.items():
                if task_id in self.accepted or self.tasks[task_id].result is not None:
                    reader.ask(at, self._output_link, out)

    # --- answers ------------------------------------------------------------------------------------------

    def on_accepted(self, at: float, message: Accepted, out: list[ClientAction]) -> None:
        """The task is in the table: from now on it is only attached to."""
        tracked = self.tasks.get(message.id)
        if tracked is None:
            return
        self.note_accepted(at, tracked)
        self._note_attempt(tracked, message, "", out)

    def note_accepted(self, at: float, tracked: Tracked) -> None:
        """Move a task to those that are in the table."""
        if self._unanswered.pop(tracked.id, None) is not None:
            tracked.spec = b""
            tracked.pause_s = RESEND_S
            tracked.heard_at = at
            self.accepted[tracked.id] = tracked
        self._attaching.pop(tracked.id, None)

    def is_unanswered(self, task_id: str) -> bool:
        """Tell whether a task was submitted and is not answered yet."""
        return task_id in self._unanswered

    def is_attaching(self, task_id: str) -> bool:
        """Tell whether an answer to Attach is awaited."""
        return task_id in self._attaching

    def on_busy(self, at: float, message: Busy, out: list[ClientAction]) -> None:
        """The table has no room: submit again later. The task is known not to be in it."""
        tracked = self._unanswered.get(message.id)
        if tracked is None:
            return
        delay_s = min(max(message.delay_s, BUSY_S[0]), BUSY_S[1])
        tracked.first_sent = -1.0
        tracked.send_at = at + delay_s
        tracked.pause_s = RESEND_S
        out.append(actions.Tell(notices.TableFull(id=message.id, delay_s=delay_s, why=message.why)))

    def on_moved(self, at: float, message: TaskMoved, out: list[ClientAction]) -> None:
        """The task changed its state or its worker; also the answer to Attach."""
        tracked = self.tasks.get(message.id)
        if tracked is None:
            return
        self.note_accepted(at, tracked)
        self.hear(at, tracked)
        self._note_attempt(tracked, message, message.why, out)

    @staticmethod
    def _note_attempt(
        tracked: Tracked, message: Accepted | TaskMoved, why: str, out: list[ClientAction]
    ) -> None:
        if tracked.reader is not None and message.attempt:
            tracked.reader.on_attempt(message.attempt, out)
        if tracked.moves and tracked.result is None:
            notice = notices.TaskPlaced(
                id=message.id, state=message.state, worker=message.worker, attempt=message.attempt, why=why
            )
            out.append(actions.Tell(notice))

    def on_rejected(self, tracked: Tracked, message: Rejected, out: list[ClientAction]) -> None:
        """The leader will have nothing to do with the task; a result that is here already stays."""
        if tracked.result is None:
            self.fail(tracked, message.code, message.why, out)
            return
        if tracked.reader is not None:
            tracked.reader.give_up(message.why)
        self._settle(tracked, 0, out)

    def on_finished(self, at: float, link: int, message: Finished, out: list[ClientAction]) -> None:
        """Take the result; settle at once, or as soon as the output is here.

        It is acknowledged when it is settled, so that the cluster keeps the task while its output is fetched.
        A double, or a result that nobody here waits for, is acknowledged at once.
        """
        tracked = self.tasks.get(message.id)
        if tracked is None:
            out.append(actions.Send(link, Ack(id=message.id)))
            return
        self._attaching.pop(tracked.id, None)
        if tracked.result is not None:
            return
        tracked.result = message.result
        self._unanswered.pop(tracked.id, None)
        self.accepted.pop(tracked.id, None)
        if tracked.reader is None and not self._is_bulky(tracked):
            self._settle(tracked, link, out)
        elif tracked.reader is not None and tracked.reader.live:
            self._read_rest(at, tracked, link, out)
        else:
            self._pulls.append(tracked)
            self._pull(at, link, out)

    def take_child(self, at: float, link: int, task_id: str, result: Result, out: list[ClientAction]) -> None:
        """Settle a task of an array, as soon as its output is here."""
        if task_id not in self.tasks:
            self.tasks[task_id] = Tracked(id=task_id, output=True, moves=False, child=True)
        self.on_finished(at, link, Finished(id=task_id, result=result), out)

    @staticmethod
    def _is_bulky(tracked: Tracked) -> bool:
        result = tracked.result
        return (
            tracked.output and result is not None and not (result.stdout.complete and result.stderr.complete)
        )

    def _pull(self, at: float, link: int, out: list[ClientAction]) -> None:
        while self._pulls and len(self._pulling) < PULLS_MAX:
            tracked = self._pulls.popleft()
            if self.tasks.get(tracked.id) is not tracked:
                continue
            if tracked.reader is None:
                tracked.reader = OutputReader(tracked.id, live=False)
            self._pulling.add(tracked.id)
            self._reading[tracked.id] = tracked.reader
            self._read_rest(at, tracked, link, out)

    def _read_rest(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        reader, result = tracked.reader, tracked.result
        if reader is not None and result is not None:
            reader.on_result(at, self._output_link, result, out)
            self._settle_if_done(at, tracked, link, out)

    def _settle_if_done(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        if tracked.result is not None and tracked.reader is not None and tracked.reader.done:
            self._settle(tracked, link, out)
            self._pull(at, link, out)

    def _settle(self, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        result = tracked.result
        if result is None:
            return
        if link and not tracked.child:
            out.append(actions.Send(link, Ack(id=tracked.id)))
        missing = tracked.reader.missing if tracked.reader is not None else ()
        out.append(actions.Settle(tracked.id, result, missing))
        self._drop(tracked)

    def fail(self, tracked: Tracked, code: str, why: str, out: list[ClientAction]) -> None:
        """End a task without a result."""
        out.append(actions.FailTask(tracked.id, code, why))
        self._drop(tracked)

    def _drop(self, tracked: Tracked) -> None:
        task_id = tracked.id
        self.tasks.pop(task_id, None)
        self._unanswered.pop(task_id, None)
        self._attaching.pop(task_id, None)
        self.accepted.pop(task_id, None)
        self._reading.pop(task_id, None)
        self._pulling.discard(task_id)

    # --- output and life ----------------------------------------------------------------------------------

    def on_chunk(self, at: float, link: int, chunk: Chunk, out: list[ClientAction]) -> None:
        """Pass a piece of output on; it is a sign of life."""
        tracked = self.tasks.get(chunk.task)
        if tracked is None or tracked.reader is None or chunk.task not in self._reading:
            return
        tracked.reader.on_chunk(at, self._output_link, chunk, out)
        if chunk.data:
            self.hear(at, tracked)
        self._settle_if_done(at, tracked, link, out)

    def on_taken(self, event: OutputTaken, out: list[ClientAction]) -> None:
        """A consumer took output."""
        reader = self._reading.get(event.id)
        if reader is not None:
            reader.on_taken(event, self._output_link, out)

    def hear(self, at: float, tracked: Tracked) -> None:
        """Note a sign of life of an accepted task."""
        tracked.heard_at = at
        tracked.asked_since = -1.0
        if self.accepted.pop(tracked.id, None) is not None:
            self.accepted[tracked.id] = tracked

    def attach_again(self, at: float, tracked: Tracked, link: int, out: list[ClientAction]) -> None:
        """Attach once more: the leader does not seem to know that we wait for this task."""
        if tracked.id in self.accepted and tracked.id not in self._attaching:
            self._attach(at, tracked, link, out)
