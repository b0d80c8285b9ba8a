"""Whose turn it is: the order of the waiting groups, kept from one placement pass to the next.

Groups stand in *bands*: one for each user and level, the oldest head first. Bands are ranked by level, then
by what the user holds, then by the age of their first head. So a placement, which changes what one user
holds, moves his band and not each of his groups.

Between passes little changes, so nothing is sorted again. Whoever lets a task wait need not know of this: a
pass begins with one look at each group, and lets only those stand anew whose head is another one, or may have
risen by waiting. What is known to find no room stands where it would if it did, and is passed over.

In a pass each band is gone through once, from its front: who is offered, and not placed, is out until the
next one. Where one group finds no room for a reason that holds for all of its *shape*, none of them is
offered. What changes meanwhile only lets a band fall back: what a user holds grows until the pass ends.
So an old rank comes too early, never too late, and is put right when it comes first.

Invariant, once a pass has begun: each group with a head that may be offered stands in one band, by that head,
and no further back than is its turn.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from alb_core.tasks import QUEUED

if TYPE_CHECKING:
    from alb_broker.core.queue import WaitingGroup
    from alb_broker.core.task import Task

AGE_PER_LEVEL_S: Final = 600.0
#: Who got nothing for so long goes before the next higher priority, once: long enough that priorities mean
#: something to people who wait, short enough that a night with a full queue does not pass without a turn.
ROUNDING_S: Final = 1e-3
#: So long before it is due a group is looked at for having risen: sums of cluster times are not exact.

Rank: TypeAlias = tuple[int, float]
#: The level, negated, and the share of the user: less goes first.
Standing: TypeAlias = tuple[float, str, int, "WaitingGroup"]
#: When its head was submitted, the id of that, the number of a group, and the group. Ids sort by time: what a
#: client sends together is of one age to the leader, and yet goes in its order. Two groups may have one head:
#: a task that waits, and asks for more memory now, for its attempt thought lost ran out of that.


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
    """The order of all groups with a head."""

    def __init__(self) -> None:
        self._bands: Final[dict[tuple[str, int], Band]] = {}
        self._new: list[WaitingGroup] = []  #: That never stood.
        self._share: Callable[[str], float] = lambda _user: 0.0
        self._at = 0.0
        self._out: set[WaitingGroup] = set()  #: Were offered in this pass, and may be again in the next.
        self._shares: dict[str, float] = {}  #: What users have now.
        self._order: list[tuple[Rank, Standing, Band]] = []
        #: A heap. Each band with a front is in it by that, and no later than is its turn.

    # --- between passes -------------------------------------------------------------------------------------

    def join(self, group: WaitingGroup) -> None:
        """Let a new group have its turns from the next pass on."""
        self._new.append(group)

    def leave(self, group: WaitingGroup) -> None:
        """A group has no head: it has no turn."""
        band = group.band
        if band is not None and group.stood is not None:
            place = bisect_left(band.groups, (group.stood.submitted, group.stood.id, group.number))
            del band.groups[place]
            if not band.groups:
                del self._bands[band.user, band.level]
            group.band = group.stood = None

    # --- a pass ---------------------------------------------------------------------------------------------

    def begin(self, share: Callable[[str], float], at: float) -> None:
        """Begin a pass.

        Args:
            share: What a user has.
            at: Cluster time of the pass.
        """
        self._share, self._at = share, at
        for group in self._moved():
            self.leave(group)
            head = group.head()
            if head is not None:
                self._stand(group, head)
        self._out.clear()
        self._shares.clear()
        self._order.clear()
        for band in self._bands.values():
            band.place = 0
            self._go_on(band)
            if band.front is not None:
                if band.user not in self._shares:
                    self._shares[band.user] = share(band.user)
                self._order.append(self._entry(band, band.front))
        heapq.heapify(self._order)

    def _moved(self) -> list[WaitingGroup]:
        """Return the groups that may be offered and do not stand where they should."""
        at, moved, self._new = self._at, self._new, []
        for band in self._bands.values():
            for _, _, _, group in band.groups:
                if group.blocked:
                    continue  # when it may be offered again, it is looked at
                tasks = group.tasks
                if (
                    not tasks
                    or (head := tasks[0]) is not group.stood
                    or head.state is not QUEUED
                    or head.postponed
                    or at >= group.rises
                ):
                    moved.append(group)
        return moved

    def first(self) -> WaitingGroup | None:
        """Return the group whose turn it is; None: there is no other."""
        while self._order:
            rank, standing, band = self._order[0]
            if band.front is not standing:
                heapq.heappop(self._order)  # another entry tells where the band stands
                continue
            if rank[1] != self._shares[band.user]:
                heapq.heapreplace(self._order, self._entry(band, standing))
                continue
            group = standing[3]
            if group.blocked:
                self._go_on(band)
                self._settle(band)
                continue
            head, level = group.head(), band.level
            if (
                head is not None
                and head is group.stood
                and (level == group.key[1] or level == group.level(head, self._at))
            ):
                return group
            self._move(band, group, head)  # that left, or had risen, and another of its line was placed
        return None

    @property
    def rank(self) -> Rank:
        """The rank of the group whose turn it is."""
        return self._order[0][0]

    def drop(self, *, shut: bool = False) -> None:
        """The group whose turn it is was not placed: it is out, and if shut, all of its shape are."""
        _, (_, _, _, group), band = self._order[0]
        if not group.blocked:
            self._out.add(group)
        if shut:
            for other in group.shape.groups.values():
                if not other.blocked and other.band is not None and other not in self._out:
                    other.refuse(self._at)
        self._go_on(band)
        self._settle(band)

    def serve(self) -> None:
        """The head whose turn it was is placed: its user has more, and its group another head."""
        _, (_, _, _, group), band = self._order[0]
        self._shares[band.user] = self._share(band.user)
        self._move(band, group, group.head())

    def _move(self, band: Band, group: WaitingGroup, head: Task | None) -> None:
        """Let the group whose turn it is stand by another head, or by one of another level."""
        del band.groups[band.place]
        group.band = group.stood = None
        if head is not None:
            other = self._stand(group, head)
            if other is not band and other.front is not None and other.front[3] is group:
                heapq.heappush(self._order, self._entry(other, other.front))
        self._go_on(band)
        self._settle(band)
        if not band.groups:
            del self._bands[band.user, band.level]

    def _go_on(self, band: Band) -> None:
        """Go to the next group of a band that may be offered."""
        groups, out = band.groups, self._out
        for place in range(band.place, len(groups)):
            group = groups[place][3]
            if not group.blocked and (not out or group not in out):
                band.place, band.front = place, groups[place]
                return
        band.place, band.front = len(groups), None

    def _settle(self, band: Band) -> None:
        """The first band has another front, or none: put it where it belongs now."""
        if band.front is not None:
            heapq.heapreplace(self._order, self._entry(band, band.front))
        else:
            heapq.heappop(self._order)

    def _stand(self, group: WaitingGroup, head: Task) -> Band:
        """Let a group stand by its head; returns in which band, whose front it is if it comes before that."""
        user, priority = group.key[0], group.key[1]
        level = group.level(head, self._at)
        band = self._bands.get((user, level))
        if band is None:
            band = self._bands[user, level] = Band(user, level)
        standing = (head.submitted, head.id, group.number, group)
        place = bisect_left(band.groups, standing)
        band.groups.insert(place, standing)
        if place <= band.place:
            band.place, band.front = place, standing
        group.band, group.stood = band, head
        group.rises = group.waits_since(head) + AGE_PER_LEVEL_S * (level - priority + 1) - ROUNDING_S
        return band

    def _entry(self, band: Band, front: Standing) -> tuple[Rank, Standing, Band]:
        """Return where a band stands among the others."""
        return (-band.level, self._shares[band.user]), front, band
