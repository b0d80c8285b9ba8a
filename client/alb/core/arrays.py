"""The arrays that this client answers for, from the request of the user to the end of their last task.

As with tasks: the submission is sent with the same bytes until it is answered, then the array is only
attached to. Inputs follow in pieces, one under way at a time, each until it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from alb.core import actions, notices
from alb.core.actions import ClientAction
from alb.core.children import Children
from alb.core.events import ArrayAttachRequested, ArrayRequested, InputsGiven, ResultsTaken
from alb.core.tasks import BUSY_S, HOLDING_SHARE, RESEND_S, RESEND_S_MAX, TaskBook
from alb_core import codec
from alb_core.arrays import ArrayLine
from alb_core.messages import (
    Ack,
    ArrayInputs,
    ArrayPage,
    AttachArray,
    Busy,
    Finished,
    InputsKept,
    Rejected,
    SubmitArray,
)

PIECE_LINES: Final = 1000
PIECE_BYTES: Final = 256 * 1024
#: Inputs of one message: a node of the table holds as many lines, and other messages get their turn.
SILENT_S: Final = 15.0
#: An array that the leader said nothing of for so long is attached to again: it may not know that we follow.
LOOK_AGAIN_S: Final = 1.0
#: Where an array is over and the end of a task is not told: between two questions.


class TrackedArray(msgspec.Struct, kw_only=True):
    """One array under way, as the client sees it."""

    id: str
    spec: bytes = b""
    #: What was submitted; empty once it is accepted, and for arrays that others submitted.
    first: tuple[str, ...] = ()
    #: The inputs that were submitted with it.
    children: Children | None
    #: None: nobody here wants results.
    accepted: bool = False
    attaching: bool = False
    line: ArrayLine | None = None
    #: What was last heard of it.
    first_sent: float = -1.0
    #: Of the submission; -1: never sent, or known not to be in the table.
    send_at: float = 0.0
    pause_s: float = RESEND_S
    heard_at: float = 0.0
    look_at: float = 0.0
    withdrawn: bool = False
    #: Cancelled before it was accepted: not submitted again.
    lines: deque[str] = msgspec.field(default_factory=deque)
    #: Inputs that were not sent yet.
    piece: ArrayInputs | None = None
    #: Those that await their answer.
    piece_at: float = 0.0
    kept: int = 0
    #: How many inputs were sent and answered.
    closing: bool = False
    #: The user has given the last ones.
    closed: bool = False
    #: And the leader was told.
    fed: bool = False
    #: We are who gives it inputs after its submission.
    refused: bool = False
    #: The leader takes no more inputs.


class ArrayBook:
    """Keeps every array under way, and sends what it needs.

    Args:
        book: Fetches the output of tasks.
        next_seq: Makes numbers for questions.
        holding_s: How long an unaccepted submission may be sent again, in seconds.
    """

    def __init__(self, book: TaskBook, next_seq: Callable[[], int], *, holding_s: float) -> None:
        self._book = book
        self._next_seq = next_seq
        self._holding_s = holding_s * HOLDING_SHARE
        self.arrays: dict[str, TrackedArray] = {}

    def __contains__(self, array: str) -> bool:
        return array in self.arrays

    # --- the user -------------------------------------------------------------------------------------------

    def submit(self, event: ArrayRequested, link: int, out: list[ClientAction]) -> None:
        """Take a new array; an id that is under way already is left as it is."""
        if event.id in self.arrays:
            return
        tracked = TrackedArray(
            id=event.id,
            spec=event.spec,
            first=event.inputs,
            closing=event.whole,
            closed=event.whole,
            fed=not event.whole,
            children=self._children(event),
        )
        self.arrays[event.id] = tracked
        if link:
            self._submit(event.at, tracked, link, out)

    def _children(self, event: ArrayRequested | ArrayAttachRequested) -> Children | None:
        if not event.results:
            return None
        strides = codec.decode_array(event.spec).strides
        return Children(event.id, strides, self._book, ordered=event.ordered)

    def attach(self, event: ArrayAttachRequested, link: int, out: list[ClientAction]) -> None:
        """Follow an array that is in the table already."""
        if event.id in self.arrays:
            return
        tracked = TrackedArray(
            id=event.id, accepted=True, closing=True, closed=True, children=self._children(event)
        )
        self.arrays[event.id] = tracked
        self._attach(event.at, tracked, link, out)

    def give(self, event: InputsGiven, link: int, out: list[ClientAction]) -> None:
        """Take more inputs."""
        tracked = self.arrays.get(event.id)
        if tracked is None or tracked.closing:
            return
        tracked.lines.extend(event.lines)
        tracked.closing = event.whole
        self._send_inputs(event.at, tracked, link, out)

    def on_taken(self, event: ResultsTaken, link: int, out: list[ClientAction]) -> None:
        """The consumer took results."""
        tracked = self.arrays.get(event.id)
        if tracked is not None and tracked.children is not None:
            tracked.children.on_taken(event.positions, event.reached, link, out)
            self._go_on(event.at, tracked, link, out)

    def drop_results(self, at: float, array: str, link: int, out: list[ClientAction]) -> None:
        """Nobody wants the results any more, only the end."""
        tracked = self.arrays.get(array)
        if tracked is None or tracked.children is None:
            return
        tracked.children.drop(link, out)
        tracked.children = None
        if tracked.accepted:
            self._attach(at, tracked, link, out)
        self._go_on(at, tracked, link, out)

    def abandon(self, array: str) -> None:
        """Forget an array."""
        tracked = self.arrays.pop(array, None)
        if tracked is not None and tracked.children is not None:
            tracked.children.forget()

    def is_withdrawn(self, array: str) -> bool:
        """Tell whether an array was cancelled before it was accepted."""
        tracked = self.arrays.get(array)
        return tracked is not None and tracked.withdrawn

    def withdraw(self, array: str, out: list[ClientAction]) -> bool:
        """Stop to submit an array that is to be cancelled; tells whether that settles it: none was sent."""
        tracked = self.arrays.get(array)
        if tracked is None or tracked.accepted:
            return False
        tracked.withdrawn = True
        if tracked.first_sent >= 0:
            return False
        self._fail(tracked, "cancelled", "it was cancelled before it was sent", out)
        return True

    # --- sending --------------------------------------------------------------------------------------------

    def _submit(self, at: float, tracked: TrackedArray, link: int, out: list[ClientAction]) -> None:
        if tracked.withdrawn:
            return
        if 0 <= tracked.first_sent < at - self._holding_s:
            why = (
                f"nobody answered its submission for {self._holding_s:.0f} s: it may or may not have run; "
                "see `alb status` before you submit it again"
            )
            self._fail(tracked, "unknown", why, out)
            return
        if tracked.first_sent < 0:
            tracked.first_sent = at
        self._back_off(at, tracked)
        message = SubmitArray(
            id=tracked.id,
            spec=msgspec.Raw(tracked.spec),
            inputs=tracked.first,
            whole=tracked.closed,
            results=tracked.children is not None,
        )
        out.append(actions.Send(link, message))

    def _attach(self, at: float, tracked: TrackedArray, link: int, out: list[ClientAction]) -> None:
        tracked.attaching = True
        if link:
            self._back_off(at, tracked)
            message = AttachArray(id=tracked.id, results=tracked.children is not None)
            out.append(actions.Send(link, message))

    @staticmethod
    def _back_off(at: float, tracked: TrackedArray) -> None:
        tracked.send_at = at + tracked.pause_s
        tracked.pause_s = min(tracked.pause_s * 2, RESEND_S_MAX)

    def _send_inputs(self, at: float, tracked: TrackedArray, link: int, out: list[ClientAction]) -> None:
        """Send the next piece of inputs, or again the one that is not answered."""
        if not tracked.accepted:
            return
        if tracked.piece is None:
            if not tracked.lines and (tracked.closed or not tracked.closing):
                return
            lines: list[str] = []
            size = 0
            while tracked.lines and len(lines) < PIECE_LINES and size < PIECE_BYTES:
                lines.append(tracked.lines.popleft())
                size += len(lines[-1])
            last = tracked.closing and not tracked.lines
            tracked.piece = ArrayInputs(id=tracked.id, first=tracked.kept, lines=tuple(lines), whole=last)
            tracked.piece_at = at
        if link and at >= tracked.piece_at:
            tracked.piece_at = at + RESEND_S
            out.append(actions.Send(link, tracked.piece))

    def on_welcome(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Tell a new leader everything that is under way."""
        for tracked in list(self.arrays.values()):
            tracked.pause_s = RESEND_S
            tracked.piece_at = tracked.heard_at = at
            if not tracked.accepted:
                self._submit(at, tracked, link, out)
                continue
            if tracked.children is not None:
                tracked.children.on_welcome(at)
            self._attach(at, tracked, link, out)
            self._send_inputs(at, tracked, link, out)

    def on_tick(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Send again what is due."""
        for tracked in list(self.arrays.values()):
            if not tracked.accepted:
                if link and at >= tracked.send_at:
                    self._submit(at, tracked, link, out)
                continue
            due = at >= tracked.send_at if tracked.attaching else at - tracked.heard_at > SILENT_S
            if link and due:
                self._attach(at, tracked, link, out)
            self._send_inputs(at, tracked, link, out)
            self._go_on(at, tracked, link, out)

    # --- answers --------------------------------------------------------------------------------------------

    def on_accepted(self, at: float, array: str, link: int, out: list[ClientAction]) -> None:
        """The array is in the table: from now on it is only attached to."""
        tracked = self.arrays.get(array)
        if tracked is None or tracked.accepted:
            return
        tracked.accepted = True
        tracked.kept = len(tracked.first)
        tracked.spec, tracked.first = b"", ()
        tracked.heard_at = at
        out.append(actions.CountInputs(array, tracked.kept, tracked.closed))
        # It may have been there before, under this id: then some of its tasks may have ended unheard.
        if tracked.children is not None:
            tracked.children.catch_up(at)
        self._send_inputs(at, tracked, link, out)
        self._go_on(at, tracked, link, out)

    def on_cancel_noted(self, at: float, array: str, link: int, out: list[ClientAction]) -> None:
        """The table holds the array, though its submission was not answered: follow it."""
        tracked = self.arrays.get(array)
        if tracked is not None and not tracked.accepted:
            self.on_accepted(at, array, link, out)
            self._attach(at, tracked, link, out)

    def on_busy(self, at: float, message: Busy, out: list[ClientAction]) -> bool:
        """The table has no room: submit again later. Tells whether the message was for an array."""
        tracked = self.arrays.get(message.id)
        if tracked is None:
            return False
        if not tracked.accepted:
            delay_s = min(max(message.delay_s, BUSY_S[0]), BUSY_S[1])
            tracked.first_sent = -1.0
            tracked.send_at = at + delay_s
            tracked.pause_s = RESEND_S
            out.append(actions.Tell(notices.TableFull(id=message.id, delay_s=delay_s, why=message.why)))
        return True

    def on_kept(self, at: float, message: InputsKept, link: int, out: list[ClientAction]) -> None:
        """Inputs are in the table."""
        tracked = self.arrays.get(message.id)
        piece = None if tracked is None else tracked.piece
        if tracked is None or piece is None or message.count < piece.first:
            return
        left = piece.lines[message.count - piece.first :]
        tracked.kept = min(message.count, piece.first + len(piece.lines))
        if not left:
            tracked.closed = piece.whole
            tracked.piece = None
        elif len(left) < len(piece.lines):
            tracked.piece = msgspec.structs.replace(piece, first=tracked.kept, lines=left)
            tracked.piece_at = at
        out.append(actions.CountInputs(tracked.id, tracked.kept, tracked.closed))
        self._send_inputs(at, tracked, link, out)

    def on_moved(self, at: float, line: ArrayLine, link: int, out: list[ClientAction]) -> None:
        """How an array is; also the answer to AttachArray."""
        tracked = self.arrays.get(line.id)
        if tracked is None:
            if line.state.terminal and link:
                out.append(actions.Send(link, Ack(id=line.id)))
            return
        self.on_accepted(at, line.id, link, out)
        tracked.heard_at = at
        if tracked.attaching:
            tracked.attaching = False
            if tracked.children is not None:
                tracked.children.catch_up(at)
        if not line.whole and tracked.closed and tracked.fed and not tracked.refused:
            tracked.closed = False  # the last piece was lost behind an older answer
        tracked.line = line
        out.append(actions.TellArray(line))
        self._send_inputs(at, tracked, link, out)
        self._go_on(at, tracked, link, out)

    def on_finished(self, at: float, message: Finished, link: int, out: list[ClientAction]) -> bool:
        """Take the result of a task; tells whether it is one of an array whose results are wanted."""
        found = self._child(message.id)
        if found is None:
            return False
        tracked, children, index = found
        children.on_finished(at, link, index, message.result, out)
        self._go_on(at, tracked, link, out)
        return True

    def _child(self, task: str) -> tuple[TrackedArray, Children, int] | None:
        array, dot, index = task.partition(".")
        tracked = self.arrays.get(array) if dot else None
        if tracked is None or tracked.children is None:
            return None
        return tracked, tracked.children, int(index)

    def on_page(self, at: float, page: ArrayPage, link: int, out: list[ClientAction]) -> bool:
        """Take what ended; tells whether that is what an array asked for."""
        tracked = self.arrays.get(page.array.id)
        children = None if tracked is None else tracked.children
        if tracked is None or children is None or page.seq != children.seq:
            return False
        children.on_page(at, page)
        self._go_on(at, tracked, link, out)
        return True

    def on_refused(self, at: float, seq: int, code: str, why: str, out: list[ClientAction]) -> bool:
        """A question was refused; tells whether an array asked it."""
        for tracked in self.arrays.values():
            if tracked.children is not None and tracked.children.seq == seq:
                if code == "gone":
                    self._fail(tracked, code, why, out)
                else:
                    tracked.children.on_welcome(at + LOOK_AGAIN_S)
                return True
        return False

    def on_rejected(
        self, at: float, message: Rejected, link: int, out: list[ClientAction], *, cancelling: bool
    ) -> bool:
        """Find out what was rejected; tells whether anything of an array's, apart from a cancellation."""
        found = self._child(message.id)
        if found is not None:
            tracked, children, index = found
            asked = children.on_gone(index, out)
            self._go_on(at, tracked, link, out)
            return asked
        array = self.arrays.get(message.id)
        if array is None:
            return False
        if array.withdrawn and message.code == "gone":
            self._fail(array, "cancelled", "it was cancelled before it was accepted", out)
        elif not array.accepted or message.code == "gone":
            self._fail(array, message.code, message.why, out)
        elif array.piece is not None:
            self._refuse_inputs(at, array, message.why, link, out)
        elif not cancelling:
            self._fail(array, message.code, message.why, out)
        return not cancelling

    def _refuse_inputs(
        self, at: float, tracked: TrackedArray, why: str, link: int, out: list[ClientAction]
    ) -> None:
        """What was counted runs; close it. Where that is refused too, it is over or cancelled."""
        if tracked.piece is not None and tracked.piece.lines:
            out.append(actions.RefuseInputs(tracked.id, why))
        tracked.lines.clear()
        tracked.piece = None
        tracked.closing, tracked.closed = True, tracked.refused
        tracked.refused = True
        self._send_inputs(at, tracked, link, out)

    # --- the end --------------------------------------------------------------------------------------------

    def _go_on(self, at: float, tracked: TrackedArray, link: int, out: list[ClientAction]) -> None:
        """Go on with the results, and settle the array if everything is over."""
        children, line = tracked.children, tracked.line
        if self.arrays.get(tracked.id) is not tracked:
            return
        if children is not None and tracked.accepted:
            children.advance(at, self._next_seq, link, out)
        if line is None or not line.state.terminal:
            return
        if children is not None and children.known.count < line.total:
            if children.idle and at >= tracked.look_at:
                tracked.look_at = at + LOOK_AGAIN_S
                children.catch_up(at)
                children.advance(at, self._next_seq, link, out)
            return
        if children is None or children.idle:
            if link:
                out.append(actions.Send(link, Ack(id=tracked.id)))
            del self.arrays[tracked.id]
            out.append(actions.SettleArray(line))

    def _fail(self, tracked: TrackedArray, code: str, why: str, out: list[ClientAction]) -> None:
        self.abandon(tracked.id)
        out.append(actions.FailTask(tracked.id, code, why))
