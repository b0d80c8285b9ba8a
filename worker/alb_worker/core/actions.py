"""What the worker's core wants done: imperatives, carried out in order.

Requests to ZooKeeper are ``alb_core.zk.Request`` values, lines for the log ``alb_core.notes.Note`` values.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb_core import zk
from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.increments import Resume
from alb_core.messages import AttemptId, StreamName, WorkerMessage
from alb_core.notes import Note
from alb_core.spec import TaskSpec


class ConnectLeader(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Close the links of before, and link to this broker. LinkOpened and LinkClosed tell of each change."""

    endpoint: str
    #: ``tcp://host:port``.


class DisconnectLeader(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Close the link and the output link; what they hold is forgotten, nothing more of them is heard."""


class ConnectOutput(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Link to the leader's output socket. The one that is there already stays."""

    endpoint: str


class SendToLeader(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Send a message over the link; it may be lost."""

    message: WorkerMessage


class SendChunk(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Send a piece of the spool over the output link, to a reader or the store; it may be lost."""

    attempt: AttemptId
    stream: StreamName
    offset: int
    size_bytes: int = 0
    end: bool = False
    #: The stream is over after this piece.
    lost: str = ""
    #: Why there is nothing from `offset` on.
    reader: bytes = b""
    #: Empty: the results store.
    stored: int = 0
    #: The offset below which the store has the stream.


class LaunchAttempt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Start a command. AttemptLaunched, OutputGrew and RunnerEnded follow."""

    attempt: AttemptId
    spec: TaskSpec
    resume: Resume | None = None
    #: What earlier attempts of the task reported.
    bounds: Bounds = NO_BOUNDS
    #: What it may use, the cluster's defaults included.
    time_limit_s: float | None = None
    #: Its wall-clock limit, its own or the default.
    gpus: tuple[int, ...] | None = None
    #: Indexes of those that are its own, perhaps none; None: the worker offers none.


class KillAttempt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """End a command that was launched: TERM, a grace, KILL. RunnerEnded follows."""

    attempt: AttemptId
    grace_s: float
    resumes: bool = False
    #: Its task goes on elsewhere: its checkpoint is wanted. Else nobody goes on with it.


class DemoteAttempt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Give a command that runs the lowest weight. RunnerDemoted follows, unless it ends."""

    attempt: AttemptId


class UseDepots(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Fetch files from these depots, and bring files back to them, the first before the others."""

    depots: tuple[str, ...]


class DropSpool(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Let go of a finished attempt's output. Nothing follows."""

    attempt: AttemptId


class Exit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """End the process. The last action of a core."""

    code: int
    why: str
    #: One sentence for the log.


WorkerAction: TypeAlias = (
    ConnectLeader
    | DisconnectLeader
    | ConnectOutput
    | SendToLeader
    | SendChunk
    | LaunchAttempt
    | KillAttempt
    | DemoteAttempt
    | UseDepots
    | DropSpool
    | Exit
    | Note
    | zk.Request
)
