"""What the client's core has to tell the person who waits. Values; the command line words them."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from alb_core.messages import StreamName
from alb_core.tasks import TaskState

LEADS_NO_MORE: Final = "it leads no more"
#: Why a leader is lost that says so itself.


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="notice"):
    """The base of all notices."""


class LeaderLost(Notice, frozen=True, kw_only=True):
    """The broker that led does so no more, or cannot be heard; another is looked for."""

    broker: str
    epoch: int
    why: str


class LeaderGreeted(Notice, frozen=True, kw_only=True):
    """A leader welcomed us."""

    broker: str
    epoch: int
    after_s: float
    #: Since the leader before it was lost, or since the search began.
    again: bool
    #: Whether there was one before.


class LeaderAwaited(Notice, frozen=True, kw_only=True):
    """No leader has welcomed us for a while; said once of each search."""

    waited_s: float
    what: str
    #: Who is asked at present: ZooKeeper, or a broker.


class NobodyLeads(Notice, frozen=True, kw_only=True):
    """ZooKeeper answers, but no broker leads at present."""

    brokers: int
    #: How many are registered.


class ZooKeeperSilent(Notice, frozen=True, kw_only=True):
    """ZooKeeper could not be asked who leads."""

    why: str


class LeaderWaits(Notice, frozen=True, kw_only=True):
    """The leader itself waits for something; empty: it waits no longer."""

    broker: str
    what: str


class TaskPlaced(Notice, frozen=True, kw_only=True):
    """A task's state or worker, as the leader says it."""

    id: str
    state: TaskState
    worker: str
    attempt: int
    why: str


class TableFull(Notice, frozen=True, kw_only=True):
    """The cluster has no room for a task at present; it is submitted again after the delay."""

    id: str
    delay_s: float
    why: str = ""
    #: Where that is not just that it is full.


class OutputRestarted(Notice, frozen=True, kw_only=True):
    """The task runs again elsewhere: its output starts from its first byte."""

    id: str
    attempt: int


class OutputMissing(Notice, frozen=True, kw_only=True):
    """Output of a finished task cannot be had from this byte on. Comes with the task's Settle only."""

    id: str
    stream: StreamName
    offset: int
    why: str


class ProgressMissed(Notice, frozen=True, kw_only=True):
    """The leader shows no progress; the standbys were asked to look."""

    broker: str
    why: str


class TableReplaced(Notice, frozen=True, kw_only=True):
    """The cluster has another task table than before: a backup was restored, or it was made anew."""

    before: str
    now: str


class BrokerRefused(Notice, frozen=True, kw_only=True):
    """A broker refused what we sent, for a reason that no single request explains."""

    code: str
    why: str


class FileMoves(Notice, frozen=True, kw_only=True):
    """A large file is on its way to the cluster, or back."""

    name: str
    size_bytes: int
    back: bool = False


class DepotsSilent(Notice, frozen=True, kw_only=True):
    """No depot takes or gives a file at present; they are asked again."""

    why: str


AnyNotice: TypeAlias = (
    LeaderLost
    | LeaderGreeted
    | LeaderAwaited
    | NobodyLeads
    | ZooKeeperSilent
    | LeaderWaits
    | TaskPlaced
    | TableFull
    | OutputRestarted
    | ProgressMissed
    | TableReplaced
    | BrokerRefused
    | FileMoves
    | DepotsSilent
)
