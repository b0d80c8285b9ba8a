"""What the results store is to have of this worker's attempts: long output, and increments.

The worker sends, the leader says what is stored. The end of an attempt is reported when nothing of it is owed
any more; its room is free before. Output that rides in the result (up to ``INLINE_OUTPUT_BYTES`` a stream)
is not sent, unless its command runs for longer.

What was sent and is not stored is bounded for the whole worker; attempts take turns. After another leader has
taken over, and when nothing was stored for a while, it is sent again: the store settles what comes twice.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

import msgspec

from alb_core import limits
from alb_core.increments import LINES_BYTES_MAX, LINES_MAX, Line, size_bytes
from alb_core.messages import AttemptId, Increments, Stored, StreamName
from alb_core.notes import Level, Note
from alb_worker.core.actions import SendChunk, SendToLeader, WorkerAction

SEND_S: Final = 1.0
#: Output that is not sent yet waits at most so long.
SEND_BYTES: Final = 64 * 1024
#: … or until there is so much of a stream.
AGAIN_S: Final = 5.0
#: What was not stored for so long is sent again: it may be lost.
AGAIN_S_MAX: Final = 60.0
#: Each time it takes twice as long, up to this: a store that is away is no reason to send and send.
_LINES: Final = 2
#: The place of increments behind the two streams.


class Kept(msgspec.Struct):
    """What there is of one attempt, what was sent, and what is stored."""

    seq: int
    #: Number of the newest increment that is stored, of whatever attempt.
    sizes: list[int]
    #: Bytes of stdout and stderr that the spool holds.
    sent: list[int]
    stored: list[int]
    lines: deque[Line]
    #: Increments that are not stored, the oldest first: number ``seq + 1`` and on.
    since: list[float]
    #: Since when what is on its way of stdout, stderr and the increments gets no answer. Each has its own
    #: time: what is lost of one must come again also while the others get on.
    lines_sent: int = 0
    #: How many of them are on their way.
    again_s: float = AGAIN_S
    #: Patience until what is on its way is sent again.
    send_at: float = float("inf")
    #: When what is not sent has waited long enough.
    over: bool = False
    #: Nothing will be added.
    rides: tuple[bool, bool] = (False, False)
    #: Whether stdout and stderr ride in the result: they were short, and not begun to be sent, at the end.

    def end(self) -> None:
        """Nothing will be added: decide, once, what rides in the result."""
        self.over = True
        self.rides = (self._short(0), self._short(1))

    def _short(self, stream: int) -> bool:
        return not self.sent[stream] and self.sizes[stream] <= limits.INLINE_OUTPUT_BYTES

    def owed(self, stream: int) -> bool:
        """Tell whether the store must have more of a stream."""
        return self.stored[stream] < self.sizes[stream] and not self.rides[stream]

    @property
    def on_their_way(self) -> int:
        """Bytes of output that were sent and are not stored."""
        return sum(self.sent) - sum(self.stored)

    def ripe(self, at: float, stream: int) -> bool:
        """Tell whether what is not sent of a stream has waited long enough, or is enough.

        An increment that leaves takes none of it along: the store would have a row for each line.
        """
        return self.over or at >= self.send_at or self.sizes[stream] - self.sent[stream] >= SEND_BYTES

    def overdue(self, at: float) -> bool:
        """Tell whether something is on its way for so long that it may be lost."""
        ways = (self.sent[0] > self.stored[0], self.sent[1] > self.stored[1], self.lines_sent > 0)
        return any(way and at - since >= self.again_s for way, since in zip(ways, self.since, strict=True))

    @property
    def settled(self) -> bool:
        """Whether the store has all that it must have."""
        return not self.lines and not self.owed(0) and not self.owed(1)


class Keeping:
    """All that is kept, or on its way to the store."""

    def __init__(self) -> None:
        self._kept: dict[AttemptId, Kept] = {}
        self._bases: dict[AttemptId, int] = {}
        #: Of attempts that go on where others stopped: the number of the newest increment before them.
        self._due: OrderedDict[AttemptId, None] = OrderedDict()
        #: Those that have something to send now, in turns.
        self._on_their_way = 0
        self._stores: bool | None = None
        #: Whether the leader has a store; None: no leader said.

    @property
    def empty(self) -> bool:
        """Whether nothing of any attempt is kept: nearly always where there is no store."""
        return not self._kept

    def owes(self, attempt: AttemptId) -> bool:
        """Tell whether the store must have more of an attempt before its end may be reported."""
        kept = self._kept.get(attempt)
        return kept is not None and not kept.settled

    # --- the leader ---------------------------------------------------------------------------------------

    def on_registered(self, at: float, *, stores: bool) -> list[WorkerAction]:
        """Send again what a leader may not have heard. Without a store, nothing is owed to anybody."""
        self._stores = stores
        if not stores:
            lost = sum(len(kept.lines) for kept in self._kept.values())
            self._forget_all()
            return [_no_store(lost)] if lost else []
        for attempt, kept in self._kept.items():
            kept.again_s = AGAIN_S
            self._send_again(attempt, kept)
        return self._pump(at)

    def expect(self, attempt: AttemptId, seq: int) -> None:
        """Number an attempt's increments from this on."""
        self.forget(attempt)
        if seq:
            self._bases[attempt] = seq

    def on_stored(self, at: float, message: Stored) -> list[WorkerAction]:
        """Let go of what is stored, and send on."""
        kept = self._kept.get(message.attempt)
        if kept is not None:
            kept.again_s = AGAIN_S
            self._on_their_way -= kept.on_their_way
            for stream, offset in enumerate((message.stdout, message.stderr)):
                reached = min(offset, kept.sizes[stream])
                if reached > kept.stored[stream]:
                    kept.stored[stream] = reached
                    kept.sent[stream] = max(kept.sent[stream], reached)
                    kept.since[stream] = at
            for _ in range(min(message.increments - kept.seq, len(kept.lines))):
                kept.lines.popleft()
                kept.seq += 1
                kept.lines_sent = max(0, kept.lines_sent - 1)
                kept.since[_LINES] = at
            self._on_their_way += kept.on_their_way
            if message.again:
                self._send_again(message.attempt, kept)
            elif kept.lines and not kept.lines_sent:
                self._due[message.attempt] = None
        return self._pump(at)

    def waive(self, attempt: AttemptId) -> None:
        """Owe nothing more of an attempt: nobody wants it."""
        kept = self._kept.get(attempt)
        if kept is not None and kept.over:
            self.forget(attempt)

    def give_up_output(self, at: float, attempt: AttemptId) -> list[WorkerAction]:
        """The spool lost an attempt's output: what is not stored of it never will be; increments will."""
        kept = self._kept.get(attempt)
        if kept is None:
            return []
        self._on_their_way -= kept.on_their_way
        kept.sizes[:] = kept.stored
        kept.sent[:] = kept.stored
        return self._pump(at)

    def forget(self, attempt: AttemptId) -> None:
        """The leader has the attempt's report, or the attempt begins."""
        if not self._kept and not self._bases:
            return
        kept = self._kept.pop(attempt, None)
        if kept is not None:
            self._on_their_way -= kept.on_their_way
        self._bases.pop(attempt, None)
        self._due.pop(attempt, None)

    # --- the command --------------------------------------------------------------------------------------

    def on_grew(
        self, at: float, attempt: AttemptId, stream: StreamName, size_bytes: int
    ) -> list[WorkerAction]:
        """Take note that a stream of a running attempt grew."""
        if self._stores is False:
            return []
        kept = self._keep(attempt)
        kept.sizes[stream - 1] = size_bytes
        kept.send_at = min(kept.send_at, at + SEND_S)
        if size_bytes - kept.sent[stream - 1] < SEND_BYTES:
            return []
        self._due[attempt] = None
        return self._pump(at)

    def on_reported(self, at: float, attempt: AttemptId, lines: Sequence[Line]) -> list[WorkerAction]:
        """Take increments of a command."""
        if self._stores is False:
            return [_no_store(len(lines))]
        kept = self._keep(attempt)
        kept.lines += lines
        self._due[attempt] = None
        return self._pump(at)

    def on_ended(self, at: float, attempt: AttemptId, sizes: tuple[int, int]) -> list[WorkerAction]:
        """Take note that an attempt's command is over, and how long its streams are.

        What is short and was never sent rides in the result: for most commands this is all that happens.
        """
        kept = self._kept.get(attempt)
        if kept is None:
            if self._stores is False or max(sizes) <= limits.INLINE_OUTPUT_BYTES:
                return []
            kept = self._keep(attempt)
        kept.sizes[:] = sizes
        return self.on_over(at, attempt)

    def on_over(self, at: float, attempt: AttemptId) -> list[WorkerAction]:
        """Nothing will be added to an attempt: send all of it that is owed."""
        kept = self._kept.get(attempt)
        if kept is None or kept.over:
            return []
        kept.end()
        if kept.settled:
            self.forget(attempt)
            return []
        self._due[attempt] = None
        return self._pump(at)

    def tick(self, at: float) -> list[WorkerAction]:
        """Send what waited long enough, and again what may be lost."""
        for attempt, kept in self._kept.items():
            if kept.overdue(at):
                kept.again_s = min(2 * kept.again_s, AGAIN_S_MAX)
                self._send_again(attempt, kept)
            if at >= kept.send_at:
                self._due[attempt] = None
        return self._pump(at)

    # --- inside -------------------------------------------------------------------------------------------

    def _keep(self, attempt: AttemptId) -> Kept:
        kept = self._kept.get(attempt)
        if kept is None:
            seq = self._bases.get(attempt, 0)
            kept = self._kept[attempt] = Kept(
                seq=seq, sizes=[0, 0], sent=[0, 0], stored=[0, 0], lines=deque(), since=[0.0, 0.0, 0.0]
            )
        return kept

    def _forget_all(self) -> None:
        """Owe nothing to anybody; a leader with a store may come again, and counts on from what is there."""
        self._bases.update({attempt: kept.seq for attempt, kept in self._kept.items() if kept.seq})
        self._kept.clear()
        self._due.clear()
        self._on_their_way = 0

    def _send_again(self, attempt: AttemptId, kept: Kept) -> None:
        self._on_their_way -= kept.on_their_way
        kept.sent[:] = kept.stored
        kept.lines_sent = 0
        kept.send_at = float("-inf")
        self._due[attempt] = None

    def _pump(self, at: float) -> list[WorkerAction]:
        """Send what is due, one message of each attempt in turn, until enough is on its way."""
        actions: list[WorkerAction] = []
        if not self._stores:
            return actions
        while self._due and self._on_their_way < limits.STORE_WINDOW_BYTES:
            attempt, _ = self._due.popitem(last=False)
            kept = self._kept[attempt]
            action = self._next(at, attempt, kept)
            if action is None:
                if at >= kept.send_at:
                    kept.send_at = float("inf")
                continue
            actions.append(action)
            self._due[attempt] = None
        return actions

    def _next(self, at: float, attempt: AttemptId, kept: Kept) -> WorkerAction | None:
        """Return the next message of an attempt; None: all is on its way."""
        if kept.lines and not kept.lines_sent:
            lines = _portion(kept.lines)
            kept.lines_sent = len(lines)
            kept.since[_LINES] = at
            return SendToLeader(message=Increments(attempt=attempt, first=kept.seq + 1, lines=lines))
        for stream in StreamName:
            index = stream - 1
            begin = kept.sent[index]
            if begin >= kept.sizes[index] or not kept.owed(index) or not kept.ripe(at, index):
                continue
            # Pieces end at multiples of their greatest size: readers know where to look.
            block = limits.CHUNK_BYTES_MAX - begin % limits.CHUNK_BYTES_MAX
            piece = min(kept.sizes[index] - begin, block)
            if begin == kept.stored[index]:
                kept.since[index] = at
            kept.sent[index] += piece
            self._on_their_way += piece
            return SendChunk(
                attempt=attempt, stream=stream, offset=begin, size_bytes=piece, stored=kept.stored[index]
            )
        return None

    def check_invariants(self) -> None:
        """Raise AssertionError where the sums are wrong or a bound is passed; tests call it every time."""
        assert self._on_their_way == sum(kept.on_their_way for kept in self._kept.values())  # noqa: S101
        assert self._on_their_way < limits.STORE_WINDOW_BYTES + limits.CHUNK_BYTES_MAX  # noqa: S101
        assert set(self._due) <= set(self._kept)  # noqa: S101
        for kept in self._kept.values():
            for stored, sent, size in zip(kept.stored, kept.sent, kept.sizes, strict=True):
                assert stored <= sent <= size  # noqa: S101
            assert kept.lines_sent <= len(kept.lines)  # noqa: S101


def _portion(lines: deque[Line]) -> tuple[Line, ...]:
    """Return the first lines, as many as one message takes."""
    taken: list[Line] = []
    room = LINES_BYTES_MAX
    for line in lines:
        room -= size_bytes(line)
        if taken and (room < 0 or len(taken) >= LINES_MAX):
            break
        taken.append(line)
    return tuple(taken)


def _no_store(lost: int) -> Note:
    hint = "the brokers have no --store: what a command reports while it runs is kept nowhere"
    return Note("increments_dropped", {"lines": lost, "hint": hint}, Level.WARNING)
