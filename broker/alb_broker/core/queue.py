"""The tasks that wait for a worker, grouped by (user, priority, request shape).

The queue owns the order: priority, then the user with the least reserved, then age. A placement pass looks
at heads of groups only; a group whose head fits nowhere is skipped until capacity that could fit it grows.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from alb_broker.core.task import Task
from alb_core.resources import Request

Key: TypeAlias = tuple[str, int, Request, bool]
#: User, priority, shape, and whether its time is limited: what is not may be barred where there is room.


class Offered(enum.Enum):
    """What came of offering a task."""

    PLACED = "placed"  #: A worker has it.
    DECLINED = "declined"  #: The policy wants it to wait; it is asked again in the next pass.
    NO_ROOM = "no room"  #: It fits nowhere, until the room on some worker grows.


class WaitingGroup:
    """Tasks of one user that are alike to the policy, oldest first."""

    __slots__ = ("blocked", "declined", "key", "tasks")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.tasks: deque[Task] = deque()
        #: May hold tasks that left the queue otherwise (cancelled, adopted, held): the head skips them.
        self.blocked = False  #: Its head fitted nowhere, and no room that could fit it has grown since.
        self.declined = False  #: The policy wanted its head to wait when it was last asked.

    def head(self) -> Task | None:
        """Return the oldest task that still waits."""
        while self.tasks:
            task = self.tasks[0]
            if task.waits_for_room:
                return task
            self.tasks.popleft()
        return None

    def offer_head(self, offer: Callable[[Task], Offered]) -> bool:
        """Offer the head, which must exist; returns whether it was placed."""
        answer = offer(self.tasks[0])
        self.blocked = answer is Offered.NO_ROOM
        self.declined = answer is Offered.DECLINED
        if answer is Offered.PLACED:
            self.tasks.popleft()
        return answer is Offered.PLACED


class Queue:
    """All waiting tasks.

    Args:
        held_back: Tells whether a task cannot be placed now, whatever room there is; see `release_held`.
    """

    def __init__(self, held_back: Callable[[Task], bool] = lambda _task: False) -> None:
        self._groups: dict[Key, WaitingGroup] = {}
        self._held_back = held_back
        self._held: list[tuple[Task, bool]] = []  #: Tasks that are not offered to anybody, with `first`.

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
        key = (task.user, task.spec.priority, task.request, task.spec.time_limit_s is not None)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = WaitingGroup(key)
        if first:
            group.tasks.appendleft(task)
        else:
            group.tasks.append(task)

    def unblock(self, could_fit: Callable[[Request], bool]) -> None:
        """Room grew: shapes that could fit there are offered again."""
        for group in self._groups.values():
            if group.blocked and could_fit(group.key[2]):
                group.blocked = False

    def unplaced(self) -> Iterator[Task]:
        """Yield the head of each group that waits for room, not because the policy wants it to."""
        for group in self._groups.values():
            head = group.head()
            if head is not None and not group.declined:
                yield head

    def roomless(self) -> Iterator[Task]:
        """Yield the head of each group that found no room when it was last offered."""
        for group in self._groups.values():
            if group.blocked and (head := group.head()) is not None:
                yield head

    def place(self, share: Callable[[str], float], offer: Callable[[Task], Offered], most: int) -> int:
        """Offer tasks in order, until none fits or enough are placed.

        Args:
            share: What a user has reserved; less goes first.
            offer: Places the task where that is possible.
            most: Bound of one pass.

        Returns:
            How many were placed.
        """
        heap = [
            (-group.key[1], share(group.key[0]), head.submitted, number, group)
            for number, group in enumerate(self._groups.values())
            if not group.blocked and (head := group.head()) is not None
        ]
        heapq.heapify(heap)
        placed = 0
        while heap and placed < most:
            priority, known_share, _, number, group = heap[0]
            user = group.key[0]
            if share(user) <= known_share:  # else another group of this user had its turn meanwhile
                if not group.offer_head(offer):
                    heapq.heappop(heap)
                    continue
                placed += 1
            head = group.head()
            if head is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (priority, share(user), head.submitted, number, group))
        self._forget_empty()
        return placed

    def _forget_empty(self) -> None:
        empty = [key for key, group in self._groups.items() if not group.tasks]
        for key in empty:
            del self._groups[key]
