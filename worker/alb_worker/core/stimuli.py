"""What happens to an attempt that neither a message of the leader nor the runner tells."""

from __future__ import annotations

import msgspec


class Superseded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The leader gave this worker a later attempt of the same task."""

    at: float


class RoomMade(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """It is the attempt's turn, there is room for it, and no older attempt of the task is left."""

    at: float


class RoomMissed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The attempt waited for room as long as it may."""

    at: float


class WorkerStops(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The worker leaves: what runs is killed within `grace_s`, what waits never starts."""

    at: float
    grace_s: float
