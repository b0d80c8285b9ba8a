"""What a worker's machine has, what a task asks of it, and how loaded it is."""

from __future__ import annotations

import msgspec


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one task reserves while it runs."""

    cpus: float = 1.0
    #: Processors; may be a fraction.
    memory_bytes: int = 0
    #: 0 reserves none.
    net_bps: int = 0
    #: Network bandwidth in bits per second; 0 reserves none.
    labels: tuple[str, ...] = ()
    #: Labels that the worker must carry, each ``key`` or ``key=value``.


class Capacity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How busy a worker's machine is, as fractions of what the worker offers; may exceed 1."""

    cpu: float = 0.0
    memory: float = 0.0
    net: float = 0.0
    running: int = 0
    #: Attempts whose processes live.


def fits(request: Request, capacity: Capacity) -> bool:
    """Tell whether an otherwise empty worker could run the request.

    A worker whose bandwidth is unknown (0) runs only requests that reserve none.
    """
    return (
        request.cpus <= capacity.cpus
        and request.memory_bytes <= capacity.memory_bytes
        and request.net_bps <= capacity.net_bps
        and (not request.labels or set(request.labels) <= set(capacity.labels))
    )
