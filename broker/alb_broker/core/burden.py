"""The demoted attempts of one worker: they run on with what nobody else wants of the processors.

How many there may be is bounded in processors: ``max_demoted`` times what the worker has, by what each had
reserved. Whatever may run for ever is placed only where it could still be demoted later, so that no worker is
ever full of what cannot give way. For users who have nothing demoted there as much as the worker has is kept
besides: nobody's endless commands keep another one's from their first.
"""

from __future__ import annotations

from alb_core.messages import AttemptId
from alb_core.resources import EPSILON

NEWCOMERS_PER_CPU = 1
#: Beyond ``max_demoted``, for those of whom nothing is demoted there.


class Burden:
    """What is demoted on one worker."""

    __slots__ = ("_attempts", "_users", "cpus")

    def __init__(self) -> None:
        self.cpus = 0.0  #: What all of it had reserved; 0: nothing is demoted.
        self._attempts: dict[AttemptId, tuple[str, float]] = {}
        self._users: dict[str, int] = {}  #: How many each user has.

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._attempts

    def __len__(self) -> int:
        return len(self._attempts)

    def add(self, attempt: AttemptId, user: str, cpus: float) -> None:
        """An attempt is demoted that had reserved so much."""
        if attempt not in self._attempts:
            self._attempts[attempt] = (user, cpus)
            self._users[user] = self._users.get(user, 0) + 1
            self.cpus += cpus

    def remove(self, attempt: AttemptId) -> bool:
        """An attempt is over; returns whether it was demoted."""
        found = self._attempts.pop(attempt, None)
        if found is None:
            return False
        user, cpus = found
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]
        self.cpus = self.cpus - cpus if self._attempts else 0.0  # no rounding is left over
        return True

    def admits(self, user: str, cpus: float, *, reserved: float, capacity: float, per_cpu: float) -> bool:
        """Tell whether one more that may run for ever could still be demoted, beside all that is there.

        Args:
            user: Whose it is.
            cpus: What it reserves.
            reserved: Processors that are reserved on the worker.
            capacity: What it has.
            per_cpu: ``max_demoted``.
        """
        if not self._attempts:
            return True
        most = per_cpu if user in self._users else per_cpu + NEWCOMERS_PER_CPU
        return self.cpus + reserved + cpus <= most * capacity + EPSILON

    def bears(self, cpus: float, *, endless: bool, reserved: float, capacity: float, per_cpu: float) -> bool:
        """Tell whether one that runs may be demoted; arguments as for `admits`.

        What has a time limit gives way by itself in the end: it is demoted only where everything else could
        still be, too.
        """
        if endless:
            return self.cpus + cpus <= (per_cpu + NEWCOMERS_PER_CPU) * capacity + EPSILON
        return self.cpus + reserved <= per_cpu * capacity + EPSILON
