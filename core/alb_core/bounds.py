"""What one attempt may use of its worker's machine, and the cluster's defaults for who asks for nothing.

A bound of a task replaces the default; what neither names is not bounded. Time is ``TaskSpec.time_limit_s``.
Values only: who holds a command to them is the worker's runner.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from alb_core import limits


class Bounds(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, cache_hash=True):
    """What an attempt, with all of its processes together, may use. None: nobody says."""

    cpu_s: float | None = None
    #: Processor time, user and system.
    memory_bytes: int | None = None
    #: Resident memory; where a task asks for none but reserves some, what it reserves.
    processes: int | None = None
    #: Processes and threads alive at once.
    open_files: int | None = None
    #: Of each process.
    output_bytes: int | None = None
    #: That are kept of each stream, half from its head and half from its tail; the rest is counted.
    scratch_bytes: int | None = None
    #: Of its fresh directory.


NO_BOUNDS = Bounds()


class LimitsNode(Bounds, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``/config/limits``: the bounds of tasks that name none.

    People write it by hand: a misspelt field must be found, not ignored.
    """

    time_limit_s: float | None = None
    #: Wall-clock limit.


class DatedLimits(LimitsNode, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The form of the node itself: what began before a limit does not have it, under later leaders either."""

    since: float = 0.0
    #: Cluster time, since when there is a time limit; 0: there is none, or a person wrote the node.

    @classmethod
    def of(cls, limits: LimitsNode, since: float) -> DatedLimits:
        """Return limits as they are written."""
        dated = since if limits.time_limit_s is not None else 0.0
        return cls(**msgspec.structs.asdict(limits), since=dated)

    def plain(self) -> LimitsNode:
        """Return the limits alone."""
        return LimitsNode(**{name: getattr(self, name) for name in LimitsNode.__struct_fields__})


NO_LIMITS = LimitsNode()
SHIPPED = LimitsNode(processes=limits.PROCESSES_SHIPPED)
#: Of a new cluster.


@lru_cache(maxsize=256)  # it is asked for each attempt, and most tasks are alike in this
def settled(own: Bounds, reserved_bytes: int, defaults: Bounds) -> Bounds:
    """Return the bounds of an attempt.

    Args:
        own: What its task says.
        reserved_bytes: The memory that it reserves; 0: none.
        defaults: The cluster's.
    """
    chosen = {
        name: value if (value := getattr(own, name)) is not None else getattr(defaults, name)
        for name in Bounds.__struct_fields__
    }
    if own.memory_bytes is None and reserved_bytes:
        chosen["memory_bytes"] = reserved_bytes
    return Bounds(**chosen)


def check_bounds(bounds: Bounds) -> str | None:
    """Return what is wrong with bounds, as a sentence, or None."""
    if bounds is NO_BOUNDS:
        return None
    for name, (least, unit) in _LEAST.items():
        value = getattr(bounds, name)
        if value is not None and not least <= value < 2**62:
            return f"{value} is no bound {name}: it is {least:,} {unit} at least, and less than 2^62"
    return None


def check_limits(defaults: LimitsNode) -> str | None:
    """Return what is wrong with default limits, as a sentence, or None."""
    time_limit_s = defaults.time_limit_s
    if time_limit_s is not None and not 0 < time_limit_s <= limits.TIME_LIMIT_S_MAX:
        return f"a time limit of {time_limit_s:g} s cannot be: it is more than 0, and a year at most"
    return check_bounds(defaults)


_LEAST = {
    "cpu_s": (0.01, "seconds"),
    "memory_bytes": (limits.BOUND_MEMORY_BYTES_MIN, "bytes"),
    "processes": (1, "processes"),
    "open_files": (limits.BOUND_OPEN_FILES_MIN, "files"),
    "output_bytes": (0, "bytes"),
    "scratch_bytes": (0, "bytes"),
}
