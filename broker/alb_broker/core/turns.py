"""Whose turn it is: the order of the waiting groups, kept from one placement pass to the next.

Groups stand in *bands*: one for each user and level, the oldest head first. Bands are ranked by level, then
by what the user holds, then by the age of their first head. So a placement, which changes what one user
holds, moves his band and not each of his groups.

Between passes little changes, so nothing is sorted again, nor looked at: groups that are new, or have another
head in front of the old one, stand anew, and all are looked at only where a task left the queue otherwise
than by a placement, or where somebody may have risen by waiting. What is known to find no room stands where
it would if it did, and is passed over.

In a pass each band is gone through once, from its front: who is offered, and not placed, is out until the
next one. Where one group finds no room for a reason that holds for all of its *shape*, none of them is
offered, and nothing that asks for as much (`Shapes`). What changes meanwhile only lets a band fall back: what
a user holds grows until the pass ends. So an old rank comes too early, never too late, and is put right when
it comes first.

Invariant, once a pass has begun: each group with a head that may be offered stands in one band, by that head,
and no further back than is its turn.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, TypeAlias

from alb_broker.core.groups import (
    AGE_PER_LEVEL_S,
    NEVER,
    NO_ROOM,
    NOWHERE,
    PLACED,
    Offered,
    WaitingGroup,
    level_after,
)
from alb_broker.core.shapes import Shapes
from alb_broker.core.task import Task
from alb_core.tasks import QUEUED

ROUNDING_S: Final = 1e-3
#: So long before it is due a group is looked at for having risen: sums of cluster times are not exact.

Offer: TypeAlias = Callable[[Task, float], Offered]
#: Places a task, whose user has such a share, where that is possible; tells what came of it.
Rank: TypeAlias = tuple[int, float]
#: The level, negated, and the share of the user: less goes first.
Standing: TypeAlias = tuple[float, str, int, WaitingGroup]
#: When its head was submitted, the id of that, the number of a group, and the group. Ids sort by time: what a
#: client sends together is of one age to the leader, and yet goes in its order. Two groups may have one head:
#: a task that waits, and asks for more memory now, for its attempt thought lost ran out of that.
Place: TypeAlias = tuple[Rank, Standing, "Band"]
#: Where a band stands among the others: by its front.


class Band:
    """Groups of one user whose heads have one level."""

    __slots__ = ("front", "groups", "level", "place", "user")

    def __init__(self, user: str, level: int) -> None:
        self.user: Final = user
        self.level: Final = level
        self.groups: list[Standing] = []  #: Sorted.
        self.place = 0  #: How far this pass is: it is done with those before.
        self.front: Standing | None = None  #: What is there, and may be offered; None: nothing is left.


class Turns:
    """The order of all groups with a head.

    Args:
        shapes: Of all groups.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes: Final = shapes
        self._bands: Final[dict[tuple[str, int], Band]] = {}
        self._joined: list[WaitingGroup] = []  #: Are new, or have another head in front of the old one.
        self._stirred = False  #: Some head may have left otherwise than by a placement.
        self._rises = NEVER  #: Cluster time, before which no head is of a higher level than it stands by.
        self._ended: list[WaitingGroup] = []  #: Have no head any more.
        self._share: Callable[[str], float] = lambda _user: 0.0
        self._at = 0.0
        self._put_off: list[WaitingGroup] = []  #: In this pass; they are offered in the next.
        self._shares: dict[str, float] = {}  #: What users have now.
        self._order: list[Place] = []
        #: A heap. Each band with a front is in it by that, and no later than is its turn.
        self._worst: Rank | None = None  #: See `take_worst`.

    # --- between passes -------------------------------------------------------------------------------------

    def join(self, group: WaitingGroup) -> None:
        """Let a group that is new, or has another head in front of the old one, have its turns by that."""
        self._joined.append(group)

    def stir(self) -> None:
        """Some task may have left its group otherwise than by a placement."""
        self._stirred = True

    def take_ended(self) -> list[WaitingGroup]:
        """Return, and forget, the groups that had no head when their turn came."""
        ended, self._ended = self._ended, []
        return ended

    def take_worst(self) -> Rank | None:
        """Return, and forget, of those placed since the last call the rank of the one whose turn was last."""
        worst, self._worst = self._worst, None
        return worst

    # --- a pass ---------------------------------------------------------------------------------------------

    def begin(self, share: Callable[[str], float], at: float) -> None:
        """Begin a pass.

        Args:
            share: What a user has.
            at: Cluster time of the pass.
        """
        self._share, self._at = share, at
        for group in self._moved():
            self._leave(group)
            head = group.head()
            if head is None:
                self._ended.append(group)
            else:
                self._stand(group, head)
        self._shares.clear()
        self._order.clear()
        for band in self._bands.values():
            band.place = 0
            front = self._next(band)
            if front is not None:
                if band.user not in self._shares:
                    self._shares[band.user] = share(band.user)
                self._order.append(self._place(band, front))
        heapq.heapify(self._order)

    def _moved(self) -> dict[WaitingGroup, None]:
        """Return the groups that may not stand where they should."""
        moved, self._joined = dict.fromkeys(self._joined), []
        if self._stirred or self._at >= self._rises:
            self._stirred, self._rises = False, NEVER
            for band in self._bands.values():
                for *_, group in band.groups:
                    if self._has_moved(group):
                        moved[group] = None
                    else:
                        self._rises = min(self._rises, group.rises)
        return moved

    def _has_moved(self, group: WaitingGroup) -> bool:
        """Tell whether a group that stands has another head, or one that may have risen."""
        head = group.tasks[0] if group.tasks else None
        if head is None or head is not group.stood:
            return True
        return head.state is not QUEUED or head.postponed or self._at >= group.rises

    def run(self, offer: Offer, most: int) -> int:
        """Offer heads, each in its turn, until none is left or so many are placed; returns how many were."""
        order, shares, placed = self._order, self._shares, 0
        while order and placed < most:
            rank, standing, band = order[0]
            group = standing[3]
            if band.front is not standing:
                heapq.heappop(order)  # another entry tells where the band stands
            elif rank[1] != shares[band.user]:
                heapq.heapreplace(order, self._place(band, standing))
            elif group.door.shut:  # for what it asks for fitted nowhere meanwhile
                self._go_on(band)
            elif (head := group.head()) is None or not self._stands_by(group, head, band):
                self._move(band, group, head)  # that left, or had risen, and another of its line was placed
            elif (answer := offer(head, rank[1])) is PLACED:
                placed += 1
                group.serve(self._at)
                shares[band.user] = self._share(band.user)
                if self._worst is None or rank > self._worst:
                    self._worst = rank
                self._move(band, group, group.head())
            else:
                self._pass_over(group, head, answer)
                self._go_on(band)
        while self._put_off:
            self._put_off.pop().come_back()
        return placed

    def _pass_over(self, group: WaitingGroup, head: Task, answer: Offered) -> None:
        """The head whose turn it is was not placed."""
        if answer is NOWHERE:
            self._shapes.shut_down(group, head.request, self._at)
        elif answer is NO_ROOM:
            group.block(self._at)
        else:
            group.wait(answer)
            self._put_off.append(group)

    def _stands_by(self, group: WaitingGroup, head: Task, band: Band) -> bool:
        """Tell whether a group stands by its head and by the level of that."""
        level = band.level
        return head is group.stood and (level == group.key[1] or level == group.level(head, self._at))

    def _next(self, band: Band) -> Standing | None:
        """Go to the next group of a band that may be offered; returns its new front."""
        groups = band.groups
        for place in range(band.place, len(groups)):
            front = groups[place]
            if not front[3].door.shut:
                band.place, band.front = place, front
                return front
        band.place, band.front = len(groups), None
        return None

    def _go_on(self, band: Band) -> None:
        """Let the first band go on to its next group, and stand by that."""
        front = self._next(band)
        if front is None:
            heapq.heappop(self._order)
        else:
            heapq.heapreplace(self._order, self._place(band, front))

    def _move(self, band: Band, group: WaitingGroup, head: Task | None) -> None:
        """Let the group whose turn it is stand by another head, or by one of another level."""
        del band.groups[band.place]
        group.band = group.stood = None
        if head is None:
            self._ended.append(group)
        else:
            other = self._stand(group, head)
            if other is not band and other.front is not None and other.front[3] is group:
                heapq.heappush(self._order, self._place(other, other.front))
        self._go_on(band)
        if not band.groups:
            del self._bands[band.user, band.level]

    def _stand(self, group: WaitingGroup, head: Task) -> Band:
        """Let a group stand by its head; returns in which band, whose front it is if it comes before that."""
        user, priority = group.key[0], group.key[1]
        since = group.waits_since(head)
        level = level_after(priority, self._at - since)
        band = self._bands.get((user, level))
        if band is None:
            band = self._bands[user, level] = Band(user, level)
        standing = (head.submitted, head.id, group.number, group)
        place = bisect_left(band.groups, standing)
        band.groups.insert(place, standing)
        if place <= band.place:
            band.place, band.front = place, standing
        group.band, group.stood = band, head
        rises = group.rises = since + AGE_PER_LEVEL_S * (level - priority + 1) - ROUNDING_S
        self._rises = min(self._rises, rises)
        return band

    def _leave(self, group: WaitingGroup) -> None:
        """Let a group stand nowhere."""
        band = group.band
        if band is not None and group.stood is not None:
            place = bisect_left(band.groups, (group.stood.submitted, group.stood.id, group.number))
            del band.groups[place]
            if not band.groups:
                del self._bands[band.user, band.level]
            group.band = group.stood = None

    def _place(self, band: Band, front: Standing) -> Place:
        """Return where a band stands among the others."""
        return (-band.level, self._shares[band.user]), front, band
