"""The groups of waiting tasks: those of one user, priority and shape, which are alike to a placement pass.

A group knows its head, how high that stands, and whether it may be offered. What fits nowhere fits nowhere
for all groups of its *shape*, nor does what asks for more: so a row of shapes knows that, and only of those
groups that are told apart each for itself. What was refused is not offered again until capacity that could
fit it grows.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from alb_broker.core.task import Task
from alb_core.resources import Request
from alb_core.tasks import QUEUED

if TYPE_CHECKING:
    from alb_broker.core.turns import Band

Key: TypeAlias = tuple[str, int, Request, bool]
#: User, priority, shape, and whether its time is limited: what is not may be barred where there is room.

AGE_PER_LEVEL_S: Final = 600.0
#: Who got nothing for so long goes before the next higher priority, once: long enough that priorities mean
#: something to people who wait, short enough that a night with a full queue does not pass without a turn.
AGED_S: Final = 86_400.0
#: Who got nothing for a day goes before everybody, whatever the priorities: they are 32-bit numbers.
LEVEL_AGED: Final = 2**32
NEVER: Final = float("inf")


class Offered(enum.Enum):
    """What came of offering a task."""

    PLACED = "placed"  #: A worker has it.
    FILLED = "filled"  #: The same, and that was the last one on which something fitted that asks for as much.
    DECLINED = "declined"  #: The policy wants it to wait; it is asked again in the next pass.
    BOUNDED = "bounded"  #: Its user has all that he may have; it is asked again when he may have less.
    NO_ROOM = "no room"  #: It fits nowhere, until the room on some worker grows.
    NOWHERE = "nowhere"  #: The same, and nor does anything else that asks for as much.


PLACED: Final = Offered.PLACED
FILLED: Final = Offered.FILLED
BOUNDED: Final = Offered.BOUNDED
NO_ROOM: Final = Offered.NO_ROOM
NOWHERE: Final = Offered.NOWHERE
#: Told with every offer: looked up in their class they cost thirty times as much.


class Door:
    """Whether heads may be offered: those may that ask for less memory than its bound."""

    __slots__ = ("bound",)

    def __init__(self, bound: float = NEVER) -> None:
        self.bound = bound


OPEN: Final = Door()
SHUT: Final = Door(0)
#: Of groups that are told apart from their likes.


class Doors:
    """What the doors of all rows have in common."""

    __slots__ = ("ajar", "opened")

    def __init__(self) -> None:
        self.ajar: Final[set[Row]] = set()  #: Rows of which something may be offered.
        self.opened: Final[set[Row]] = set()  #: Rows of which more may be than when this was last emptied.


class Row(Door):
    """Shapes that ask for one number of processors, told apart by memory; or one for itself.

    What asks for as much memory as the bound, or for more, fits nowhere, and no room that could fit it has
    grown since. So one number shuts and opens them all, however many there are.

    Args:
        doors: Of all rows; this one says there what may be offered of it.
    """

    __slots__ = ("_doors", "amounts", "apart", "fresh", "let")

    def __init__(self, doors: Doors) -> None:
        super().__init__()
        self._doors: Final = doors
        self.amounts: list[int] = []  #: What its shapes ask for, sorted.
        self.apart: set[WaitingGroup] = set()  #: Groups with another door than their likes.
        self.let: set[WaitingGroup] = set()  #: Of these, those that may be offered.
        self.fresh: set[WaitingGroup] = set()
        #: Those that were not refused since they had their turn, nor put off.

    def look(self) -> None:
        """Note whether anything of it may be offered."""
        if self.let or (self.amounts and self.amounts[0] < self.bound):
            self._doors.ajar.add(self)
        else:
            self._doors.ajar.discard(self)

    def add(self, memory_bytes: int) -> None:
        """One more shape asks for so much."""
        insort(self.amounts, memory_bytes)
        self.look()

    def remove(self, memory_bytes: int) -> None:
        """One shape that asked for so much is no more."""
        del self.amounts[bisect_left(self.amounts, memory_bytes)]
        self.look()

    def shut_from(self, memory_bytes: int, at: float) -> None:
        """Heads that ask for so much fit nowhere; of those that are put off nobody knows."""
        if memory_bytes < self.bound:
            self.bound = memory_bytes
            self.look()
        for group in tuple(self.fresh):
            if group.memory_bytes >= memory_bytes:
                group.be_alike()
                group.refuse(at)

    def open_to(self, memory_bytes: float) -> None:
        """Room grew in which heads could fit that ask for so much, or for less."""
        if memory_bytes >= self.bound:
            self.bound = memory_bytes + 1
            self.look()
            self.on_opened()

    def on_opened(self) -> None:
        """Something of it may be offered that might not."""
        self._doors.opened.add(self)

    def let_in(
        self, could_fit: Callable[[Request], bool], lets_in: Callable[[Task], bool] | None = None
    ) -> None:
        """Room grew: groups that are told apart, and could fit there, are offered again."""
        known: dict[Request, bool] = {}
        for group in list(self.apart):
            request = group.shape.request
            if lets_in is not None:
                head = group.head()
                fits = head is not None and lets_in(head)
            elif request in known:
                fits = known[request]
            else:
                fits = known[request] = could_fit(request)
            if fits:
                group.open_up()


class Shape:
    """What the tasks of some groups ask for, whoever submitted them.

    Args:
        request: What that is.
        row: Where it stands.
    """

    __slots__ = ("groups", "memory_bytes", "request", "row")

    def __init__(self, request: Request, row: Row) -> None:
        self.request: Final = request
        self.memory_bytes: Final = request.memory_bytes
        self.row: Final = row
        self.groups: dict[Key, WaitingGroup] = {}

    @property
    def shut(self) -> bool:
        """Whether its heads fit nowhere."""
        return self.memory_bytes >= self.row.bound


class Line:
    """All groups of one user and priority: they age together, or many shapes would make many turns."""

    __slots__ = ("groups", "served")

    def __init__(self) -> None:
        self.groups = 0  #: How many there are.
        self.served = float("-inf")  #: Cluster time, when something of them was placed last.


class WaitingGroup:
    """Tasks of one user that are alike to the policy, oldest first."""

    __slots__ = (
        "band",
        "bounded",
        "declined",
        "door",
        "key",
        "line",
        "memory_bytes",
        "number",
        "overtaken",
        "put_off",
        "refused",
        "shape",
        "stood",
        "tasks",
    )

    def __init__(self, key: Key, number: int, line: Line, shape: Shape) -> None:
        self.key = key
        self.number = number  #: No other group has it.
        self.line = line
        self.shape = shape
        self.memory_bytes = shape.memory_bytes
        self.tasks: deque[Task] = deque()
        #: May hold tasks that left the queue otherwise (cancelled, adopted, held): the head skips them.
        self.door: Door = shape.row  #: Of all its likes, or another where it is told apart from them.
        self.put_off = False  #: It is out for another reason than room (`wait`).
        self.declined = False  #: The policy wanted its head to wait when it was last asked.
        self.bounded = False  #: Its user had all that he may have, when its head was last offered.
        self.refused = NEVER  #: Cluster time, since when its head finds no room.
        self.overtaken = False  #: Meanwhile something was placed whose turn was not before it.
        self.band: Band | None = None  #: Where it stands among the turns.
        self.stood: Task | None = None  #: Its head when it took that place.
        shape.groups[key] = self
        shape.row.fresh.add(self)
        self.open_up()  # should the shape be shut: nobody asked for this one

    # --- what is asked --------------------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Whether its head fitted nowhere, and no room that could fit it has grown since."""
        return self.memory_bytes >= self.door.bound and not self.put_off

    def head(self) -> Task | None:
        """Return the oldest task that still waits."""
        while self.tasks:
            task = self.tasks[0]
            if task.state is QUEUED and not task.postponed:  # `waits_for_room`, without a call
                return task
            self.tasks.popleft()
        return None

    def level(self, head: Task, at: float) -> int:
        """Return the level of its head: its priority, and what it rose by waiting."""
        return level_after(self.key[1], at - self.waits_since(head))

    def waits_since(self, head: Task) -> float:
        """Return the cluster time from which the wait of its head counts."""
        since, served = head.queued_since, self.line.served
        return served if served > since else since  # noqa: FURB136 (asked in each turn: `max` costs ten times as much)

    # --- what comes of an offer -----------------------------------------------------------------------------

    def serve(self, at: float) -> Task | None:
        """Its head was placed; returns the next one."""
        self.tasks.popleft()
        self.line.served = at
        self._have_turn()
        return self.head()

    def wait(self, answer: Offered) -> None:
        """The policy, or the bounds of its user, want its head to wait: it is out, whatever room there is."""
        self._have_turn()
        self.declined, self.bounded = answer is Offered.DECLINED, answer is Offered.BOUNDED
        self.put_off = True
        self.be_alike()
        self.door = SHUT
        self.shape.row.fresh.discard(self)

    def come_back(self) -> None:
        """What it was put off for may be over."""
        self.put_off = False
        self.shape.row.fresh.add(self)
        self._open()

    def _have_turn(self) -> None:
        self.declined = self.bounded = self.overtaken = False
        self.refused = NEVER
        self.shape.row.fresh.add(self)

    def block(self, at: float) -> None:
        """Its head fits nowhere, whatever holds of its likes."""
        if self.shape.shut:
            self.be_alike()
        else:
            self._stand_apart(SHUT)
        self.refuse(at)

    def refuse(self, at: float) -> None:
        """Its head is known to fit nowhere."""
        self.shape.row.fresh.discard(self)
        self.declined = self.bounded = False
        if self.refused == NEVER:
            self.refused = at

    def open_up(self) -> None:
        """Its head may be offered, whatever holds of its likes."""
        self._open()
        self.shape.row.on_opened()

    def _open(self) -> None:
        if self.shape.shut:
            self._stand_apart(OPEN)
        else:
            self.be_alike()

    def _stand_apart(self, door: Door) -> None:
        """Have another door than its likes."""
        row, self.door = self.shape.row, door
        row.apart.add(self)
        if door is OPEN:
            row.let.add(self)
        else:
            row.let.discard(self)
        row.look()

    def be_alike(self) -> None:
        """What holds of its likes holds of it."""
        row = self.shape.row
        if self.door is not row:
            self.door = row
            row.apart.discard(self)
            row.let.discard(self)
            row.look()

    def end(self) -> None:
        """It has no tasks."""
        self.be_alike()
        del self.shape.groups[self.key]
        self.shape.row.fresh.discard(self)


def level_after(priority: int, waited_s: float) -> int:
    """Return the level of a head that has waited for so long."""
    if waited_s < AGE_PER_LEVEL_S:
        return priority
    return priority + int(waited_s / AGE_PER_LEVEL_S) if waited_s < AGED_S else LEVEL_AGED


def key_of(task: Task) -> Key:
    """Return the group that a waiting task belongs to."""
    return task.user, task.spec.priority, task.request, task.spec.time_limit_s is not None
