"""Builders for tests of the worker: its node, its leader, tasks, and a core that is ready for orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from alb_core import codec, zk, znodes
from alb_core.messages import AttemptId, Reader, Registered, Run, ToWorker
from alb_core.resources import Capacity
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome, Stream
from alb_worker.core.actions import SendToLeader, WorkerAction
from alb_worker.core.events import LeaderSaid, LinkOpened, RunnerEnded
from alb_worker.core.worker import WorkerCore
from alb_worker.kinds.builtin import Binary, Command
from alb_worker.kinds.interface import Kind
from alb_worker.shell.kind_desk import KindDesk

TABLE = "table-1"
ENDPOINT = "tcp://10.0.0.1:7001"
OUTPUT = "tcp://10.0.0.1:7002"
SESSION = 0x51
NODE = znodes.WorkerNode(
    worker="w1", incarnation="mine", capacity=Capacity(cpus=2, memory_bytes=1 << 30), pid=11, started="today"
)
PATH = znodes.worker_path("w1")
TRUE = TaskSpec(command=("/bin/true",), grace_s=7.0)

T = TypeVar("T")


class Unbounded:
    """Bounds no code: pytest's own alarm is armed."""

    def call(self, _seconds: float, code: Callable[[], T]) -> T:
        """Run it."""
        return code()


def kind_desk(home: str, kinds: Mapping[str, Kind] | None = None, arch: str = "x86_64") -> KindDesk:
    """Return the desk of a worker with the built-in kinds and these."""
    every = {"command": Command(), "binary": Binary(), **(kinds or {})}
    return KindDesk(every, bound=Unbounded(), worker="w1", arch=arch, home=home)


def attempt(number: int = 1, n: int = 1) -> AttemptId:
    """Return an attempt of the task of this number."""
    return AttemptId(f"{number:032x}", n)


def run(of: AttemptId, spec: TaskSpec = TRUE, readers: tuple[Reader, ...] = ()) -> Run:
    """Return the order to run an attempt."""
    return Run(attempt=of, spec=msgspec.Raw(codec.encode_spec(spec)), readers=readers)


def ended(of: AttemptId, *, at: float = 1.0, stdout: bytes = b"", cause: Cause = Cause.EXITED) -> RunnerEnded:
    """Return the runner's word that an attempt is over."""
    outcome = Outcome(
        cause=cause,
        exit_code=0 if cause is Cause.EXITED else None,
        stdout=Stream.of(stdout[-4096:], len(stdout)),
    )
    return RunnerEnded(at=at, attempt=of, outcome=outcome, stdout_bytes=len(stdout))


def leader_node(
    epoch: int = 3, *, table: str = TABLE, workers: str = ENDPOINT, broker: str = "b1"
) -> zk.NodeRead:
    """Return ``/leader`` as it is read."""
    node = znodes.LeaderNode(
        broker=broker,
        incarnation="of " + broker,
        clients="",
        client_output="",
        workers=workers,
        worker_output="",
        epoch=epoch,
        table=table,
    )
    return read_of(znodes.LEADER, node)


def read_of(path: str, node: msgspec.Struct, *, version: int = 0, owner: int = 0) -> zk.NodeRead:
    """Return a node as it is read."""
    return zk.NodeRead(
        path=path, data=znodes.encode(node), stat=zk.Stat(version=version, mtime_s=0, owner=owner)
    )


def said(*messages: ToWorker, at: float = 1.0, epoch: int = 3, table: str = TABLE) -> LeaderSaid:
    """Return a frame as the link delivers it."""
    return LeaderSaid(at=at, epoch=epoch, table=table, messages=messages)


def kinds(actions: Sequence[WorkerAction]) -> list[str]:
    """Return the names of actions; of messages to the leader the message's, of notes the event's."""
    return [
        type(action.message).__name__ if isinstance(action, SendToLeader) else _name(action)
        for action in actions
    ]


def _name(action: Any) -> str:
    return str(getattr(action, "event", type(action).__name__))


def only(kind: type[T], actions: Sequence[Any]) -> T:
    """Return the one action, or the one message in SendToLeader, of a kind."""
    found = of_kind(kind, actions)
    assert len(found) == 1, actions
    return found[0]


def of_kind(kind: type[T], actions: Sequence[Any]) -> list[T]:
    """Return the actions, or the messages in SendToLeader, of a kind."""
    unwrapped = [action.message if isinstance(action, SendToLeader) else action for action in actions]
    return [action for action in unwrapped if isinstance(action, kind)]


class Bench:
    """A core with its invariants checked after every event."""

    def __init__(self) -> None:
        self.core = WorkerCore(NODE, seed=1)

    def handle(self, event: Any) -> list[WorkerAction]:
        """Hand the core an event."""
        actions = self.core.handle(event)
        self.core.check_invariants()
        return actions

    def answer(
        self, request: zk.ReadNodes, *nodes: zk.NodeRead | None, at: float = 0.0
    ) -> list[WorkerAction]:
        """Answer a read."""
        return self.handle(zk.NodesRead(at=at, token=request.token, nodes=nodes))

    def connect(self, session: int = SESSION, at: float = 0.0) -> tuple[zk.ReadNodes, zk.ReadNodes]:
        """Open a session; return the reads of the worker's own node and of the leader's."""
        actions = self.handle(zk.SessionConnected(at=at, session=session, timeout_s=5.0))
        own, leader = of_kind(zk.ReadNodes, actions)
        assert (own.paths, leader.paths) == ((PATH,), (znodes.LEADER,))
        return own, leader

    def hold(self, session: int = SESSION) -> zk.ReadNodes:
        """Open a session and get the node; return the read of the leader's."""
        own, leader = self.connect(session)
        claim = only(zk.Multi, self.answer(own, None))
        look = only(
            zk.ReadNodes, self.handle(zk.MultiEnded(at=0.0, token=claim.token, verdict=zk.Applied((None,))))
        )
        self.answer(look, read_of(PATH, NODE, owner=session))
        return leader

    def register(self) -> Bench:
        """Get the node, find the leader, and be registered by it."""
        self.answer(self.hold(), leader_node())
        self.handle(LinkOpened(at=0.0, endpoint=ENDPOINT))
        self.handle(said(Registered(broker="b1", output=OUTPUT), at=0.0))
        return self
