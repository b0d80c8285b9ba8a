"""Who holds how much of the cluster: each user's dominant share, and the bounds on it.

A user's share is the largest part that his attempts reserve of any resource of all workers together, divided
by his weight: dominant resource fairness (Ghodsi et al., NSDI 2011). What was used before does not count. All
is kept up to date by each reservation, so asking costs the same however much runs.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.messages import AttemptId, UserLine
from alb_core.resources import EPSILON, Capacity, Request
from alb_core.shares import NO_SHARES, Share, SharesNode

RESOURCES: Final = ("cpus", "memory_bytes", "net_bps")
#: Of which a user may hold a part: fields of `Request` and of `Capacity`. Besides, whatever is counted.
NOTHING: Final = Capacity(cpus=0, memory_bytes=0)
FALLEN_MAX: Final = 1000
#: So many users are told apart from everybody: nobody asks while nothing waits, for a year perhaps.


class _Held:
    """What one user's attempts reserve. Counted with each placement, so spelt out."""

    __slots__ = (
        "attempts",
        "counts",
        "cpus",
        "demoted_cpus",
        "endless_cpus",
        "memory_bytes",
        "net_bps",
        "user",
        "weight",
    )

    def __init__(self, user: str, weight: float) -> None:
        self.user: Final = user
        self.weight = weight
        self.attempts = 0
        self.cpus = 0.0
        self.demoted_cpus = 0.0  #: Of them, what is others' now.
        self.endless_cpus = 0.0  #: Of the rest, for what has no time limit.
        self.memory_bytes = 0
        self.net_bps = 0
        self.counts: dict[str, int] = {}  #: By name, of what is counted.


class _Reserved(msgspec.Struct, eq=False, gc=False):
    """What is reserved for one attempt."""

    held: _Held
    #: Of whose it is a part.
    request: Request
    endless: bool
    #: Nothing limits its time, and it is not demoted.
    demoted: bool = False


