"""What a broker sends to clients on the requests link."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from alb_core.arrays import ArrayLine, Stretch
from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.choices import Change, Choice, Parameter, PolicyNode
from alb_core.copies import CopiesNode
from alb_core.drains import Drain
from alb_core.explanations import Explanation
from alb_core.limits import HEARTBEAT_S, PROTOCOL_VERSION
from alb_core.messages.base import AttemptUse, Message
from alb_core.quarantines import Quarantine
from alb_core.resources import Capacity, Count, Load
from alb_core.rows import FinishedTask, Increment
from alb_core.shares import SharesNode
from alb_core.tasks import NO_TIME, Result, TaskRecord, TaskState


class Welcome(Message, frozen=True, kw_only=True):
    """The leader's greeting: now send what you have."""

    protocol: int = PROTOCOL_VERSION
    broker: str
    output: str
    #: Endpoint of the output link.
    brokers: tuple[str, ...] = ()
    #: Request endpoints of all brokers, to try when this one is gone.
    heartbeat_s: float = HEARTBEAT_S


class NotLeader(Message, frozen=True, kw_only=True):
    """Ask elsewhere. `where` is the leader's endpoint for this kind of peer, empty while unknown."""

    where: str = ""
    broker: str = ""
    #: The leader's name.


class Accepted(Message, frozen=True, kw_only=True):
    """The task is in the table; it will have exactly one result."""

    id: str
    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    worker: str = ""


class Busy(Message, frozen=True, kw_only=True):
    """The table has no room for you now; submit again after the delay."""

    id: str
    delay_s: float
    why: str = ""
    #: Where that is not just that it is full.


class Rejected(Message, frozen=True, kw_only=True):
    """No, and asking again will not help. `code` is one of ``alb_core.errors.TASK_ERRORS``."""

    id: str
    code: str
    why: str


class TaskMoved(Message, frozen=True, kw_only=True):
    """The task changed its state or its worker."""

    id: str
    state: TaskState
    attempt: int = 0
    worker: str = ""
    why: str = ""


class CancelNoted(Message, frozen=True, kw_only=True):
    """The cancellation is in the table (or the task had ended: then Finished tells how)."""

    id: str


class InputsKept(Message, frozen=True, kw_only=True):
    """So many inputs of the array are in the table."""

    id: str
    count: int


class ArrayMoved(Message, frozen=True, kw_only=True):
    """How an array is now: the answer to AttachArray, then from time to time, and once it has ended."""

    array: ArrayLine


class Finished(Message, frozen=True, kw_only=True):
    """The task's result. Sent again until Ack."""

    id: str
    result: Result


