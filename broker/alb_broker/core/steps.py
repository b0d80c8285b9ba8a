"""What may happen to a task, as values. What each step does to it is ``task.py``'s."""

from __future__ import annotations

import msgspec

from alb_core.tasks import Attempt, Outcome


class Step(msgspec.Struct, frozen=True, gc=False):
    """The base of what may happen to a task. `at` is cluster time."""

    at: float


class Placed(Step, frozen=True):
    """A worker was chosen."""

    attempt: Attempt
    #: That begins there, with the next number of the task.


class Copied(Step, frozen=True):
    """A worker was chosen for a copy of an attempt that lags."""

    attempt: Attempt
    #: The copy, with the next number of the task; it says of which attempt.


class Ended(Step, frozen=True):
    """A live (or lost, but not superseded) attempt delivered its outcome."""

    n: int
    outcome: Outcome
    crash_limit: int
    memory_max: int = 0
    #: What the largest worker that suits the task has, where it may be given more; 0: nobody knows.


class Demoted(Step, frozen=True):
    """A live attempt gives its processors to others, and runs on with the rest."""

    n: int
    waiting: str
    #: The task that they are for.


class WorkerLost(Step, frozen=True):
    """The worker of a live attempt is thought lost."""

    n: int
    worker: str
    crash_limit: int
    ahead: bool = False
    #: It waited there for room, as far as the leader knows: no fault of the task.
    why: str = "was lost"
    #: What the worker did, or suffered.


class Returned(Step, frozen=True):
    """The worker of a lost attempt is back, and still has it."""

    n: int


class CancelAsked(Step, frozen=True):
    """Somebody wants the task to end."""


class HoldAsked(Step, frozen=True):
    """Somebody wants the task not to be placed."""

    by: str


class ReleaseAsked(Step, frozen=True):
    """Somebody lets the task go on."""


class DependenciesMet(Step, frozen=True):
    """Some of what the task waits for came true."""

    met: tuple[int, ...]
    #: All that have: their places in its `Start`.


class Freed(Step, frozen=True):
    """Nothing keeps the task from being queued any more."""


class Doomed(Step, frozen=True):
    """What the task waits for cannot come true any more."""

    why: str
