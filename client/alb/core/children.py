"""The results of one array's tasks, on their way to whoever takes them.

A result comes by itself while the array is followed, again and again until it is acknowledged, and that it is
once the consumer took it: a slow consumer holds the array back, and no memory grows. What ended while nobody
here listened is found by asking for the array's stretches, and attached to. A task whose record is gone still
has its state and exit status in its stretch.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from alb.core import actions
from alb.core.actions import ClientAction
from alb.core.positions import Known
from alb.core.tasks import TaskBook
from alb_core.arrays import Stretch, Stride
from alb_core.messages import Ack, ArrayPage, Attach, QueryArray
from alb_core.places import Places
from alb_core.tasks import Result, TaskState

UNTAKEN_MAX: Final = 256
#: Results that are delivered and not taken: enough to keep a consumer busy, few enough to hold their output.
WAITING_MAX: Final = 4000
#: Results that came and are not delivered. What comes beyond is dropped, and comes again.
ATTACHES_MAX: Final = 100
#: Tasks that are attached to at once, because they ended while nobody here listened.
AGAIN_S: Final = 2.0
#: A question, or an attachment, is sent again after so long without an answer.


class Lacking(msgspec.Struct):
    """A task that ended, and whose result is asked for."""

    state: TaskState
    exit_status: int
    send_at: float


class Children:
    """What is known of the tasks of one array.

    Args:
        array: Its id.
        strides: Its indexes.
        ordered: Deliver in the order of positions: none that is further than a window from what was taken.
        book: Fetches output.
    """

    def __init__(self, array: str, strides: tuple[Stride, ...], book: TaskBook, *, ordered: bool) -> None:
        self._array: Final = array
        self._places: Final = Places(strides)
        self._ordered: Final = ordered
        self._book: Final = book
        self.known: Final = Known()
        #: Positions whose end is here, or was passed on.
        self._waiting: Final[dict[int, Result]] = {}
        self._next: Final[list[int]] = []
        #: A heap of the positions that wait.
        self._untaken: Final[set[int]] = set()
        self._reached = 0
        #: Of an ordered array: all before it was taken.
        self._lacking: Final[dict[int, Lacking]] = {}
        self._found: Final[deque[Stretch]] = deque()
        #: Of the page that was read last: what was not looked at yet.
        self._after: int | None = None
        #: From which position on it is to be asked what ended; None: nothing is to be asked.
        self.seq = 0
        #: Of the question that awaits its answer; 0: none does.
        self._ask_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way here or to the consumer."""
        return not (self._waiting or self._untaken or self._lacking or self._found or self._after is not None)

    def task_id(self, position: int) -> str:
        """Return the id of the task at a position."""
        return f"{self._array}.{self._places.index_at(position)}"

    # --- catching up ----------------------------------------------------------------------------------------

    def catch_up(self, at: float) -> None:
        """Ask what ended while nobody here listened, or what never became a task."""
        if self._after is None:
            self._after = self.known.first_missing()
            self._ask_at = at
        self.seq = 0

    def on_welcome(self, at: float) -> None:
        """Ask a new leader everything that is open."""
        self.seq = 0
        self._ask_at = at
        for lacking in self._lacking.values():
            lacking.send_at = at

    def on_page(self, at: float, page: ArrayPage) -> None:
        """Take what ended."""
        self.seq = 0
        self._found.extend(page.stretches)
        over = page.until >= page.array.total
        self._after = None if over or page.until <= (self._after or 0) else page.until
        self._ask_at = at

    def advance(self, at: float, next_seq: Callable[[], int], link: int, out: list[ClientAction]) -> None:
        """Go on wherever there is room."""
        self._release(at, link, out)
        self._look_at_found(at, out)
        if not link:
            return
        for position, lacking in self._lacking.items():
            if at >= lacking.send_at:
                lacking.send_at = at + AGAIN_S
                out.append(actions.Send(link, Attach(id=self.task_id(position))))
        if self._after is None or self._found or at < self._ask_at:
            return
        self.seq, self._ask_at = next_seq(), at + AGAIN_S
        out.append(actions.Send(link, QueryArray(seq=self.seq, id=self._array, after=self._after)))

    def _look_at_found(self, at: float, out: list[ClientAction]) -> None:
        while self._found:
            stretch = self._found[0]
            if stretch.state is TaskState.CANCELLED:
                self._skip(stretch, out)
            elif not self._has_room(stretch.first):
                return
            elif stretch.first not in self.known:
                self._lacking.setdefault(stretch.first, Lacking(stretch.state, stretch.exit_status, at))
                stretch = msgspec.structs.replace(stretch, count=1)
            else:
                stretch = msgspec.structs.replace(stretch, count=1)
            self._drop_found(stretch.count)

    def _has_room(self, position: int) -> bool:
        if self._ordered:
            return position < self._reached + UNTAKEN_MAX
        return len(self._lacking) + len(self._waiting) < ATTACHES_MAX

    def _drop_found(self, count: int) -> None:
        first = self._found.popleft()
        if count < first.count:
            rest = msgspec.structs.replace(first, first=first.first + count, count=first.count - count)
            self._found.appendleft(rest)

    def _skip(self, stretch: Stretch, out: list[ClientAction]) -> None:
        """Pass on that these were cancelled: most never were a task, and of the rest nobody wants output."""
        begin = stretch.first
        for position in range(begin, begin + stretch.count + 1):
            over = position == stretch.first + stretch.count
            if over or position in self.known:
                if position > begin:
                    some = msgspec.structs.replace(stretch, first=begin, count=position - begin)
                    out.append(actions.SkipResults(self._array, some))
                begin = position + 1
            else:
                self.known.add(position)
                self._lacking.pop(position, None)

    # --- results --------------------------------------------------------------------------------------------

    def on_finished(self, at: float, link: int, index: int, result: Result, out: list[ClientAction]) -> None:
        """Take a task's result; one that is taken already is acknowledged again."""
        position = self._places.position_of(index)
        if position is None:
            return
        if position in self.known:
            if link and position not in self._untaken and position not in self._waiting:
                out.append(actions.Send(link, Ack(id=self.task_id(position))))
            return
        if self._ordered and position >= self._reached + WAITING_MAX:
            return
        if not self._ordered and len(self._waiting) >= WAITING_MAX:
            return
        self._lacking.pop(position, None)
        self.known.add(position)
        self._waiting[position] = result
        heapq.heappush(self._next, position)
        self._release(at, link, out)

    def on_gone(self, index: int, out: list[ClientAction]) -> bool:
        """A task's record is gone: what its stretch says is all there is. Tells whether that was asked."""
        position = self._places.position_of(index)
        lacking = self._lacking.pop(position, None) if position is not None else None
        if lacking is None or position is None:
            return False
        self.known.add(position)
        stretch = Stretch(position, 1, lacking.state, lacking.exit_status)
        out.append(actions.SkipResults(self._array, stretch))
        return True

    def _release(self, at: float, link: int, out: list[ClientAction]) -> None:
        while self._next and len(self._untaken) < UNTAKEN_MAX:
            if self._ordered and self._next[0] >= self._reached + UNTAKEN_MAX:
                return
            position = heapq.heappop(self._next)
            self._untaken.add(position)
            self._book.take_child(at, link, self.task_id(position), self._waiting.pop(position), out)

    def on_taken(self, positions: tuple[int, ...], reached: int, link: int, out: list[ClientAction]) -> None:
        """The consumer took some: acknowledge them."""
        self._reached = max(self._reached, reached)
        for position in positions:
            if position in self._untaken:
                self._untaken.discard(position)
                if link:
                    out.append(actions.Send(link, Ack(id=self.task_id(position))))

    def drop(self, link: int, out: list[ClientAction]) -> None:
        """Nobody wants the results any more: acknowledge what is here, so that it holds nothing back."""
        for position in (*self._waiting, *self._untaken):
            self._book.abandon(self.task_id(position))
            if link:
                out.append(actions.Send(link, Ack(id=self.task_id(position))))

    def forget(self) -> None:
        """Fetch no more output, and acknowledge nothing."""
        for position in self._untaken:
            self._book.abandon(self.task_id(position))