class Pulse(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How one task is, in a Pong."""

    id: str
    state: TaskState | None = None
    #: None: not in the table.
    worker: str = ""
    silent_s: float = 0.0
    #: Seconds since its worker was last heard.


class Pong(Message, frozen=True, kw_only=True):
    """Answer to Ping."""

    seq: int
    tasks: tuple[Pulse, ...] = ()


class Heartbeat(Message, frozen=True, kw_only=True):
    """The leader is alive. Sent every heartbeat interval to everybody; proves no leadership."""

    waiting: str = ""
    #: What it waits for, for example ``ZooKeeper``; empty: nothing.
    commit: int = 0
    #: Newest batch of its epoch that is in the table.
    placement: float = 0.0
    #: Cluster time of its newest placement.


class TaskLine(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One task in a list."""

    id: str
    state: TaskState
    user: str
    name: str = ""
    command: str = ""
    #: Shortened for display.
    worker: str = ""
    attempt: int = 0
    submitted: float = NO_TIME
    finished: float = NO_TIME
    exit_status: int | None = None
    why: str = ""


class TasksPage(Message, frozen=True, kw_only=True):
    """A page of tasks. An empty `cursor` ends the list."""

    seq: int
    tasks: tuple[TaskLine, ...]
    cursor: str = ""


class FoundId(msgspec.Struct, frozen=True, kw_only=True):
    """A task or an array whose id begins or ends as was asked."""

    id: str
    state: TaskState | None
    #: None: it has ended, and its record was not read yet after a takeover.


class IdsPage(Message, frozen=True, kw_only=True):
    """What is named so in the table; a few where there are many."""

    seq: int
    found: tuple[FoundId, ...] = ()


class ArraysPage(Message, frozen=True, kw_only=True):
    """A page of arrays. An empty `cursor` ends the list."""

    seq: int
    arrays: tuple[ArrayLine, ...]
    cursor: str = ""


class ArrayPage(Message, frozen=True, kw_only=True):
    """What became of some positions of an array, as the table holds it."""

    seq: int
    array: ArrayLine
    spec: msgspec.Raw
    #: The encoded `ArraySpec`.
    stretches: tuple[Stretch, ...] = ()
    #: Of positions from `QueryArray.after` on, in order; what is in none of them has not ended.
    inputs: tuple[str, ...] = ()
    #: Of the same positions, where they were asked for.
    until: int = 0
    #: The page tells of positions below this; equal to the array's `total`: of all others.


class TaskPage(Message, frozen=True, kw_only=True):
    """One task as the table holds it, or as the results store remembers it."""

    seq: int
    task: TaskRecord
    stored: bool = False
    #: It has left the table: this is what the results store keeps.
    why: str = ""
    #: Why it waits, where not just for room.
    uses: tuple[AttemptUse, ...] = ()
    #: What its attempts that run were seen to use.
    explanation: Explanation | None = None
    #: Where it was asked for.


class Holding(enum.Enum):
    """How an attempt stands on its worker, as far as the leader knows."""

    RUNS = "runs"  #: It has its room.
    AHEAD = "ahead"  #: It waits there for room.
    STORING = "storing"  #: It is over, but the results store does not have all of its output yet.
    FOREIGN = "foreign"  #: It is nobody's any more, and is told to end.


class HeldLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt on a worker, in a list."""

    id: str
    attempt: int
    holding: Holding
    asked_back: bool
    #: Another worker could begin it sooner, and this one has not answered yet.
    ends: bool
    #: It is told to end.
    cpus: float = 0.0
    memory_bytes: int = 0
    #: What it reserves.
    demoted: bool = False
    #: Its processors are others' now, and it runs on with what is left over.
    placed: float = 0.0
    #: When; 0, and no more below, where its task is not in the table.
    user: str = ""
    name: str = ""
    command: str = ""
    #: Its beginning.


class WorkerLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One worker in a list."""

    worker: str
    incarnation: str
    capacity: Capacity
    load: Load
    session: bool
    #: Its ephemeral node is there.
    link: bool
    #: It is heard.
    reserved_cpus: float
    reserved_memory_bytes: int
    reserved_net_bps: int
    running: int
    #: Attempts that have their room.
    ahead: int = 0
    #: Attempts that wait on the worker for room.
    foreign: int = 0
    #: Attempts that it holds, that are nobody's any more, and that it is told to end.
    demoted: int = 0
    #: Of those that run, how many gave their processors to others.
    storing: int = 0
    #: Attempts that are over, and whose output the results store does not have yet.
    drain: Drain | None = None
    #: It takes nothing new.
    quarantine: Quarantine | None = None
    #: It is given nothing for a while.
    reserved_counts: tuple[Count, ...] = ()
    #: Of what it has in whole units.
    correction: float = 1.0
    #: By which it is faster than it says, as run times of the same commands elsewhere tell.
    tasks: tuple[HeldLine, ...] | None = None
    #: What it runs and holds; None: nobody asked.


class WorkersPage(Message, frozen=True, kw_only=True):
    """All workers that the leader knows."""

    seq: int
    workers: tuple[WorkerLine, ...]
    absent: dict[str, Drain] = {}
    #: Drained ones that it does not know now: they are drained when they come back.
    left_off: int = 0
    #: Attempts that were asked for, and are too many for one page.
    now: float = 0.0
    since: float = 0.0
    #: Cluster time, and that of the leader's claim: a new leader has not heard them all yet.


class ClusterPage(Message, frozen=True, kw_only=True):
    """The state of the cluster as its leader sees it."""

    seq: int
    broker: str
    epoch: int
    batch: int
    table: str
    policy: str
    since: float
    #: Cluster time of its claim.
    now: float
    #: Cluster time.
    session_timeout_s: float
    counts: dict[str, int]
    #: Tasks by state.
    counters: dict[str, int]
    #: What happened under this leader.
    set_aside: tuple[str, ...] = ()
    #: Nodes that could not be read, with the reason.
    store: str = ""
    #: How the results store is: empty: there is none; ``ok``; else why it takes nothing.
    unarchived: int = 0
    store_bytes: int = 0
    #: Finished tasks that it does not have yet; and how large it is, where it has a bound.
    bounds: Bounds = NO_BOUNDS
    time_limit_s: float | None = None
    #: The default limits of its tasks.
    policy_trouble: str = ""
    #: What is wrong with the policy, as a sentence; empty: nothing.


class UserLine(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How one user stands."""

    user: str
    weight: float = 1.0
    share: float = 0.0
    #: The largest part that his attempts reserve of anything, over his weight: who has less goes first.
    dominant: str = ""
    #: Of what that is; empty: he has nothing.
    cpus: float = 0.0
    #: Reserved, like the next two.
    memory_bytes: int = 0
    net_bps: int = 0
    running: int = 0
    #: Attempts that have reserved this.
    tasks: int = 0
    #: Of his in the table without a result, those of arrays apart.


class SharesPage(Message, frozen=True, kw_only=True):
    """What users may have, and have: those with tasks, who has most first, at most some hundred."""

    seq: int
    shares: SharesNode
    users: tuple[UserLine, ...] = ()


class CopiesPage(Message, frozen=True, kw_only=True):
    """The bounds of copies, and what became of those of this reign."""

    seq: int
    copies: CopiesNode
    running: int = 0
    #: That live now.
    cpus: float = 0.0
    #: That those reserve,
    cpus_max: float = 0.0
    #: and may; one copy may be larger.
    made: int = 0
    won: int = 0
    #: Of them, those that succeeded before what they were copies of.
    outrun: int = 0
    #: Attempts, copies or not, that were killed because another one of their task had succeeded.
    wasted_s: float = 0.0
    #: That those ran.


class DumpPage(Message, frozen=True, kw_only=True):
    """A piece of the dump. `cursor` is where the next begins, 0 at the end."""

    seq: int
    data: bytes
    cursor: int = 0


class HistoryPage(Message, frozen=True, kw_only=True):
    """Some finished tasks, perhaps none. An empty `cursor` ends the list."""

    seq: int
    tasks: tuple[FinishedTask, ...]
    cursor: str = ""


class RowsPage(Message, frozen=True, kw_only=True):
    """An array of rows in the order of their keys. If there are `more`, they follow the last of these."""

    seq: int
    rows: msgspec.Raw
    more: bool = False


class IncrementsPage(Message, frozen=True, kw_only=True):
    """Some increments of a task in the order that was asked for, perhaps none."""

    seq: int
    increments: tuple[Increment, ...]
    more: bool = False
    #: There are others beyond the last of these.


class OutputPage(Message, frozen=True, kw_only=True):
    """A piece of stored output."""

    seq: int
    attempt: int
    #: 0: the task delivered none.
    offset: int
    data: bytes = b""
    end: bool = False
    #: The store has nothing after this.
    lost: str = ""
    #: Why bytes that the attempt wrote are not there; `end` is set then.


class WorksPage(Message, frozen=True, kw_only=True):
    """The tasks that do these works: SUCCEEDED, else QUEUED or RUNNING. Works without one are left out."""

    seq: int
    tasks: dict[str, TaskLine]
    #: By work.
    stored: bool
    #: Whether the results store was asked too; else only the table.


class PolicyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that the leader has."""

    name: str
    summary: str
    #: What it says of itself, in one line.
    source: str
    #: The distribution that it came with, and its version.
    parameters: dict[str, Parameter]
    #: What operators may change, with what holds if they do not.
    candidates: int
    #: Workers that it sees at most.
    fastest_first: bool
    calls: int
    #: Under this leader, as all that follows.
    failures: int
    #: How often the default had to stand in.
    failed: str
    #: With what it failed last.
    failed_at: float
    #: Cluster time.
    us_per_call: float
    #: 0: it was not asked.
    missing_on: tuple[str, ...] = ()
    #: Brokers that do not have it.


class ElsewhereLine(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that the leader does not have, and others do."""

    name: str
    source: str
    #: The distribution that it came with, and its version.
    brokers: tuple[str, ...]
    #: Those that have it.


class TallyLine(msgspec.Struct, frozen=True, kw_only=True):
    """What tasks felt of one choice of policy, under this leader."""

    placed: int
    waited_s: float
    #: Mean, of those.
    ended: int
    slowdown: float
    #: Mean bounded slowdown, of those: time from submission to result over time on the worker.


class PoliciesPage(Message, frozen=True, kw_only=True):
    """The policies, and the choice among them."""

    seq: int
    node: PolicyNode
    #: What was chosen.
    in_force: Choice
    #: What places tasks: something else where the leader cannot follow the choice.
    why: str
    #: What is wrong with it, as a sentence; empty: nothing.
    now: float
    #: Cluster time.
    policies: tuple[PolicyLine, ...]
    changes: tuple[Change, ...]
    #: The newest last.
    tally: TallyLine
    former_tally: TallyLine
    #: Of the choice in force, and of the one before it.
    leader: str = ""
    #: The broker that says so.
    elsewhere: tuple[ElsewhereLine, ...] = ()
    #: What that one lacks.


class Done(Message, frozen=True, kw_only=True):
    """What was asked is done."""

    seq: int


class Error(Message, frozen=True, kw_only=True):
    """The frame or the request was refused. `seq` names the request where there was one."""

    code: str
    why: str
    seq: int = 0


ToClient: TypeAlias = (
    Welcome
    | NotLeader
    | Accepted
    | Busy
    | Rejected
    | TaskMoved
    | CancelNoted
    | InputsKept
    | ArrayMoved
    | Finished
    | Pong
    | Heartbeat
    | TasksPage
    | IdsPage
    | TaskPage
    | ArraysPage
    | ArrayPage
    | WorkersPage
    | ClusterPage
    | SharesPage
    | CopiesPage
    | DumpPage
    | HistoryPage
    | RowsPage
    | IncrementsPage
    | OutputPage
    | WorksPage
    | PoliciesPage
    | Done
    | Error
)
