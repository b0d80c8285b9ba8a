"""What happens to a worker: past facts. With ``alb_core.zk.SessionEvent`` they are all that its core hears.

``at`` is monotonic seconds of the worker's process in every event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from alb_core import zk
from alb_core.increments import Line
from alb_core.messages import AttemptId, AttemptUse, Grant, StreamName, ToWorker
from alb_core.resources import Load
from alb_core.tasks import Outcome


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of the worker's own events."""

    at: float


# --- the links to the leader ------------------------------------------------------------------------------


class LinkOpened(Event, frozen=True, kw_only=True):
    """The link that the last ConnectLeader asked for is up, for the first time or again."""

    endpoint: str


class LinkClosed(Event, frozen=True, kw_only=True):
    """The link broke, or could not be made; the shell goes on trying until DisconnectLeader."""

    endpoint: str
    refused: bool = False
    #: There was no link yet: nobody listens there, or nobody answers.


class LeaderSaid(Event, frozen=True, kw_only=True):
    """A frame came over the link."""

    epoch: int
    table: str
    messages: Sequence[ToWorker]
    #: In their order.


class Granted(Event, frozen=True, kw_only=True):
    """A grant came over the output link."""

    grant: Grant


# --- the runner and the spool -----------------------------------------------------------------------------


class AttemptLaunched(Event, frozen=True, kw_only=True):
    """The runner started the attempt's process. Not told of attempts that end at once."""

    attempt: AttemptId
    pid: int


class RunnerDemoted(Event, frozen=True, kw_only=True):
    """The runner gave the attempt the lowest weight. Not told of attempts that have ended."""

    attempt: AttemptId
    mechanism: str
    #: What gives it.


class OutputGrew(Event, frozen=True, kw_only=True):
    """The spool holds more of a stream. Never after the attempt's end."""

    attempt: AttemptId
    stream: StreamName
    size_bytes: int
    #: Its length now.


class Reported(Event, frozen=True, kw_only=True):
    """A command reported increments. Never after the attempt's end."""

    attempt: AttemptId
    lines: tuple[Line, ...]


class RunnerEnded(Event, frozen=True, kw_only=True):
    """The attempt is over, its processes are gone, its spool is complete. It may never have been launched."""

    attempt: AttemptId
    outcome: Outcome
    #: Its streams are filled in from the spool.
    stdout_bytes: int = 0
    #: What the spool holds of each stream.
    stderr_bytes: int = 0


class RunnerLost(Event, frozen=True, kw_only=True):
    """The runner died; what it ran is killed and gone, and a new runner is ready."""


class SpoolDropped(Event, frozen=True, kw_only=True):
    """The spool let go of a finished attempt's output: its retention was over, or room was short."""

    attempt: AttemptId


# --- the machine and the clock ----------------------------------------------------------------------------


class LoadMeasured(Event, frozen=True, kw_only=True):
    """How busy the machine is; ``running`` is the core's to fill in."""

    load: Load


class UsesMeasured(Event, frozen=True, kw_only=True):
    """What attempts that run were seen to use."""

    uses: tuple[AttemptUse, ...]


class StopRequested(Event, frozen=True, kw_only=True):
    """Somebody asked the worker to stop (SIGTERM, SIGINT). Asked twice, it leaves at once."""


class Tick(Event, frozen=True, kw_only=True):
    """Time passed; comes every 100 to 200 ms."""


WorkerEvent: TypeAlias = (
    LinkOpened
    | LinkClosed
    | LeaderSaid
    | Granted
    | AttemptLaunched
    | RunnerDemoted
    | OutputGrew
    | Reported
    | RunnerEnded
    | RunnerLost
    | SpoolDropped
    | LoadMeasured
    | UsesMeasured
    | StopRequested
    | Tick
    | zk.SessionEvent
)
