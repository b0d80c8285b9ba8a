"""What happens to a broker: past facts, the only way into its core.

The events of the ZooKeeper session are those of ``alb_core.zk``, those of the results store
``alb_broker.store.events``; here are the others. `at` is always the broker's own monotonic clock, in seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from alb_broker.store.events import StoreEvent
from alb_core import zk
from alb_core.messages import Chunk, ClientMessage, Grant, ToClient, WorkerMessage


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of the events of this module."""

    at: float


class ClientSaid(Event, frozen=True, kw_only=True):
    """A client, or a standby that follows, sent a message on the requests link."""

    peer: bytes
    message: ClientMessage


class ClientGranted(Event, frozen=True, kw_only=True):
    """A client asked for output on the output link."""

    peer: bytes
    grant: Grant


class ClientGarbled(Event, frozen=True, kw_only=True):
    """A client sent a frame that could not be understood."""

    peer: bytes
    why: str


class WorkerSaid(Event, frozen=True, kw_only=True):
    """A worker sent a message."""

    peer: bytes
    message: WorkerMessage


class WorkerGarbled(Event, frozen=True, kw_only=True):
    """A worker sent a frame that could not be understood."""

    peer: bytes
    why: str


class ChunkArrived(Event, frozen=True, kw_only=True):
    """A worker sent output for one reader."""

    peer: bytes
    chunk: Chunk


class LeaderSaid(Event, frozen=True, kw_only=True):
    """The leader that this standby follows sent a message."""

    epoch: int
    message: ToClient


class LeaderLinkClosed(Event, frozen=True, kw_only=True):
    """The link to the leader broke or could not be made: a reason to probe, no proof."""


class ProbeVerdict(enum.Enum):
    """What a plain TCP connection to an endpoint met."""

    REFUSED = "refused"  #: The host answers and nobody listens: the process is gone.
    OPEN = "open"  #: Somebody accepted.
    SILENT = "silent"  #: Nothing within the limit: no proof of anything.


class ProbeEnded(Event, frozen=True, kw_only=True):
    """Answer to the action Probe."""

    token: int
    verdict: ProbeVerdict


class PoliciesTimed(Event, frozen=True, kw_only=True):
    """The policies have taken so much time: calls and seconds by name, since the process began."""

    spent: Mapping[str, tuple[int, float]]


class StopRequested(Event, frozen=True, kw_only=True):
    """The operator wants this broker to end (SIGTERM)."""


class Tick(Event, frozen=True, kw_only=True):
    """Time passed. Comes at least every quarter of a second."""


class TurnEnded(Event, frozen=True, kw_only=True):
    """The shell has handed over all it had for now: place, commit."""

    more: bool = False
    #: It has taken more messages already, and hands them over in the next turn, which follows at once.


BrokerEvent: TypeAlias = (
    ClientSaid
    | ClientGranted
    | ClientGarbled
    | WorkerSaid
    | WorkerGarbled
    | ChunkArrived
    | LeaderSaid
    | LeaderLinkClosed
    | ProbeEnded
    | StoreEvent
    | PoliciesTimed
    | StopRequested
    | Tick
    | TurnEnded
    | zk.SessionEvent
)
