"""What clients, and standbys that follow a leader, send to a broker on the requests link."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb_core.arrays import Stride
from alb_core.bounds import LimitsNode
from alb_core.choices import Parameter
from alb_core.copies import CopiesNode
from alb_core.limits import PROTOCOL_VERSION
from alb_core.messages.base import Message, StreamName
from alb_core.shares import Share
from alb_core.tasks import TaskState


class Hello(Message, frozen=True, kw_only=True):
    """First message of a client, and again on each new link. Answer: Welcome, NotLeader or Error."""

    protocol: int = PROTOCOL_VERSION
    user: str
    client: str = ""
    #: ``host:pid``, for people.


class Submit(Message, frozen=True, kw_only=True):
    """Run this task. Answer: Accepted, Busy or Rejected."""

    id: str
    spec: msgspec.Raw
    #: An encoded `TaskSpec`; its bytes make the digest, so a resubmission sends the same bytes.
    window: int = 0
    #: First grant of both streams, from offset 0; 0: no live output wanted.
    moves: bool = False
    #: Whether the client wants TaskMoved messages.


class SubmitArray(Message, frozen=True, kw_only=True):
    """Run this array. Answer: Accepted, Busy or Rejected."""

    id: str
    spec: msgspec.Raw
    #: An encoded `ArraySpec`; its bytes make the digest.
    inputs: tuple[str, ...] = ()
    #: The first of them: a line each, for positions from 0 on.
    whole: bool = True
    #: No more inputs follow.
    results: bool = False
    #: Whether the client wants Finished for each task; every client of an array gets ArrayMoved.


class ArrayInputs(Message, frozen=True, kw_only=True):
    """More inputs of an array. Answer: InputsKept or Rejected. What is there already is left as it is."""

    id: str
    first: int
    #: Position of the first line: how many InputsKept counted.
    lines: tuple[str, ...]
    whole: bool = False
    #: These were the last.


class AttachArray(Message, frozen=True, kw_only=True):
    """Tell me of this array from now on. Answer: ArrayMoved, or Rejected with code ``gone``."""

    id: str
    results: bool = False


class Attach(Message, frozen=True, kw_only=True):
    """Tell me of this task from now on. Answer: TaskMoved, Finished, or Rejected with code ``gone``."""

    id: str
    stdout: int = 0
    #: Offset from which output is wanted.
    stderr: int = 0
    window: int = 0
    moves: bool = False


class Ack(Message, frozen=True, kw_only=True):
    """I have this task's result: the answer to Finished."""

    id: str


class Cancel(Message, frozen=True, kw_only=True):
    """End this task, or this array. Answer: CancelNoted once it is in the table, or Rejected."""

    id: str
    strides: tuple[Stride, ...] = ()
    #: Of an array, only these indexes; empty: all of it.


class Ping(Message, frozen=True, kw_only=True):
    """I am here; how are these tasks? Answer: Pong, after a commit: a proof that the leader leads."""

    seq: int
    tasks: tuple[str, ...] = ()


class QueryTasks(Message, frozen=True, kw_only=True):
    """List tasks. Answer: TasksPage."""

    seq: int
    ids: tuple[str, ...] = ()
    #: Only these (full ids); empty: all.
    prefix: str = ""
    #: Only ids that begin so.
    states: tuple[TaskState, ...] = ()
    user: str = ""
    cursor: str = ""
    #: From the page before.
    limit: int = 500


class QueryIds(Message, frozen=True, kw_only=True):
    """Which tasks and arrays in the table have an id that begins or ends so? Answer: IdsPage, or Error."""

    seq: int
    part: str
    #: Up to 32 hex digits. Tasks of arrays are left out: of those the array is meant.


class QueryArrays(Message, frozen=True, kw_only=True):
    """List arrays. Answer: ArraysPage."""

    seq: int
    prefix: str = ""
    #: Only ids that begin so.
    user: str = ""
    cursor: str = ""
    #: From the page before.


class QueryArray(Message, frozen=True, kw_only=True):
    """How the tasks of an array ended. Answer: ArrayPage, or Error with code ``gone``."""

    seq: int
    id: str
    after: int = 0
    #: From this position on.
    inputs: bool = False
    #: Also the inputs of these positions.


class HoldTasks(Message, frozen=True, kw_only=True):
    """Keep these tasks and arrays from being placed. Answer: Done, or Error ``invalid``."""

    seq: int
    ids: tuple[str, ...]


class ReleaseTasks(Message, frozen=True, kw_only=True):
    """Let held tasks and arrays go on. Answer: Done, or Error ``invalid``."""

    seq: int
    ids: tuple[str, ...]


class SetLimits(Message, frozen=True, kw_only=True):
    """Bound tasks that say nothing to this from now on. Answer: Done, or Error ``invalid``."""

    seq: int
    limits: LimitsNode


class QueryShares(Message, frozen=True, kw_only=True):
    """Who may have, and who has, how much of the cluster? Answer: SharesPage."""

    seq: int


class SetShare(Message, frozen=True, kw_only=True):
    """Let this user have so much from now on. Answer: Done, or Error ``invalid``."""

    seq: int
    user: str
    #: Empty: everybody who is not named.
    share: Share | None = None
    #: None: what everybody has.


