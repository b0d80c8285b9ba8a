"""What an attempt uses, held against what it may use: pure, so that every verdict can be read and tested.

A breach names the bound as `Bounds` calls it, and says in numbers what happened.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.amounts import size
from alb_core.bounds import Bounds
from alb_core.tasks import Cause

TIME_LIMIT: Final = "time_limit_s"
#: How `Outcome.limit` calls the wall-clock limit, which is no bound of `Bounds`.


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt, with all of its processes together, uses now or has used."""

    processes: int = 0
    #: With their threads, alive now.
    memory_bytes: int = 0
    #: Resident now, and the attempt's own: what processes share counts once.
    cpu_s: float = 0.0
    #: So far.
    scratch_bytes: int = 0
    #: Of its fresh directory.
    peak_bytes: int = 0
    #: The most memory that it was seen with.
    kernel_kills: int = 0
    #: Of its processes, by the kernel, because their group was full.
    refused_forks: int = 0
    #: By the kernel, because their group was full.


class Breach(msgspec.Struct, frozen=True):
    """A bound that was broken, and how the attempt is to end."""

    cause: Cause
    limit: str
    why: str
    patient: bool = False
    #: It may have its grace: what it goes on using meanwhile harms nobody.


def watched(bounds: Bounds) -> bool:
    """Tell whether somebody must look at what an attempt uses; the others hold by themselves."""
    return (bounds.memory_bytes, bounds.processes, bounds.scratch_bytes, bounds.cpu_s) != (None,) * 4


def breach(bounds: Bounds, usage: Usage) -> Breach | None:
    """Return the bound that is broken, the most harmful first, or None."""
    return (
        _memory(bounds.memory_bytes, usage)
        or _processes(bounds.processes, usage)
        or _scratch(bounds.scratch_bytes, usage)
        or _cpu(bounds.cpu_s, usage)
    )


def over_time(limit_s: float) -> Breach:
    """Return the breach of the wall-clock limit, which a timer finds."""
    why = f"it ran longer than its limit of {limit_s:g} s"
    return Breach(Cause.TIMED_OUT, TIME_LIMIT, why, patient=True)


def _memory(limit: int | None, usage: Usage) -> Breach | None:
    if limit is None or (usage.memory_bytes <= limit and not usage.kernel_kills):
        return None
    peak = max(usage.peak_bytes, usage.memory_bytes)
    how = "needed more memory than its limit" if usage.kernel_kills else "used more memory than its limit"
    why = f"it {how} of {size(limit)}: its peak was {size(peak)}"
    return Breach(Cause.OUT_OF_MEMORY, "memory_bytes", why)


def _processes(limit: int | None, usage: Usage) -> Breach | None:
    if limit is None or (usage.processes <= limit and not usage.refused_forks):
        return None
    seen = f"{usage.processes} were seen" if usage.processes > limit else "the kernel refused it one more"
    return Breach(
        Cause.OVER_LIMIT,
        "processes",
        f"it had more processes and threads than its limit of {limit}: {seen}",
    )


def _scratch(limit: int | None, usage: Usage) -> Breach | None:
    if limit is None or usage.scratch_bytes <= limit:
        return None
    why = f"its directory held {size(usage.scratch_bytes)}, more than its limit of {size(limit)}"
    return Breach(Cause.OVER_LIMIT, "scratch_bytes", why)


def _cpu(limit: float | None, usage: Usage) -> Breach | None:
    if limit is None or usage.cpu_s <= limit:
        return None
    why = f"it used {usage.cpu_s:.2f} s of processor time, more than its limit of {limit:g} s"
    return Breach(Cause.TIMED_OUT, "cpu_s", why, patient=True)
