"""One attempt as the worker's core keeps it, and where it stands."""

# ruff: noqa: S101 (an assert narrows a type)
from __future__ import annotations

import enum
from typing import Final

import msgspec

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.increments import Resume
from alb_core.messages import AttemptId
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome


class Phase(enum.IntEnum):
    """Where an attempt stands."""

    WAITING = 1  #: There is no room yet, or an older attempt of the task still runs here.
    LAUNCHING = 2  #: Given to the runner.
    RUNNING = 3  #: Its process was started.
    ENDED = 4  #: Its processes are gone; the leader has not acknowledged the report.


WAITING: Final = Phase.WAITING
LAUNCHING: Final = Phase.LAUNCHING
RUNNING: Final = Phase.RUNNING
ENDED: Final = Phase.ENDED
#: For what each attempt goes through: before Python 3.12 a member that is looked up in its class costs 900
#: instructions, a name of a module 30.
LIVE: Final = frozenset({LAUNCHING, RUNNING})
UNENDED: Final = frozenset({WAITING, *LIVE})


class Record(msgspec.Struct, kw_only=True):
    """One attempt."""

    attempt: AttemptId
    phase: Phase
    since: float = 0.0
    #: When it came.
    launched: float | None = None
    #: When its process was known to run; None: it was not, or ended at once.
    spec: TaskSpec | None = None
    #: None for one that was never to run here.
    resume: Resume | None = None
    #: What earlier attempts of the task reported.
    bounds: Bounds = NO_BOUNDS
    #: What it may use.
    time_limit_s: float | None = None
    gpus: tuple[int, ...] | None = None
    #: Indexes of those that it has while it is live; None: the worker offers none.
    killed: bool = False
    #: The runner was told to kill it.
    ends_as: Cause = Cause.KILLED
    #: What a killed attempt counts as: who wanted its end decides.
    outcome: Outcome | None = None
    #: Set with the phase ENDED.
    demoted: bool = False
    #: Its processors are others'.
    story: list[str] = []
    #: Why it moved, the last few reasons, oldest first.

    def reserves(self) -> Request:
        """Return what it takes of the room; it has not ended."""
        assert self.spec is not None
        return self.spec.request.without_cpus() if self.demoted else self.spec.request
