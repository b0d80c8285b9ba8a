"""What the leader sends to a worker."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.increments import Resume
from alb_core.limits import HEARTBEAT_S
from alb_core.messages.base import AttemptId, Message
from alb_core.messages.to_client import Error, Heartbeat, NotLeader


class Registered(Message, frozen=True, kw_only=True):
    """The leader knows the worker. Attempts it must not keep follow as Kill."""

    broker: str
    output: str
    #: Endpoint of the output link.
    heartbeat_s: float = HEARTBEAT_S
    stores: bool = False
    #: There is a results store: output and increments go there before an attempt's end is reported.
    depots: tuple[str, ...] = ()
    #: ``http://host:port`` of every broker's depot, the leader's first.


class Reader(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A client that wants an attempt's output, and its first grants."""

    reader: bytes
    #: Its address on the leader's output link.
    stdout: int = 0
    stderr: int = 0
    window: int = 0


class Run(Message, frozen=True, kw_only=True):
    """Execute this attempt. Sent again until AttemptStarted or AttemptEnded."""

    attempt: AttemptId
    spec: msgspec.Raw
    readers: tuple[Reader, ...] = ()
    resume: Resume | None = None
    #: What earlier attempts reported; None: nothing.
    bounds: Bounds = NO_BOUNDS
    #: What it may use: its own bounds and the cluster's defaults.
    time_limit_s: float | None = None
    #: Its wall-clock limit, its own or the default.


class Kill(Message, frozen=True, kw_only=True):
    """End this attempt, started or not. Sent again until AttemptEnded."""

    attempt: AttemptId
    why: str
    #: ``cancelled``, ``superseded``, ``evicted`` (it runs again elsewhere) or ``preempted`` (later). Another
    #: version may say something else: the attempt ends all the same.


class Demote(Message, frozen=True, kw_only=True):
    """Let these attempts run on with what nobody else wants of the processors: theirs are others' now.

    Sent again until AttemptDemoted or AttemptEnded.
    """

    attempts: tuple[AttemptId, ...]


class Revoke(Message, frozen=True, kw_only=True):
    """Give these attempts back, if they have not begun: they could begin elsewhere.

    Sent again until AttemptEnded (with the cause ``given_back``: it never begins there), or AttemptStarted
    that says that it has begun, and goes on.
    """

    attempts: tuple[AttemptId, ...]


class AttemptAck(Message, frozen=True, kw_only=True):
    """The attempt's report is in the table, or is not wanted: forget it."""

    attempt: AttemptId


class Stored(Message, frozen=True, kw_only=True):
    """The results store has an attempt's output below these offsets, its increments up to this number."""

    attempt: AttemptId
    stdout: int = 0
    stderr: int = 0
    increments: int = 0
    again: bool = False
    #: What was sent beyond was dropped, for want of room: send it again.


ToWorker: TypeAlias = (
    Registered | NotLeader | Run | Kill | Demote | Revoke | AttemptAck | Stored | Heartbeat | Error
)
