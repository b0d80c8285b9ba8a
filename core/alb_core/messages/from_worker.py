"""What a worker sends to the leader."""

from __future__ import annotations

from typing import TypeAlias

from alb_core.increments import Line
from alb_core.limits import PROTOCOL_VERSION
from alb_core.messages.base import AttemptId, AttemptProgress, AttemptUse, Message
from alb_core.messages.from_client import Goodbye
from alb_core.resources import Capacity, Load
from alb_core.tasks import Outcome


class Register(Message, frozen=True, kw_only=True):
    """A worker offers itself to a leader. Answer: Registered, NotLeader or Error."""

    protocol: int = PROTOCOL_VERSION
    worker: str
    incarnation: str
    capacity: Capacity
    held: tuple[AttemptId, ...] = ()
    #: Every attempt that it runs, or whose result is not acknowledged (those results follow as AttemptEnded).
    load: Load = Load()
    launching: tuple[AttemptId, ...] = ()
    #: Those of `held` whose command does not run yet, for their files are still to come.


class Beat(Message, frozen=True, kw_only=True):
    """A worker is alive, and so busy."""

    load: Load
    uses: tuple[AttemptUse, ...] = ()
    #: Of attempts that run, a few at a time: the others' turn comes with the next beats.
    progress: tuple[AttemptProgress, ...] = ()
    #: Of attempts that reported increments, likewise.


class AttemptStarted(Message, frozen=True, kw_only=True):
    """The attempt is known to the worker: the answer to Run, and to Revoke where it comes too late."""

    attempt: AttemptId
    began: bool = False
    #: Its command runs, or is about to; else it waits there, or nobody knows.
    launching: bool = False
    #: Its command does not run yet: its files are still to come. Another message comes when it does.


class AttemptEnded(Message, frozen=True, kw_only=True):
    """The attempt is over and its processes are gone. Sent again until AttemptAck."""

    attempt: AttemptId
    outcome: Outcome


class AttemptExited(Message, frozen=True, kw_only=True):
    """The attempt's processes are gone, its room is free; AttemptEnded follows when its output is stored."""

    attempt: AttemptId


class AttemptDemoted(Message, frozen=True, kw_only=True):
    """The attempt has the lowest weight from now on: the answer to Demote."""

    attempt: AttemptId
    mechanism: str = ""
    #: What gives it: ``cpu.weight``, ``cpu.shares``, ``autogroup`` or ``nice``; empty: it does not run here.


class Increments(Message, frozen=True, kw_only=True):
    """What a command reported. Sent again until Stored."""

    attempt: AttemptId
    first: int
    #: Number of the first line within the task; the others follow.
    lines: tuple[Line, ...]


class Leaving(Message, frozen=True, kw_only=True):
    """The worker stops: place nothing more on it."""


WorkerMessage: TypeAlias = (
    Register
    | Beat
    | AttemptStarted
    | AttemptDemoted
    | AttemptExited
    | AttemptEnded
    | Increments
    | Leaving
    | Goodbye
)
