"""Whose turn it is in one placement pass.

Groups stand in *bands*: one for each user and level, the oldest head first. Bands are ranked by level, then
by what the user holds, then by the age of their first head. So a placement, which changes what one user
holds, moves his band and not each of his groups, and who finds no room is out after a look at few others.
Where one finds none for a reason that holds for all of its *shape*, the shape is shut, and none is asked.

What changes meanwhile only lets a band fall back: what a user holds grows until the pass ends. So an old rank
comes too early, never too late, and is put right when it comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from alb_broker.core.queue import Line, Shape, WaitingGroup
    from alb_broker.core.task import Task

AGE_PER_LEVEL_S: Final = 600.0
#: Who got nothing for so long goes before the next higher priority, once: long enough that priorities mean
#: something to people who wait, short enough that a night with a full queue does not pass without a turn.

Rank: TypeAlias = tuple[int, float]
#: The level, negated, and the share of the user: less goes first.
Standing: TypeAlias = tuple[float, str, "WaitingGroup"]
#: When its head was submitted, the id of that, and a group. Ids sort by time: what a client sends together is
#: of one age to the leader, and yet goes in its order.


class _Band:
    """Groups of one user whose heads have one level."""

    __slots__ = ("groups", "level", "user")

    def __init__(self, user: str, level: int) -> None:
        self.user: Final = user
        self.level: Final = level
        self.groups: list[Standing] = []  #: A heap.


class Turns:
    """The groups that may be offered in a pass.

    Args:
        groups: Those that are not blocked, whether they have a head or not.
        share: What a user has.
        at: Cluster time of the pass.
    """

    def __init__(self, groups: Iterable[WaitingGroup], share: Callable[[str], float], at: float) -> None:
        self._share: Final = share
        self._at: Final = at
        self.shut: set[Shape] = set()  #: Whose groups find no room, whoever asks.
        self._shares: dict[str, float] = {}  #: What users have now.
        self._bands: dict[tuple[str, int], _Band] = {}
        self._gather(groups)
        for band in self._bands.values():
            band.groups.sort()
        self._order: list[tuple[Rank, Standing, _Band]] = [self._entry(band) for band in self._bands.values()]
        #: A heap. Each band with groups is in it with its true age, and no later than is its turn.
        heapq.heapify(self._order)

    def _gather(self, groups: Iterable[WaitingGroup]) -> None:
        """Let the groups stand in their bands, in no order yet."""
        young: dict[Line, _Band] = {}  # most have not risen by waiting: then all of a line have one band
        for group in groups:
            head = group.head()
            if head is None:
                continue
            is_young = self._at - head.queued_since < AGE_PER_LEVEL_S
            band = young.get(group.line) if is_young else None
            if band is None:
                band = self._band(group, head)
                if is_young:
                    young[group.line] = band
            band.groups.append((head.submitted, head.id, group))

    def first(self) -> WaitingGroup | None:
        """Return the group whose turn it is; None: there is no other."""
        while self._order:
            rank, standing, band = self._order[0]
            if not band.groups or band.groups[0] is not standing:
                heapq.heappop(self._order)  # another entry tells where the band stands
            elif standing[2].shape in self.shut:
                self._refuse_shut(band)
            elif rank[1] != self._shares[band.user]:
                heapq.heapreplace(self._order, self._entry(band))
            else:
                submitted, _, group = standing
                head = group.head()
                if (
                    head is not None
                    and head.submitted == submitted
                    and (band.level == group.key[1] or band.level == group.level(head, self._at))
                ):  # else it left meanwhile, or had risen by waiting, and another of its line was placed
                    return group
                self.move()
        return None

    def _refuse_shut(self, band: _Band) -> None:
        """Take from the front of the first band whose shape is shut."""
        groups, shut = band.groups, self.shut
        while groups and groups[0][2].shape in shut:
            heapq.heappop(groups)[2].refuse(self._at)
        self._settle(band)

    def _settle(self, band: _Band) -> None:
        """Something left the front of the first band: put it where it belongs now."""
        if band.groups:
            heapq.heapreplace(self._order, self._entry(band))
        else:
            heapq.heappop(self._order)

    @property
    def rank(self) -> Rank:
        """The rank of the group whose turn it is."""
        return self._order[0][0]

    def drop(self) -> None:
        """The group whose turn it is gets none any more."""
        band = self._order[0][2]
        heapq.heappop(band.groups)
        self._settle(band)

    def move(self) -> None:
        """The group whose turn it is has another head, or a head of another level."""
        group = self._order[0][2].groups[0][2]
        self.drop()
        head = group.head()
        if head is not None:
            band = self._band(group, head)
            heapq.heappush(band.groups, (head.submitted, head.id, group))
            if band.groups[0][2] is group:
                heapq.heappush(self._order, self._entry(band))

    def serve(self) -> None:
        """The head whose turn it was is placed: its user has more, and its group another head."""
        user = self._order[0][2].user
        self._shares[user] = self._share(user)
        self.move()

    def _band(self, group: WaitingGroup, head: Task) -> _Band:
        """Return the band that a group belongs to."""
        user, level = group.key[0], group.level(head, self._at)
        band = self._bands.get((user, level))
        if band is None:
            band = self._bands[user, level] = _Band(user, level)
            if user not in self._shares:
                self._shares[user] = self._share(user)
        return band

    def _entry(self, band: _Band) -> tuple[Rank, Standing, _Band]:
        """Return where a band with groups stands among the others."""
        return (-band.level, self._shares[band.user]), band.groups[0], band