class Shares:
    """The reservations of all users, by user."""

    def __init__(self) -> None:
        self.node: SharesNode = NO_SHARES  #: What users may have.
        self.bounded = False  #: Somebody's reservations have a bound.
        self._total: dict[str, float] = dict.fromkeys(RESOURCES, 0)  #: What all workers offer.
        self._parts: tuple[float, float, float] = (0.0, 0.0, 0.0)
        #: That one unit is of each; 0 where there is nothing.
        self._counted: dict[str, int] = {}  #: What all workers offer of what is counted, by name.
        self._held: dict[str, _Held] = {}  #: By user, of those who hold something.
        self._reserved: dict[AttemptId, _Reserved] = {}
        self._fallen: set[str] = set()  #: Who gave something back; see `take_fallen`.
        self._all_may_have_fallen = False  #: For a weight changed, or what all workers offer.

    # --- what changes them ----------------------------------------------------------------------------------

    def use(self, node: SharesNode) -> None:
        """Let these weights and bounds be in force."""
        self.node = node
        self.bounded = any(
            share.cpus_max is not None or share.memory_bytes_max is not None
            for share in (node.default, *node.users.values())
        )
        for user, held in self._held.items():
            held.weight = self.weight(user)
        self._all_may_have_fallen = True

    def resize(self, before: Capacity, now: Capacity) -> None:
        """A worker offers something else than before; or it is lost, and offers nothing."""
        for name in RESOURCES:
            self._total[name] += getattr(now, name) - getattr(before, name)
        cpus, memory, net = (1 / total if total > EPSILON else 0.0 for total in self._total.values())
        self._parts = (cpus, memory, net)
        for count in before.counts:
            self._counted[count.name] -= count.amount
        for count in now.counts:
            self._counted[count.name] = self._counted.get(count.name, 0) + count.amount
        self._all_may_have_fallen = True

    def take(self, attempt: AttemptId, user: str, request: Request, *, endless: bool = False) -> None:
        """Count what is reserved for an attempt, in place of what was before.

        Args:
            attempt: The attempt.
            user: Whose it is.
            request: What is reserved.
            endless: Nothing limits its time.
        """
        if attempt in self._reserved:
            self.give_back(attempt)
        held = self._held.get(user)
        if held is None:
            held = self._held[user] = _Held(user, self.weight(user))
        self._reserved[attempt] = _Reserved(held, request, endless)
        held.attempts += 1
        held.cpus += request.cpus
        held.memory_bytes += request.memory_bytes
        if request.net_bps or request.counts:  # as seldom
            held.net_bps += request.net_bps
            for count in request.counts:
                held.counts[count.name] = held.counts.get(count.name, 0) + count.amount
        if endless:
            held.endless_cpus += request.cpus

    def demote(self, attempt: AttemptId) -> None:
        """An attempt's processors are others' now; for its user's turn and bound they count as before."""
        found = self._reserved.get(attempt)
        if found is None or found.demoted:
            return
        held, cpus = found.held, found.request.cpus
        held.demoted_cpus += cpus
        if found.endless:
            held.endless_cpus -= cpus
        found.demoted, found.endless = True, False

    def unlimit(self, attempt: AttemptId) -> None:
        """Nothing limits the time of an attempt any more; of a demoted one that is of no account."""
        found = self._reserved.get(attempt)
        if found is not None and not found.endless and not found.demoted:
            found.endless = True
            found.held.endless_cpus += found.request.cpus

    def give_back(self, attempt: AttemptId) -> None:
        """Count it no more; a second time changes nothing."""
        found = self._reserved.pop(attempt, None)
        if found is None:
            return
        held, request = found.held, found.request
        self._fallen.add(held.user)
        held.attempts -= 1
        held.cpus -= request.cpus
        held.memory_bytes -= request.memory_bytes
        if request.net_bps or request.counts:  # as seldom
            held.net_bps -= request.net_bps
            for count in request.counts:
                held.counts[count.name] -= count.amount
        if found.endless:
            held.endless_cpus -= request.cpus
        elif found.demoted:
            held.demoted_cpus -= request.cpus
        if not held.attempts:
            del self._held[held.user]
            if len(self._fallen) > FALLEN_MAX:
                self._fallen.clear()
                self._all_may_have_fallen = True

    # --- what is asked --------------------------------------------------------------------------------------

    def take_fallen(self) -> set[str] | None:
        """Return, and forget, whose share may be less than when this was last asked; None: everybody's."""
        fallen, everybody = self._fallen, self._all_may_have_fallen
        self._fallen, self._all_may_have_fallen = set(), False
        return None if everybody else fallen

    def share(self, user: str) -> float:
        """Return a user's dominant share over his weight; who holds less goes first."""
        held = self._held.get(user)
        if held is None:
            return 0.0
        cpus, memory, net = self._parts
        part, other = held.cpus * cpus, held.memory_bytes * memory
        if other > part:  # noqa: PLR1730 (asked in each turn: a call of `max` costs ten times as much)
            part = other
        if held.net_bps:
            part = max(part, held.net_bps * net)
        if held.counts:
            part = max(part, *(self._part(name, amount) for name, amount in held.counts.items()))
        return part / held.weight

    def dominant(self, user: str) -> tuple[float, str]:
        """Return the largest part that a user holds of anything, and of what."""
        held = self._held.get(user)
        if held is None:
            return 0.0, RESOURCES[0]
        parts = [
            (getattr(held, name) * part, name) for part, name in zip(self._parts, RESOURCES, strict=True)
        ]
        parts += [(self._part(name, amount), name) for name, amount in held.counts.items()]
        return max(parts, key=lambda found: found[0])

    def _part(self, name: str, amount: int) -> float:
        """Return which part of all that is counted under a name this is."""
        total = self._counted.get(name, 0)
        return amount / total if total else 0.0

    def cpus(self, user: str, *, endless: bool = True) -> float:
        """Return the processors that a user holds and did not give to others, over his weight.

        Args:
            user: The user.
            endless: With those of commands that have no time limit.
        """
        held = self._held.get(user)
        if held is None:
            return 0.0
        return (held.cpus - held.demoted_cpus - (0.0 if endless else held.endless_cpus)) / held.weight

    def weight(self, user: str) -> float:
        """Return the weight in force."""
        return self.node.of(user).weight or 1.0

    def allows(self, user: str, request: Request) -> bool:
        """Tell whether a user may reserve as much more."""
        return not self.bounded or not self._beyond(user, request)

    def _beyond(self, user: str, request: Request) -> str:
        """Return the bound that a user would break, as a sentence; empty: none."""
        own, held = self.node.of(user), self._held.get(user)
        for name, bound, unit in _bounds(own):
            has, wants = getattr(held, name) if held is not None else 0, getattr(request, name)
            if wants and has + wants > bound + EPSILON:
                return (
                    f"{user} may reserve {bound:.12g} {unit} at once, has {has:.12g}, and the task asks for "
                    f"{wants:.12g}"
                )
        return ""

    def why_not(self, user: str, request: Request) -> str:
        """Return why a user may not reserve as much more now, as a sentence; empty: he may."""
        beyond = self._beyond(user, request)
        if not beyond:
            return ""
        for name, bound, _ in _bounds(self.node.of(user)):
            if getattr(request, name) > bound + EPSILON:
                return f"{beyond}: it never starts before that is raised (alb share set {user})"
        return f"{beyond}: it waits until others of his have ended (alb share)"

    def why_full(self, user: str, tasks: int) -> str:
        """Return why a user may submit nothing more now, as a sentence; empty: he may.

        Args:
            user: The user.
            tasks: Of his without a result, in the table.
        """
        most = self.node.of(user).tasks_max
        if most is None or tasks < most:
            return ""
        return f"{user} has {tasks} tasks in the table, and may have {most}: as they end, more are taken"

    def line(self, user: str, tasks: int) -> UserLine:
        """Return how a user stands, as lists show it.

        Args:
            user: The user.
            tasks: Of his without a result, in the table.
        """
        held = self._held.get(user)
        part, resource = self.dominant(user)
        return UserLine(
            user=user,
            weight=self.weight(user),
            share=round(self.share(user), 6),
            dominant=resource if part else "",
            cpus=round(held.cpus, 6) if held is not None else 0.0,
            memory_bytes=held.memory_bytes if held is not None else 0,
            net_bps=held.net_bps if held is not None else 0,
            running=held.attempts if held is not None else 0,
            tasks=tasks,
        )

    def users(self) -> list[str]:
        """Return who holds something."""
        return list(self._held)


def _bounds(own: Share) -> list[tuple[str, float, str]]:
    """Return the bounds on what a user reserves: of which resource, how much, in what unit."""
    found = (("cpus", own.cpus_max, "cpus"), ("memory_bytes", own.memory_bytes_max, "bytes of memory"))
    return [(name, bound, unit) for name, bound, unit in found if bound is not None]
