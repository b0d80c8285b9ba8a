"""The tasks that wait for a worker, grouped by (user, priority, request shape).

The queue owns the order: level, then the user with the smallest share, then age. The level of a task is its
priority, raised by one for every ``AGE_PER_LEVEL_S`` in which nothing of its user and priority was placed. A
placement pass looks at heads of groups only; a group whose head fits nowhere is skipped until capacity that
could fit it grows.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from alb_broker.core.task import Task
from alb_broker.core.turns import AGE_PER_LEVEL_S, Band, Rank, Turns
from alb_core.resources import Request
from alb_core.tasks import QUEUED

Key: TypeAlias = tuple[str, int, Request, bool]
#: User, priority, shape, and whether its time is limited: what is not may be barred where there is room.

AGED_S: Final = 86_400.0
#: Who got nothing for a day goes before everybody, whatever the priorities: they are 32-bit numbers.
LEVEL_AGED: Final = 2**32
NEVER: Final = float("inf")


class Offered(enum.Enum):
    """What came of offering a task."""

    PLACED = "placed"  #: A worker has it.
    DECLINED = "declined"  #: The policy wants it to wait; it is asked again in the next pass.
    BOUNDED = "bounded"  #: Its user has all that he may have; it is asked again in the next pass.
    NO_ROOM = "no room"  #: It fits nowhere, until the room on some worker grows.
    NOWHERE = "nowhere"  #: The same, and nor does anything else that asks for the same.


PLACED: Final = Offered.PLACED
NO_ROOM: Final = Offered.NO_ROOM
NOWHERE: Final = Offered.NOWHERE
#: Told with every offer: looked up in their class they cost thirty times as much.


class Shape:
    """What the tasks of some groups ask for, whoever submitted them: told apart by identity."""

    __slots__ = ("groups",)

    def __init__(self) -> None:
        self.groups: dict[Key, WaitingGroup] = {}


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
        "blocked",
        "bounded",
        "declined",
        "key",
        "line",
        "number",
        "overtaken",
        "refused",
        "rises",
        "shape",
        "stood",
        "tasks",
    )

    def __init__(self, key: Key, number: int, line: Line, shape: Shape) -> None:
        self.key = key
        self.number = number  #: No other group has it.
        self.line = line
        self.shape = shape
        self.tasks: deque[Task] = deque()
        #: May hold tasks that left the queue otherwise (cancelled, adopted, held): the head skips them.
        self.blocked = False  #: Its head fitted nowhere, and no room that could fit it has grown since.
        self.declined = False  #: The policy wanted its head to wait when it was last asked.
        self.bounded = False  #: Its user had all that he may have, when its head was last offered.
        self.refused = NEVER  #: Cluster time, since when its head finds no room.
        self.overtaken = False  #: Meanwhile something was placed whose turn was not before it.
        self.band: Band | None = None  #: Where it stands among the turns; the next two are of that.
        self.stood: Task | None = None  #: Its head when it took that place.
        self.rises = NEVER  #: Cluster time from which that head may be of a higher level.

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
        age = at - self.waits_since(head)
        if age < AGE_PER_LEVEL_S:
            return self.key[1]
        return self.key[1] + int(age / AGE_PER_LEVEL_S) if age < AGED_S else LEVEL_AGED

    def waits_since(self, head: Task) -> float:
        """Return the cluster time from which the wait of its head counts."""
        since, served = head.queued_since, self.line.served
        return served if served > since else since  # noqa: FURB136 (asked in each turn: `max` costs ten times as much)

    def offer_head(self, offer: Callable[[Task], Offered], at: float) -> Offered:
        """Offer the head, which must exist; returns what came of it."""
        answer = offer(self.tasks[0])
        if answer is NO_ROOM or answer is NOWHERE:
            self.refuse(at)
            return answer
        self.blocked = self.declined = self.bounded = self.overtaken = False
        self.refused = NEVER
        if answer is PLACED:
            self.tasks.popleft()
            self.line.served = at
        else:
            self.declined, self.bounded = answer is Offered.DECLINED, answer is Offered.BOUNDED
        return answer

    def refuse(self, at: float) -> None:
        """Its head fits nowhere."""
        self.blocked, self.declined, self.bounded = True, False, False
        if self.refused == NEVER:
            self.refused = at


class Queue:
    """All waiting tasks.

    Args:
        held_back: Tells whether a task cannot be placed now, whatever room there is; see `release_held`.
    """

    def __init__(self, held_back: Callable[[Task], bool] = lambda _task: False) -> None:
        self._groups: dict[Key, WaitingGroup] = {}
        self._lines: dict[tuple[str, int], Line] = {}
        self._shapes: dict[Request, Shape] = {}
        self._turns: Final = Turns()
        self._next = 0  #: Number of the next new group.
        self._held_back = held_back
        self._held: list[tuple[Task, bool]] = []  #: Tasks that are not offered to anybody, with `first`.
        self._worst: Rank | None = None
        #: Of those that were placed since `starved` was asked, the one whose turn was last.

    def __bool__(self) -> bool:
        """Tell whether anything waits to be offered."""
        return bool(self._groups)

    def release_held(self) -> None:
        """Offer what was held back."""
        held, self._held = self._held, []
        for task, first in held:
            if task.waits_for_room:
                self.add(task, first=first)

    def add(self, task: Task, *, first: bool = False) -> None:
        """Let a task wait.

        Args:
            task: In state QUEUED.
            first: Before its likes: it had its turn already and lost its worker.
        """
        if self._held_back(task):
            self._held.append((task, first))
            return
        group = self._groups.get(key_of(task)) or self._begin(key_of(task))
        if first:
            group.tasks.appendleft(task)
        else:
            group.tasks.append(task)

    def fill(self, tasks: Iterable[Task]) -> None:
        """Let many tasks wait, in this order; one look tells that those with one specification are alike."""
        known: dict[tuple[str, int], WaitingGroup] = {}
        for task in tasks:
            if self._held_back(task):
                self._held.append((task, False))
                continue
            alike = task.user, id(task.effective)
            group = known.get(alike)
            if group is None:
                key = key_of(task)
                group = known[alike] = self._groups.get(key) or self._begin(key)
            group.tasks.append(task)

    def _begin(self, key: Key) -> WaitingGroup:
        line = self._lines.get(key[:2])
        if line is None:
            line = self._lines[key[:2]] = Line()
        shape = self._shapes.get(key[2])
        if shape is None:
            shape = self._shapes[key[2]] = Shape()
        line.groups += 1
        group = self._groups[key] = shape.groups[key] = WaitingGroup(key, self._next, line, shape)
        self._next += 1
        self._turns.join(group)
        return group

    def unblock(self, could_fit: Callable[[Task], bool], *, apart: bool = False) -> None:
        """Room grew: groups whose heads could fit there are offered again.

        Args:
            could_fit: Tells it of a head.
            apart: It may differ between heads that ask for the same.
        """
        for shape in self._shapes.values():
            fitting: bool | None = None
            for group in shape.groups.values():
                if group.blocked:
                    if fitting is None or apart:
                        fitting = could_fit(head) if (head := group.head()) is not None else None
                    group.blocked = not fitting

    def unplaced(self) -> Iterator[Task]:
        """Yield the head of each group that waits for room, not because somebody wants it to."""
        for group in self._groups.values():
            head = group.head()
            if head is not None and not group.declined and not group.bounded:
                yield head

    def roomless(self) -> Iterator[Task]:
        """Yield the head of each group that found no room when it was last offered."""
        for group in self._groups.values():
            if group.blocked and (head := group.head()) is not None:
                yield head

    def waits(self, key: Key) -> bool:
        """Tell whether a task of this group waits."""
        group = self._groups.get(key)
        return group is not None and group.head() is not None

    def group(self, key: Key) -> WaitingGroup | None:
        """Return a group that has tasks."""
        return self._groups.get(key)

    def before(self, group: WaitingGroup, share: Callable[[str], float], at: float) -> list[WaitingGroup]:
        """Return the groups whose turn comes before that of one with a head, in order."""
        ranked = sorted(self._ranked(share, at), key=lambda each: each[:3])
        groups = [each for *_, each in ranked]
        return groups[: groups.index(group)] if group in groups else groups

    def _ranked(
        self, share: Callable[[str], float], at: float
    ) -> Iterator[tuple[Rank, float, str, WaitingGroup]]:
        """Yield each group that has a head: its rank, age and id of the head, and itself."""
        for group in self._groups.values():
            head = group.head()
            if head is not None:
                yield (-group.level(head, at), share(group.key[0])), head.submitted, head.id, group

    def starved(self, since: float, share: Callable[[str], float], at: float) -> list[WaitingGroup]:
        """Return the groups whose heads found no room for long, while others were placed past them.

        Past it went who was placed since this was last asked and whose turn was not before: of a lower or the
        same level and of a user with no smaller share; or anything of its own user and priority.

        Args:
            since: Cluster time since when a head must have found no room.
            share: What a user has.
            at: Cluster time.

        Returns:
            The highest level first, and in it who has waited longest.
        """
        worst, self._worst = self._worst, None
        found: list[tuple[int, float, str, WaitingGroup]] = []
        if worst is None and not any(group.overtaken for group in self._groups.values()):
            return []
        for rank, _, head, group in self._ranked(share, at):
            if group.refused == NEVER:
                continue
            passed = worst is not None and rank <= worst
            group.overtaken = group.overtaken or passed or group.line.served > group.refused
            if group.overtaken and group.refused <= since:
                found.append((rank[0], group.refused, head, group))
        return [group for *_, group in sorted(found, key=lambda each: each[:3])]

    def requests_since(self, since: float, key: Key) -> Iterator[Request]:
        """Yield what heads of other groups ask for that have found no room since a moment, in no order."""
        for group in self._groups.values():
            if group.refused <= since and group.key != key and group.head() is not None:
                yield group.key[2]

    def overtake_anew(self, key: Key, at: float) -> None:
        """A head has had its chance: it counts as overtaken when that happens again, from now on."""
        group = self._groups[key]
        group.refused, group.overtaken = at, False

    def place(
        self, share: Callable[[str], float], offer: Callable[[Task], Offered], most: int, at: float
    ) -> int:
        """Offer tasks in order, until none fits or enough are placed.

        Args:
            share: What a user has of the cluster; less goes first.
            offer: Places the task where that is possible.
            most: Bound of one pass.
            at: Cluster time.

        Returns:
            How many were placed.
        """
        turns, placed = self._turns, 0
        turns.begin(share, at)
        while placed < most and (group := turns.first()) is not None:
            answer = group.offer_head(offer, at)
            if answer is PLACED:
                placed += 1
                rank = turns.rank
                self._worst = rank if self._worst is None else max(self._worst, rank)
                turns.serve()
            else:
                turns.drop(shut=answer is NOWHERE)
        self._forget_empty()
        return placed

    def _forget_empty(self) -> None:
        empty = [key for key, group in self._groups.items() if not group.tasks]
        for key in empty:
            group = self._groups.pop(key)
            self._turns.leave(group)
            group.line.groups -= 1
            if not group.line.groups:
                del self._lines[key[:2]]
            del group.shape.groups[key]
            if not group.shape.groups:
                del self._shapes[key[2]]


def key_of(task: Task) -> Key:
    """Return the group that a waiting task belongs to."""
    return task.user, task.spec.priority, task.request, task.spec.time_limit_s is not None
