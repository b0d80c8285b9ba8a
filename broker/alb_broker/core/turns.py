"""Whose turn it is: the order of the waiting groups, kept from one placement pass to the next.

Groups stand in *bands*: one for each user and level, the oldest head first. Bands are ranked by level, then
by what the user holds, then by the age of their first head. So a placement, which changes what one user
holds, moves his band and not each of his groups.

Between passes little changes, so nothing is sorted again, nor looked at. Groups that are new, or have another
head in front of the old one, stand anew, and all are looked at only where a task left the queue otherwise
than by a placement, or where somebody may have risen by waiting. Bands stand anew that the last pass went
into, and those of users who may have less than before. What is known to find no room stands where it would if
it did, and is passed over; a band of which nothing else is left *sleeps* until that changes, and the pass is
over where nothing at all is left. So it costs what it offers, however many wait.

In a pass each band is gone through once, from its front: who is offered, and not placed, is out until the
next one. Where one group finds no room for a reason that holds for all of its *shape*, or takes the last that
there is, none of them is offered, and nothing that asks for as much (`Shapes`). Whatever else changes only
lets a band fall back: what a user holds grows. So an old rank comes too early, never too late, and is put
right when it comes first.

Invariant, once a pass has begun: each group with a head that may be offered stands in one band, by that head,
and no further back than is its turn.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from alb_broker.core.groups import (
    AGE_PER_LEVEL_S,
    BOUNDED,
    FILLED,
    NEVER,
    NO_ROOM,
    NOWHERE,
    PLACED,
    Offered,
    Row,
    WaitingGroup,
    level_after,
)
from alb_broker.core.shapes import Shapes
from alb_broker.core.task import Task
from alb_core.tasks import QUEUED

ROUNDING_S: Final = 1e-3
#: So long before it is due a group is looked at for having risen: sums of cluster times are not exact.
ORDER_SLACK: Final = 8
#: The order may grow by so many places and to twice what it was; then it is made anew, without those that are
#: no band's any more: so that costs each of them no more than it took to make it. Few, for where a handful of
#: users waits each step through the order is through those, too.

Offer: TypeAlias = Callable[[Task, float], Offered]
#: Places a task, whose user has such a share, where that is possible; tells what came of it.
Rank: TypeAlias = tuple[int, float]
#: The level, negated, and the share of the user: less goes first.
Standing: TypeAlias = tuple[float, str, int, WaitingGroup]
#: When its head was submitted, the id of that, the number of a group, and the group. Ids sort by time: what a
#: client sends together is of one age to the leader, and yet goes in its order. Two groups may have one head:
#: a task that waits, and asks for more memory now, for its attempt thought lost ran out of that.
Place: TypeAlias = tuple[int, float, Standing]
#: Where a band stands among the others: by its rank, then by its front, a group that knows its band.


class Band:
    """Groups of one user whose heads have one level."""

    __slots__ = ("groups", "level", "place", "sleeps_in", "stands", "user")

    def __init__(self, user: str, level: int) -> None:
        self.user: Final = user
        self.level: Final = level
        self.groups: list[Standing] = []  #: Sorted.
        self.place = 0  #: Where its front is: this pass is done with those before.
        self.stands: Place | None = None  #: In the order; None: it is not there.
        self.sleeps_in: set[Row] = set()  #: Rows of its groups, while none of these may be offered.


class _SharesNow(dict[str, float]):
    """What users have, each asked about once.

    Args:
        ask: Tells what a user has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ask: Callable[[str], float] = lambda _user: 0.0

    def __missing__(self, user: str) -> float:
        share = self[user] = self.ask(user)
        return share


