"""Tasks for which the policy was offered a worker with room, and which it wants to wait; and since when.

A policy may wait for something better. It is foreign code, and must not stop the cluster by it: it has its
time with each task, and then the default places that, as where a policy fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from alb_broker.core.task import Task

DECLINES_S: Final = 30.0
#: So long a policy may let a task wait for which there is room: longer than is won by waiting for a better
#: worker, mostly, and short enough that nobody has to step in.
KEPT_MAX: Final = 1000
#: Tasks beside the heads of the queue that are not forgotten at once when they leave it.


class _Declined(NamedTuple):
    task: Task
    since: float
    #: Cluster time.
    newest: float
    in_pass: int
    #: The number of the newest one that declined it.


class Declines:
    """What the policy in force declined."""

    def __init__(self) -> None:
        self._declined: dict[str, _Declined] = {}  #: By the task's id; some may have left.
        self._passes = 0

    def __bool__(self) -> bool:
        return bool(self._declined)

    def begin(self) -> None:
        """A placement pass begins."""
        self._passes += 1

    def note(self, task: Task, at: float) -> float | None:
        """The policy declined a task.

        Returns:
            Cluster time since when it has, if its time with the task is over; else None.
        """
        known = self._declined.get(task.id)
        since = at if known is None or self._had_no_room(known, at) else known.since
        if known is None and len(self._declined) >= KEPT_MAX:
            self._tidy()
        self._declined[task.id] = _Declined(task, since, at, self._passes)
        return since if at - since >= DECLINES_S else None

    def _had_no_room(self, known: _Declined, at: float) -> bool:
        """Tell whether passes left a task out for long; time alone tells nothing, for passes may be rare."""
        return self._passes > known.in_pass + 1 and at - known.newest > DECLINES_S

    def end(self, task: Task) -> None:
        """It was placed."""
        self._declined.pop(task.id, None)

    def clear(self) -> None:
        """Another policy chooses now."""
        self._declined.clear()

    def waiting(self, at: float) -> tuple[int, float]:
        """Return how many tasks wait for the policy alone, and how long the first of them has, in seconds."""
        self._tidy()
        waiting = [each for each in self._declined.values() if self._passes <= each.in_pass + 1]
        return len(waiting), max((at - each.since for each in waiting), default=0.0)

    def _tidy(self) -> None:
        self._declined = {name: each for name, each in self._declined.items() if each.task.waits_for_room}
