"""The tasks that wait for a worker, in groups of those that are alike.

The queue owns the order: level, then the user with the smallest share, then age. The level of a task is its
priority, raised by one for every ``AGE_PER_LEVEL_S`` in which nothing of its user and priority was placed. A
placement pass looks at heads of groups only; a group whose head fits nowhere is skipped until capacity that
could fit it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from alb_broker.core.groups import NEVER, Key, Line, WaitingGroup, key_of
from alb_broker.core.shapes import Shapes
from alb_broker.core.task import Task
from alb_broker.core.turns import Offer, Rank, Turns
from alb_core.resources import Request


class Queue:
    """All waiting tasks.

    Args:
        held_back: Tells whether a task cannot be placed now, whatever room there is; see `release_held`.
    """

    def __init__(self, held_back: Callable[[Task], bool] = lambda _task: False) -> None:
        self._groups: dict[Key, WaitingGroup] = {}
        self._lines: dict[tuple[str, int], Line] = {}
        self._shapes: Final = Shapes()
        self._turns: Final = Turns(self._shapes)
        self._next = 0  #: Number of the next new group.
        self._held_back = held_back
        self._held: list[tuple[Task, bool]] = []  #: Tasks that are not offered to anybody, with `first`.

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
            self._turns.join(group)
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
        line.groups += 1
        group = self._groups[key] = WaitingGroup(key, self._next, line, self._shapes.of(key[2]))
        self._next += 1
        self._turns.join(group)
        return group

    def stir(self) -> None:
        """Some task that waited does not, or waits for something else, and was not placed."""
        self._turns.stir()

    def open_shapes(
        self,
        reach: Callable[[float], int],
        could_fit: Callable[[Request], bool],
        lets_in: Callable[[Task], bool] | None = None,
    ) -> None:
        """Room grew: what could fit there is offered again, whoever wants it; see `Shapes.open_up`."""
        self._shapes.open_up(reach, could_fit, lets_in)

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
        worst = self._turns.take_worst()
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

    def roomless_since(self, since: float, key: Key) -> Iterator[Key]:
        """Yield other groups whose heads have found no room since a moment, in no order."""
        for group in self._groups.values():
            if group.refused <= since and group.key != key and group.head() is not None:
                yield group.key

    def overtake_anew(self, key: Key, at: float) -> None:
        """A head has had its chance: it counts as overtaken when that happens again, from now on."""
        group = self._groups[key]
        group.refused, group.overtaken = at, False

    def place(
        self,
        share: Callable[[str], float],
        offer: Offer,
        most: int,
        at: float,
        fallen: Iterable[str] | None = None,
    ) -> int:
        """Offer tasks in order, until none fits or enough are placed.

        Args:
            share: What a user has of the cluster; less goes first.
            offer: Places the task where that is possible.
            most: Bound of one pass.
            at: Cluster time.
            fallen: Users who may have less than when the last pass ended; None: all may.

        Returns:
            How many were placed.
        """
        turns = self._turns
        turns.begin(share, at, fallen)
        placed = turns.run(offer, most)
        for group in turns.take_ended():
            self._forget(group)
        return placed

    def _forget(self, group: WaitingGroup) -> None:
        """Forget a group without tasks."""
        key = group.key
        del self._groups[key]
        group.end()
        group.line.groups -= 1
        if not group.line.groups:
            del self._lines[key[:2]]
        if not group.shape.groups:
            self._shapes.remove(group.shape)
