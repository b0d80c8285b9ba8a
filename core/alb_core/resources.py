"""What a worker's machine has, what a task asks of it, and how loaded it is."""

from __future__ import annotations

from typing import Final

import msgspec

EPSILON: Final = 1e-9
#: Sums of fractional cpus are exact only so far.


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one task reserves while it runs."""

    cpus: float = 1.0
    #: Processors; may be a fraction.
    memory_bytes: int = 0
    #: 0 reserves none.
    net_bps: int = 0
    #: Network bandwidth in bits per second; 0 reserves none.
    labels: tuple[str, ...] = ()
    #: Labels that the worker must carry, each ``key`` or ``key=value``.
    archs: tuple[str, ...] = ()
    #: The worker's architecture must be one of these; empty: any.

    def suits(self, capacity: Capacity) -> bool:
        """Tell whether a worker is of the right kind, whatever amounts it has."""
        return (not self.labels or set(self.labels) <= set(capacity.labels)) and (
            not self.archs or capacity.arch in self.archs
        )

    def without_cpus(self) -> Request:
        """Return what an attempt reserves whose processors are others' now."""
        return msgspec.structs.replace(self, cpus=0.0)

    def exceeds(self, other: Request) -> bool:
        """Tell whether it asks for more of anything than another does; labels are no amounts."""
        return (
            self.cpus > other.cpus or self.memory_bytes > other.memory_bytes or self.net_bps > other.net_bps
        )


class Capacity(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a worker offers."""

    cpus: float
    memory_bytes: int
    net_bps: int = 0
    #: 0 when nobody configured it and the link does not tell its speed.
    arch: str = ""
    kernel: str = ""
    host: str = ""
    labels: tuple[str, ...] = ()
    version: str = ""


class Load(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How busy a worker's machine is, as fractions of what the worker offers; may exceed 1."""

    cpu: float = 0.0
    memory: float = 0.0
    net: float = 0.0
    running: int = 0
    #: Attempts whose processes live.


class Room:
    """What is free on a worker. The leader and the worker itself count it by the same rules."""

    __slots__ = ("cpus", "memory_bytes", "net_bps")

    def __init__(self, *, cpus: float = 0.0, memory_bytes: int = 0, net_bps: int = 0) -> None:
        self.cpus = cpus
        self.memory_bytes = memory_bytes
        self.net_bps = net_bps

    def holds(self, request: Request) -> bool:
        """Tell whether the amounts of a request are free."""
        return (
            request.cpus <= self.cpus + EPSILON
            and request.memory_bytes <= self.memory_bytes
            and request.net_bps <= self.net_bps
        )

    def take(self, request: Request) -> None:
        """Set a request's amounts aside."""
        self.cpus -= request.cpus
        self.memory_bytes -= request.memory_bytes
        self.net_bps -= request.net_bps

    def give_back(self, request: Request) -> None:
        """Let a request's amounts be free again."""
        self.cpus += request.cpus
        self.memory_bytes += request.memory_bytes
        self.net_bps += request.net_bps


def fits(request: Request, capacity: Capacity) -> bool:
    """Tell whether an otherwise empty worker could run the request.

    A worker whose bandwidth is unknown (0) runs only requests that reserve none.
    """
    return (
        request.cpus <= capacity.cpus
        and request.memory_bytes <= capacity.memory_bytes
        and request.net_bps <= capacity.net_bps
        and request.suits(capacity)
    )