class QueryCopies(Message, frozen=True, kw_only=True):
    """How many copies of stragglers may there be, and what became of them? Answer: CopiesPage."""

    seq: int


class SetCopies(Message, frozen=True, kw_only=True):
    """Let copies have these bounds from now on. Answer: Done, or Error ``invalid``."""

    seq: int
    copies: CopiesNode


class QueryTask(Message, frozen=True, kw_only=True):
    """Everything about one task. Answer: TaskPage, or Error with code ``gone``."""

    seq: int
    id: str
    explain: bool = False
    #: Also why it is where it is.


class QueryWorkers(Message, frozen=True, kw_only=True):
    """List workers. Answer: WorkersPage."""

    seq: int
    names: tuple[str, ...] = ()
    #: Only these; empty: all.
    tasks: bool = False
    #: Also what they run and hold.


class QueryCluster(Message, frozen=True, kw_only=True):
    """How is the cluster? Answer: ClusterPage."""

    seq: int


class QueryDump(Message, frozen=True, kw_only=True):
    """The broker's whole state as JSON, in pieces. Answer: DumpPage."""

    seq: int
    cursor: int = 0


class QueryHistory(Message, frozen=True, kw_only=True):
    """List finished tasks from the results store, the newest first. Answer: HistoryPage, or Error."""

    seq: int
    user: str = ""
    #: Only this user's; so with the next three; empty: all.
    states: tuple[str, ...] = ()
    worker: str = ""
    name: str = ""
    since: float = 0.0
    #: Only those that ended then or later (cluster time); 0: all.
    until: float = 0.0
    #: Only those that ended earlier; 0: all.
    cursor: str = ""
    #: From the page before.
    prefix: str = ""
    #: Only ids that begin so.
    ending: str = ""
    #: Only ids that end so.


class QueryWorks(Message, frozen=True, kw_only=True):
    """Which of these works were done well, or wait or run now? Answer: WorksPage, or Error."""

    seq: int
    works: tuple[str, ...]
    #: At most ``limits.WORKS_MAX``.


class QueryIncrements(Message, frozen=True, kw_only=True):
    """List what a task reported, from the results store. Answer: IncrementsPage, or Error."""

    seq: int
    id: str
    after: int = 0
    #: Only those with a greater number.
    newest: bool = False
    #: The last ones, the newest first, in place of the first ones.
    limit: int = 100


class QueryOutput(Message, frozen=True, kw_only=True):
    """Read output that the results store has. Answer: OutputPage, or Error."""

    seq: int
    id: str
    stream: StreamName
    attempt: int = 0
    #: 0: the one that delivered the result.
    offset: int = 0
    #: In bytes; below 0: so many before the end.


class QueryRows(Message, frozen=True, kw_only=True):
    """Read rows of ``tasks``, ``attempts`` or ``loads`` after a key. Answer: RowsPage, or Error."""

    seq: int
    family: str
    after: tuple[str | float, ...] = ()


class SetPolicy(Message, frozen=True, kw_only=True):
    """Place by this policy from now on. Answer: Done, once that is in the table, or Error ``invalid``."""

    seq: int
    policy: str
    parameters: dict[str, Parameter] = {}
    #: In place of the policy's own.
    try_s: float = 0.0
    #: For so long, then by the former one again; 0: for good.
    rollback: bool = False
    #: It is the former one: so the history says.


class QueryPolicies(Message, frozen=True, kw_only=True):
    """Which policies are there, which is in force, and how does it do? Answer: PoliciesPage."""

    seq: int


class DrainWorkers(Message, frozen=True, kw_only=True):
    """Give these workers nothing new. Answer: Done, once that is in the table, or Error ``invalid``."""

    seq: int
    workers: tuple[str, ...]
    reason: str = ""
    deadline_s: float | None = None
    #: After so long, tasks that may run again are taken from them; None: everything may end there.


class UndrainWorkers(Message, frozen=True, kw_only=True):
    """Give these workers tasks again. Answer: Done, once that is in the table, or Error ``invalid``."""

    seq: int
    workers: tuple[str, ...]


class Suspect(Message, frozen=True, kw_only=True):
    """To a standby: the leader of this epoch shows no progress on my task. No answer: it probes."""

    epoch: int
    why: str = ""


class Follow(Message, frozen=True, kw_only=True):
    """From a standby to the leader: send me your heartbeats."""

    protocol: int = PROTOCOL_VERSION
    broker: str
    incarnation: str


class Goodbye(Message, frozen=True, kw_only=True):
    """The peer closes this link on purpose."""


ClientMessage: TypeAlias = (
    Hello
    | Submit
    | SubmitArray
    | ArrayInputs
    | AttachArray
    | QueryArrays
    | QueryArray
    | HoldTasks
    | ReleaseTasks
    | SetLimits
    | QueryCopies
    | SetCopies
    | QueryShares
    | SetShare
    | Attach
    | Ack
    | Cancel
    | Ping
    | QueryTasks
    | QueryIds
    | QueryTask
    | QueryWorkers
    | QueryCluster
    | QueryDump
    | QueryHistory
    | QueryRows
    | QueryIncrements
    | QueryOutput
    | QueryWorks
    | SetPolicy
    | QueryPolicies
    | DrainWorkers
    | UndrainWorkers
    | Suspect
    | Follow
    | Goodbye
)