class Turns:
    """The order of all groups with a head.

    Args:
        shapes: Of all groups.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes: Final = shapes
        self._bands: Final[dict[str, dict[int, Band]]] = {}  #: By user and level; none is empty.
        self._joined: list[WaitingGroup] = []  #: Are new, or have another head in front of the old one.
        self._stirred = False  #: Some head may have left otherwise than by a placement.
        self._rises = NEVER  #: Cluster time, before which no head is of a higher level than it stands by.
        self._ended: list[WaitingGroup] = []  #: Have no head any more.
        self._at = 0.0
        self._declined: list[WaitingGroup] = []  #: Put off in this pass; they are offered in the next.
        self._bounded: dict[str, dict[WaitingGroup, None]] = {}
        #: Put off, by user, until he may have less, or another bound.
        self._shares: Final = _SharesNow()
        self._order: list[Place] = []
        #: A heap. Each band that does not sleep is in it by its front, no later than is its turn; what is in
        #: it beside is no band's place any more.
        self._order_max = ORDER_SLACK  #: When it is longer it is made anew.
        self._astray: set[Band] = set()  #: Bands that do not stand by their first group, and do not sleep.
        self._asleep: dict[Row, set[Band]] = {}  #: By row.
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

    def begin(self, share: Callable[[str], float], at: float, fallen: Iterable[str] | None = None) -> None:
        """Begin a pass.

        Args:
            share: What a user has.
            at: Cluster time of the pass.
            fallen: Who may have less than when the last pass ended; None: everybody may.
        """
        self._at, self._shares.ask = at, share
        self._shares.clear()
        astray, bands = self._astray, self._bands
        for group in self._moved():
            self._move_between(group)
        for user in bands if fallen is None else fallen:
            if user in self._bounded:
                for group in self._bounded.pop(user):
                    self._come_back(group)
            if user in bands:
                astray.update(band for band in bands[user].values() if band.stands is not None)
        self._wake()
        for band in astray:
            if band.groups:
                band.place = 0
                self._rank(band)
        astray.clear()
        self._rises = min(self._rises, at + AGE_PER_LEVEL_S - ROUNDING_S)  # what is placed begins anew
        if len(self._order) > self._order_max:
            self._tidy()

    def _move_between(self, group: WaitingGroup) -> None:
        """Let a group stand as is right: it may have another head, or be as high as it was not."""
        head = group.head()
        if group.put_off and head is not group.stood:
            self._unbind(group)
        self._leave(group)
        if head is None:
            self._ended.append(group)
        else:
            self._astray.add(self._stand(group, head, self._level(group, head)))

    def _wake(self) -> None:
        """Let bands have turns again of which something may be offered."""
        opened = self._shapes.doors.opened
        for row in opened:
            self._astray.update(self._asleep.get(row, ()))
        opened.clear()

    def _sleep(self, band: Band) -> None:
        """Let a band have no turns before more may be offered of the row of one of its groups."""
        band.sleeps_in = {group.shape.row for *_, group in band.groups}
        for row in band.sleeps_in:
            self._asleep.setdefault(row, set()).add(band)
        self._astray.discard(band)

    def _rouse(self, band: Band) -> None:
        """Let a band sleep no more."""
        for row in band.sleeps_in:
            asleep = self._asleep[row]
            asleep.discard(band)
            if not asleep:
                del self._asleep[row]
        band.sleeps_in = set()
        self._astray.add(band)

    def _tidy(self) -> None:
        """Drop from the order what is no band's place any more."""
        order = [each.stands for of_user in self._bands.values() for each in of_user.values() if each.stands]
        heapq.heapify(order)
        self._order, self._order_max = order, 2 * len(order) + ORDER_SLACK

    def _moved(self) -> dict[WaitingGroup, None]:
        """Return the groups that may not stand where they should."""
        moved, self._joined = dict.fromkeys(self._joined), []
        if self._stirred or self._at >= self._rises:
            self._stirred, self._rises = False, NEVER
            for of_user in self._bands.values():
                for band in of_user.values():
                    for *_, group in band.groups:
                        head = group.head()
                        if head is None or head is not group.stood or self._level(group, head) != band.level:
                            moved[group] = None
        return moved

    def run(self, offer: Offer, most: int) -> int:
        """Offer heads, each in its turn, until none is left or so many are placed; returns how many were."""
        order, shares, ajar, at, placed = self._order, self._shares, self._shapes.doors.ajar, self._at, 0
        while ajar and order and placed < most:
            place = order[0]
            _, share, standing = place
            group = standing[3]
            band, head = group.band, group.stood
            if band is None or head is None or band.stands is not place:
                heapq.heappop(order)  # it is no band's place any more
            elif share != shares[band.user]:
                self._go_on(band, shares[band.user])
            elif group.memory_bytes >= group.door.bound:  # for what it asks for fitted nowhere meanwhile
                self._go_on(band, share)
            elif head.state is not QUEUED or head.postponed or head is not group.tasks[0]:
                self._move_otherwise(band, group, share)  # its head left
            elif band.level != group.key[1] and band.level != group.level(head, at):
                self._move_otherwise(band, group, share)  # that had risen, and another of its line was placed
            elif (answer := offer(head, share)) is PLACED or answer is FILLED:
                placed += 1
                self._serve(band, group, head, share, answer)
            else:
                self._pass_over(group, head, answer)
                self._go_on(band, share)
        while self._declined:
            self._come_back(self._declined.pop())
        return placed

    def _serve(self, band: Band, group: WaitingGroup, head: Task, share: float, answer: Offered) -> None:
        """The head whose turn it is was placed: let its group stand by the next one.

        Args:
            band: The first one.
            group: Its front.
            head: Of the group.
            share: Of its user, when it had its turn.
            answer: What came of that.
        """
        rank = -band.level, share
        if self._worst is None or rank > self._worst:
            self._worst = rank
        share = self._shares[band.user] = self._shares.ask(band.user)
        following = group.serve(self._at)
        if answer is FILLED:
            self._shapes.shut_down(group.shape.row, head.request, self._at)
        self._move(band, group, following, group.key[1], share)

    def _pass_over(self, group: WaitingGroup, head: Task, answer: Offered) -> None:
        """The head whose turn it is was not placed."""
        if answer is NOWHERE:
            self._shapes.shut_down(group.shape.row, head.request, self._at)
            if not group.blocked:  # it asks for more than its likes, or was offered though these are shut
                group.block(self._at)
        elif answer is NO_ROOM:
            group.block(self._at)
        else:
            group.wait(answer)
            if answer is BOUNDED:
                self._bounded.setdefault(group.key[0], {})[group] = None
            else:
                self._declined.append(group)

    def _come_back(self, group: WaitingGroup) -> None:
        """Let a group that was put off have its turns again."""
        group.come_back()
        if group.band is not None:
            self._astray.add(group.band)

    def _unbind(self, group: WaitingGroup) -> None:
        """A group that was put off for its user's bound has another head, or none."""
        user = group.key[0]
        of_user = self._bounded[user]
        del of_user[group]
        if not of_user:
            del self._bounded[user]
        group.come_back()

    def _go_on(self, band: Band, share: float) -> None:
        """Let the first band go on to its next group that may be offered, and stand by that and a share."""
        groups = band.groups
        for place in range(band.place, len(groups)):
            group = groups[place][3]
            if group.memory_bytes < group.door.bound:
                if place != band.place:
                    band.place = place
                    self._astray.add(band)
                stands = band.stands = -band.level, share, groups[place]
                heapq.heapreplace(self._order, stands)
                return
        heapq.heappop(self._order)
        if band.place:
            self._astray.add(band)  # this pass got further into it: that is worth another look in the next
        else:
            self._sleep(band)
        band.place, band.stands = len(groups), None

    def _move_otherwise(self, band: Band, group: WaitingGroup, share: float) -> None:
        """Let the group whose turn it is stand as is right; it was not placed."""
        head = group.head()
        self._move(band, group, head, 0 if head is None else self._level(group, head), share)

    def _move(self, band: Band, group: WaitingGroup, head: Task | None, level: int, share: float) -> None:
        """Let the group whose turn it is, in the first band, stand by another head or on another level.

        Args:
            band: The first one.
            group: Its front.
            head: By which that stands from now on; None: it has none.
            level: Of the head.
            share: Of its user, from now on.
        """
        del band.groups[band.place]
        other = band
        if head is None:
            group.band = group.stood = None
            self._ended.append(group)
        else:
            other = self._stand(group, head, level)
        self._go_on(band, share)
        if not band.groups:
            self._drop(band)
        if other is not band and other.groups[other.place][3] is group:
            self._rank(other)

    def _stand(self, group: WaitingGroup, head: Task, level: int) -> Band:
        """Let a group stand by its head; returns in which band, whose front it is if it comes before that."""
        band = group.band
        if band is None or band.level != level:
            band = group.band = self._band(group.key[0], level)
        standing = (head.submitted, head.id, group.number, group)
        place = bisect_left(band.groups, standing)
        band.groups.insert(place, standing)
        if place < band.place:  # noqa: PLR1730 (asked for each placement: `min` costs ten times as much)
            band.place = place
        group.stood = head
        return band

    def _level(self, group: WaitingGroup, head: Task) -> int:
        """Return the level of a head, and note when it may rise."""
        priority, since = group.key[1], group.waits_since(head)
        level = level_after(priority, self._at - since)
        self._rises = min(self._rises, since + AGE_PER_LEVEL_S * (level - priority + 1) - ROUNDING_S)
        return level

    def _leave(self, group: WaitingGroup) -> None:
        """Let a group stand nowhere."""
        band = group.band
        if band is not None and group.stood is not None:
            place = bisect_left(band.groups, (group.stood.submitted, group.stood.id, group.number))
            del band.groups[place]
            group.band = group.stood = None
            self._astray.add(band)
            if not band.groups:
                self._drop(band)

    def _band(self, user: str, level: int) -> Band:
        """Return a band, which is new if there was none."""
        of_user = self._bands.get(user)
        if of_user is None:
            of_user = self._bands[user] = {}
        band = of_user.get(level)
        if band is None:
            band = of_user[level] = Band(user, level)
        return band

    def _drop(self, band: Band) -> None:
        """Forget a band without groups."""
        of_user = self._bands[band.user]
        del of_user[band.level]
        self._rouse(band)
        if not of_user:
            del self._bands[band.user]

    def _rank(self, band: Band) -> None:
        """Let a band stand by its front among the others."""
        if band.sleeps_in:
            self._rouse(band)
        stands = band.stands = -band.level, self._shares[band.user], band.groups[band.place]
        heapq.heappush(self._order, stands)
