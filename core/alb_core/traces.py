"""A workload as a replay sees it: jobs whose run times are known, and the machines that they run on.

Times are seconds since the beginning of the trace.
"""

from __future__ import annotations

import msgspec

from alb_core.resources import Capacity, Request


class Job(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One task of a trace."""

    submitted: float
    run_s: float
    #: On a machine of speed 1.
    user: str = "nobody"
    request: Request = Request()
    priority: int = 0
    time_limit_s: float | None = None
    #: What its user said that it would take at most; the scheduler knows this, and never `run_s`.
    name: str = "job"
    #: Jobs of one name are the same command to the scheduler.


class Machine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One worker of a replay."""

    name: str
    capacity: Capacity

    @property
    def speed(self) -> float:
        """A job runs `run_s` divided by this."""
        return self.capacity.speed
