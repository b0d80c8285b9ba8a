"""Every message between clients, brokers and workers. ``docs/protocol.md`` is its page for people.

A frame is one ZeroMQ message part: a msgpack array of messages, or, from a broker, the
``alb_core.codec.Envelope`` that puts the sender's epoch around them. Unknown fields are ignored; an unknown
type is an error. Every request is sent again until it is answered, and means the same the second time.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from alb_core.drains import Drain
from alb_core.increments import Line, Resume
from alb_core.limits import HEARTBEAT_S, PROTOCOL_VERSION
from alb_core.resources import Capacity, Load
from alb_core.rows import FinishedTask, Increment
from alb_core.tasks import Outcome, Result, TaskRecord, TaskState


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag=True):
    """The base of all messages: an immutable value, tagged with its class name on the wire."""


class StreamName(enum.IntEnum):
    """Which output of a command; the numbers are its file descriptors."""

    STDOUT = 1
    STDERR = 2


# --- client -> broker, on the requests link -----------------------------------------------------------------


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
    """End this task. Answer: CancelNoted once it is in the table, or Rejected."""

    id: str


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


class QueryTask(Message, frozen=True, kw_only=True):
    """Everything about one task. Answer: TaskPage, or Error with code ``gone``."""

    seq: int
    id: str


class QueryWorkers(Message, frozen=True, kw_only=True):
    """List workers. Answer: WorkersPage."""

    seq: int
    names: tuple[str, ...] = ()
    #: Only these; empty: all.


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
    """Place by this policy from now on. Answer: Done, or Error with code ``invalid``."""

    seq: int
    policy: str


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
    | Attach
    | Ack
    | Cancel
    | Ping
    | QueryTasks
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
    | DrainWorkers
    | UndrainWorkers
    | Suspect
    | Follow
    | Goodbye
)

# --- broker -> client ---------------------------------------------------------------------------------------


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
    submitted: float = 0.0
    finished: float = 0.0
    exit_status: int | None = None
    why: str = ""


class TasksPage(Message, frozen=True, kw_only=True):
    """A page of tasks. An empty `cursor` ends the list."""

    seq: int
    tasks: tuple[TaskLine, ...]
    cursor: str = ""


class TaskPage(Message, frozen=True, kw_only=True):
    """One task as the table holds it, or as the results store remembers it."""

    seq: int
    task: TaskRecord
    stored: bool = False
    #: It has left the table: this is what the results store keeps.


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
    storing: int = 0
    #: Attempts that are over, and whose output the results store does not have yet.
    drain: Drain | None = None
    #: It takes nothing new.


class WorkersPage(Message, frozen=True, kw_only=True):
    """All workers that the leader knows."""

    seq: int
    workers: tuple[WorkerLine, ...]
    absent: dict[str, Drain] = {}
    #: Drained ones that it does not know now: they are drained when they come back.


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
    | Finished
    | Pong
    | Heartbeat
    | TasksPage
    | TaskPage
    | WorkersPage
    | ClusterPage
    | DumpPage
    | HistoryPage
    | RowsPage
    | IncrementsPage
    | OutputPage
    | WorksPage
    | Done
    | Error
)

# --- worker -> broker ---------------------------------------------------------------------------------------


class AttemptId(msgspec.Struct, frozen=True, gc=False, order=True):
    """One attempt of one task."""

    task: str
    n: int

    def __str__(self) -> str:
        return f"{self.task}/{self.n}"


class Register(Message, frozen=True, kw_only=True):
    """A worker offers itself to a leader. Answer: Registered, NotLeader or Error."""

    protocol: int = PROTOCOL_VERSION
    worker: str
    incarnation: str
    capacity: Capacity
    held: tuple[AttemptId, ...] = ()
    #: Every attempt that it runs, or whose result is not acknowledged (those results follow as AttemptEnded).
    load: Load = Load()


class Beat(Message, frozen=True, kw_only=True):
    """A worker is alive, and so busy."""

    load: Load


class AttemptStarted(Message, frozen=True, kw_only=True):
    """The attempt is known to the worker: the answer to Run."""

    attempt: AttemptId


class AttemptEnded(Message, frozen=True, kw_only=True):
    """The attempt is over and its processes are gone. Sent again until AttemptAck."""

    attempt: AttemptId
    outcome: Outcome


class AttemptExited(Message, frozen=True, kw_only=True):
    """The attempt's processes are gone, its room is free; AttemptEnded follows when its output is stored."""

    attempt: AttemptId


class Increments(Message, frozen=True, kw_only=True):
    """What a command reported. Sent again until Stored."""

    attempt: AttemptId
    first: int
    #: Number of the first line within the task; the others follow.
    lines: tuple[Line, ...]


class Leaving(Message, frozen=True, kw_only=True):
    """The worker stops: place nothing more on it."""


WorkerMessage: TypeAlias = (
    Register | Beat | AttemptStarted | AttemptExited | AttemptEnded | Increments | Leaving | Goodbye
)

# --- broker -> worker ---------------------------------------------------------------------------------------


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


class Kill(Message, frozen=True, kw_only=True):
    """End this attempt, started or not. Sent again until AttemptEnded."""

    attempt: AttemptId
    why: str
    #: ``cancelled``, ``superseded`` or ``evicted``: what is evicted runs again elsewhere. A later version may
    #: say something else: the attempt ends all the same.


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


ToWorker: TypeAlias = Registered | NotLeader | Run | Kill | AttemptAck | Stored | Heartbeat | Error

# --- output links -------------------------------------------------------------------------------------------


class Grant(Message, frozen=True, kw_only=True):
    """A reader takes up to `window` bytes of a stream from `offset` on. A later grant replaces it."""

    task: str
    stream: StreamName
    offset: int
    window: int
    attempt: int = 0
    #: 0: the newest, or the one whose result was recorded.
    reader: bytes = b""
    #: Filled in by the leader on the way to the worker.


class Chunk(Message, frozen=True, kw_only=True):
    """A piece of a stream, within its reader's grant."""

    task: str
    attempt: int
    stream: StreamName
    offset: int
    data: bytes = b""
    end: bool = False
    #: The stream is over after this.
    lost: str = ""
    #: Why the bytes from `offset` on cannot be had; then `data` is empty and `end` is set.
    reader: bytes = b""
    #: Of a worker's: for whom; empty: for the results store.
    stored: int = 0
    #: What is for the store: the offset below which it has the stream, as far as the worker was told.


OutputMessage: TypeAlias = Grant | Chunk
