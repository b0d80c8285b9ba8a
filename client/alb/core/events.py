"""What the client's core is told: past facts, each with the monotonic second `at` which it was noticed.

Links are numbered by the core (see ``alb.core.actions.Connect``); an event of a link that the core has given
up is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from alb_core.arrays import Stride
from alb_core.messages import (
    Chunk,
    DrainWorkers,
    HoldTasks,
    QueryArray,
    QueryArrays,
    QueryCluster,
    QueryCopies,
    QueryDump,
    QueryHistory,
    QueryIds,
    QueryIncrements,
    QueryOutput,
    QueryPolicies,
    QueryRows,
    QueryShares,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    QueryWorks,
    ReleaseTasks,
    SetCopies,
    SetLimits,
    SetPolicy,
    SetShare,
    StreamName,
    ToClient,
    UndrainWorkers,
)
from alb_core.znodes import BrokerNode, LeaderNode

Query: TypeAlias = (
    QueryTasks
    | QueryIds
    | QueryTask
    | QueryArrays
    | QueryArray
    | QueryWorkers
    | QueryCluster
    | QueryDump
    | QueryHistory
    | QueryRows
    | QueryIncrements
    | QueryOutput
    | QueryWorks
    | HoldTasks
    | ReleaseTasks
    | SetLimits
    | QueryCopies
    | SetCopies
    | QueryShares
    | SetShare
    | SetPolicy
    | QueryPolicies
    | DrainWorkers
    | UndrainWorkers
)


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of all events."""

    at: float
    #: Monotonic seconds.


# --- ZooKeeper: answers to LookUp ---------------------------------------------------------------------------


class LeaderFound(Event, frozen=True, kw_only=True):
    """ZooKeeper was read."""

    leader: LeaderNode | None
    #: None: nobody leads at present.
    brokers: tuple[BrokerNode, ...] = ()


class LookUpFailed(Event, frozen=True, kw_only=True):
    """ZooKeeper could not be read."""

    why: str


# --- links --------------------------------------------------------------------------------------------------


class LinkOpened(Event, frozen=True, kw_only=True):
    """A link (of requests or of output) is connected, for the first time or again."""

    link: int


class LinkClosed(Event, frozen=True, kw_only=True):
    """The peer of a link, or the network, closed it."""

    link: int
    why: str = ""


class LinkRefused(Event, frozen=True, kw_only=True):
    """Nobody listens at the other end of a link."""

    link: int
    why: str = ""


class BrokerSaid(Event, frozen=True, kw_only=True):
    """A frame arrived on a link of requests."""

    link: int
    epoch: int
    #: 0: a standby spoke.
    table: str
    messages: Sequence[ToClient]
    #: In their order.


class OutputSaid(Event, frozen=True, kw_only=True):
    """A piece of output arrived on a link of output."""

    link: int
    chunk: Chunk


# --- the user -----------------------------------------------------------------------------------------------


class SubmitRequested(Event, frozen=True, kw_only=True):
    """The user wants a task run. Ends in Settle or FailTask."""

    id: str
    #: Made by the shell: it has the clock and the randomness.
    spec: bytes
    #: An encoded ``TaskSpec``.
    live: bool = False
    #: Deliver output while the command runs; its consumer reports OutputTaken.
    output: bool = True
    #: Deliver all output; else the result's own copy has to do.
    moves: bool = False
    #: Tell where the task runs.


class AttachRequested(Event, frozen=True, kw_only=True):
    """The user wants to follow a task that somebody submitted. Ends in Settle or FailTask."""

    id: str
    live: bool = False
    output: bool = True
    moves: bool = False
    stdout: int = 0
    #: Offset in bytes from which output is wanted.
    stderr: int = 0


class TaskAbandoned(Event, frozen=True, kw_only=True):
    """Nobody here wants to hear of the task, or the array, any more. It goes on; nothing is acknowledged."""

    id: str


class OutputTaken(Event, frozen=True, kw_only=True):
    """The consumer of a live stream took all bytes below an offset; until then no more are asked for."""

    id: str
    attempt: int
    stream: StreamName
    offset: int


class ArrayRequested(Event, frozen=True, kw_only=True):
    """The user wants an array run. Ends in SettleArray or FailTask."""

    id: str
    spec: bytes
    #: An encoded ``ArraySpec``.
    inputs: tuple[str, ...] = ()
    #: The first ones; others follow as InputsGiven.
    whole: bool = True
    #: None follow.
    results: bool = True
    #: Deliver each task's result; its consumer reports ResultsTaken.
    ordered: bool = False
    #: In the order of their positions: then only what comes next is asked for.


class ArrayAttachRequested(Event, frozen=True, kw_only=True):
    """The user wants to follow an array that somebody submitted. Ends in SettleArray or FailTask."""

    id: str
    spec: bytes
    #: Its encoded ``ArraySpec``, as the leader has it.
    results: bool = True
    ordered: bool = False


class InputsGiven(Event, frozen=True, kw_only=True):
    """The user has more inputs for an array."""

    id: str
    lines: tuple[str, ...]
    whole: bool = False
    #: These are the last.


class ResultsTaken(Event, frozen=True, kw_only=True):
    """The consumer of an array's results took some. Until then no more than a window are delivered."""

    id: str
    positions: tuple[int, ...]
    reached: int = 0
    #: Of an ordered array: all positions below it were taken.


class ResultsDropped(Event, frozen=True, kw_only=True):
    """Nobody here wants the results of an array any more, but still its end."""

    id: str


class CancelRequested(Event, frozen=True, kw_only=True):
    """The user wants a task or an array ended. Ends in AnswerQuery with CancelNoted or Rejected."""

    token: int
    #: Chosen by the shell, unique.
    id: str
    strides: tuple[Stride, ...] = ()
    #: Of an array, only these indexes; empty: all of it.


class QueryRequested(Event, frozen=True, kw_only=True):
    """The user asks. Ends in AnswerQuery with the page, or Error."""

    token: int
    message: Query
    #: Its `seq` is filled in by the core.


class RequestAbandoned(Event, frozen=True, kw_only=True):
    """Nobody waits for the answer of this token any more."""

    token: int


class CloseRequested(Event, frozen=True, kw_only=True):
    """The client closes; what is under way goes on in the cluster."""


# --- time ---------------------------------------------------------------------------------------------------


class Tick(Event, frozen=True, kw_only=True):
    """Time passed. Several a second."""


ClientEvent: TypeAlias = (
    LeaderFound
    | LookUpFailed
    | LinkOpened
    | LinkClosed
    | LinkRefused
    | BrokerSaid
    | OutputSaid
    | SubmitRequested
    | AttachRequested
    | TaskAbandoned
    | OutputTaken
    | ArrayRequested
    | ArrayAttachRequested
    | InputsGiven
    | ResultsTaken
    | ResultsDropped
    | CancelRequested
    | QueryRequested
    | RequestAbandoned
    | CloseRequested
    | Tick
)
