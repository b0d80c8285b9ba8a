"""Why a task waits, and why its attempts went where they went: what ``alb explain`` tells.

Values only; the broker's ``alb_broker.core.explaining`` makes them.
"""

from __future__ import annotations

import msgspec


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One thing that keeps a task waiting, or did not."""

    code: str
    #: For programs: ``held``, ``postponed``, ``store``, ``bounded``, ``unfit``, ``turn``, ``reserved``,
    #: ``set-aside``, ``declined``, ``barred`` or ``room``.
    text: str
    #: A sentence for people.


class Considered(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A worker that a policy could have chosen, as it was then."""

    worker: str
    cpus: float = 0.0
    #: Free.
    memory_bytes: int = 0
    net_bps: int = 0
    cpu_load: float = 0.0
    #: As fractions of what it offers.
    memory_load: float = 0.0
    net_load: float = 0.0
    speed: float = 1.0
    #: In what the task strains.


class Placement(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Why an attempt went where it went. Times are cluster time."""

    n: int
    #: The attempt.
    worker: str
    placed: float = 0.0
    policy: str = ""
    #: That chose.
    candidates: int = 0
    #: Workers that it could choose from.
    ahead: bool = False
    #: The worker had no room yet.
    part: str = ""
    #: ``reserved``: the worker was set aside for it; ``backfilled``: for another, which it does not delay.
    copy_of: int = 0
    #: The attempt beside which it was placed, for that lagged; 0: it is no copy.
    ended_as: str = ""
    demoted: float = 0.0
    #: When it gave its processors to others; 0: it did not.
    lent_to: str = ""
    #: To this task; empty: that is not known any more.
    room_by: tuple[str, ...] = ()
    #: Tasks that gave way to it there, as far as that is known.
    ended_for: str = ""
    #: It was preempted for this task; empty: it was not, or that is not known any more.
    memory_by: tuple[str, ...] = ()
    #: Tasks that were ended for its memory there, as far as that is known.
    considered: tuple[Considered, ...] = ()
    #: These were the candidates; empty: see `forgotten`.
    waited_s: float | None = None
    #: In the queue.
    share: float | None = None
    #: Of the cluster, that its user had then, over his weight.
    forgotten: str = ""
    #: Why the last three are not known any more; empty: they are.


class Explanation(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """All that is known of why a task is where it is."""

    user: str
    priority: int = 0
    level: int = 0
    #: Its priority, and what it rose by waiting; of a task that waits for a worker.
    waits_s: float | None = None
    #: For a worker, until now; None: it does not.
    reasons: tuple[Reason, ...] = ()
    #: Why it waits, the first that must change first.
    placements: tuple[Placement, ...] = ()
    #: Of its attempts, the oldest first.
