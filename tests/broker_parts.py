"""Builders for tests of the broker: tasks, workers and clients by small numbers, and the parts of a leader.

`Desks` is a leader without ZooKeeper and without a loop: every batch that it commits is applied.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from alb_broker.core.actions import (
    Action,
    ArrayOpened,
    PolicyMarked,
    SendToClient,
    SendToWorker,
    TaskKept,
    TaskSettled,
)
from alb_broker.core.answers import Answers
from alb_broker.core.archive import Archive
from alb_broker.core.array_desk import ArrayDesk
from alb_broker.core.array_fates import ArrayFates
from alb_broker.core.array_pages import ArrayPages
from alb_broker.core.array_retention import ArrayRetention
from alb_broker.core.book import Book
from alb_broker.core.clearance import Clearance
from alb_broker.core.client_desk import ClientDesk
from alb_broker.core.copies import Copies
from alb_broker.core.copies_desk import CopiesDesk
from alb_broker.core.demotions import Demotions
from alb_broker.core.drain_desk import DrainDesk
from alb_broker.core.expansion import Expansion
from alb_broker.core.fates import Fates
from alb_broker.core.inflow import Inflow
from alb_broker.core.limits_desk import LimitsDesk
from alb_broker.core.past import Past
from alb_broker.core.policy_desk import PolicyDesk
from alb_broker.core.preemptions import Preemptions
from alb_broker.core.relay import Relay
from alb_broker.core.resumption import Resumption
from alb_broker.core.retention import Retention
from alb_broker.core.shares_desk import SharesDesk
from alb_broker.core.start_desk import StartDesk
from alb_broker.core.state import Claim, State, Tokens
from alb_broker.core.stored_answers import StoredAnswers
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.worker_desk import WorkerDesk
from alb_broker.core.works import Works
from alb_broker.policies import least_loaded, optimize, uniform, weighted
from alb_core import codec, ids, zk, znodes
from alb_core.config import BrokerConfig
from alb_core.messages import (
    Attach,
    AttemptEnded,
    AttemptId,
    Hello,
    Message,
    Register,
    Submit,
    WorkerMessage,
)
from alb_core.notes import Note
from alb_core.resources import Capacity, Request
from alb_core.spec import TaskSpec, digest
from alb_core.tasks import Attempt, AttemptState, Cause, Outcome, TaskRecord, TaskState
from alb_core.znodes import BrokerNode, WorkerNode

POLICIES = {
    "least-loaded": least_loaded.choose,
    "optimize": optimize.choose,
    "uniform": uniform.choose,
    "weighted": weighted.choose,
}
TRUE = TaskSpec(command=("/bin/true",))
C1 = b"client-1"
C2 = b"client-2"
W1 = b"worker-1"
W2 = b"worker-2"
CLAIMED_S = 1_700_000_000.0
#: Cluster time of the claim, where nothing else is said.

T = TypeVar("T")


def task_id(number: int) -> str:
    """Return the id of a task."""
    return f"{number:032x}"


def attempt(number: int, n: int = 1) -> AttemptId:
    """Return attempt `n` of the task of this number."""
    return AttemptId(task_id(number), n)


def config(**fields: Any) -> BrokerConfig:
    """Return a broker's settings."""
    return BrokerConfig(**{"zk": "zk:2181", "name": "b1", **fields})


def broker_node(name: str = "b1", life: int = 1) -> BrokerNode:
    """Return how a broker stands in ZooKeeper."""
    endpoints = {
        socket: f"tcp://{name}:{7000 + index}"
        for index, socket in enumerate(("clients", "client_output", "workers", "worker_output"))
    }
    return BrokerNode(broker=name, incarnation=f"{name}-{life}", **endpoints)


def claim(epoch: int = 1, **fields: Any) -> Claim:
    """Return a granted claim."""
    standard = {"table": "table-1", "fence": epoch, "chain": 10, "mtime_s": CLAIMED_S, "floor_s": 0.0}
    return Claim(**{"epoch": epoch, **standard, **fields})


def make_state(**fields: Any) -> State:
    """Return the parts of a fresh reign; keywords are settings of the broker, or its claim and policies."""
    made, policies = fields.pop("claim", claim()), fields.pop("policies", POLICIES)
    return State(config(**fields), broker_node(), made, policies, Tokens(), at=0.0)


def record(number: int, *attempts: Attempt, spec: TaskSpec = TRUE, **fields: Any) -> TaskRecord:
    """Return a task as the table holds it: running if one of its attempts is live."""
    runs = any(each.state is AttemptState.LIVE for each in attempts)
    standard = {
        "id": task_id(number),
        "state": TaskState.RUNNING if runs else TaskState.QUEUED,
        "user": "ann",
        "digest": digest(codec.encode_spec(spec)),
        "spec": spec,
        "submitted": CLAIMED_S - 100.0 + number,
        "attempts": attempts,
    }
    return TaskRecord(**{**standard, **fields})


def make_task(number: int, *attempts: Attempt, spec: TaskSpec = TRUE, **fields: Any) -> Task:
    """Return a task as the leader holds it."""
    wire = codec.encode_spec(spec)
    return Task(record(number, *attempts, spec=spec, **fields), len(wire))


def make_attempt(
    n: int = 1,
    worker: str = "w1",
    state: AttemptState = AttemptState.LIVE,
    life: int = 1,
    placed: float = 0.0,
    *,
    copy_of: int = 0,
) -> Attempt:
    """Return an attempt as the table holds it."""
    incarnation = f"{worker}-{life}"
    return Attempt(
        n=n, worker=worker, incarnation=incarnation, epoch=1, state=state, placed=placed, copy_of=copy_of
    )


def submit(number: int, spec: TaskSpec = TRUE, **fields: Any) -> Submit:
    """Return a submission."""
    return Submit(id=task_id(number), spec=msgspec.Raw(codec.encode_spec(spec)), **fields)


def attach(number: int, **fields: Any) -> Attach:
    """Return the wish to hear of a task."""
    return Attach(id=task_id(number), **fields)


def capacity(cpus: float = 1.0, memory_bytes: int = 1 << 30, **fields: Any) -> Capacity:
    """Return what a worker offers."""
    return Capacity(cpus=cpus, memory_bytes=memory_bytes, **fields)


def register(worker: str = "w1", *held: AttemptId, cpus: float = 1.0, life: int = 1) -> Register:
    """Return a worker's registration."""
    return Register(worker=worker, incarnation=f"{worker}-{life}", capacity=capacity(cpus), held=held)


def worker_node(worker: str = "w1", life: int = 1, cpus: float = 1.0) -> WorkerNode:
    """Return a worker's node."""
    return WorkerNode(worker=worker, incarnation=f"{worker}-{life}", capacity=capacity(cpus))


def make_worker(name: str = "w1", cpus: float = 1.0, **fields: Any) -> Worker:
    """Return a worker on which tasks may be placed."""
    worker = Worker(name, f"{name}-1", 0.0)
    worker.offer(capacity(cpus, **fields))
    worker.session = worker.link = True
    worker.peer = f"peer-{name}".encode()
    return worker


def outcome(exit_code: int | None = 0, cause: Cause = Cause.EXITED, **fields: Any) -> Outcome:
    """Return how an attempt ended."""
    return Outcome(cause=cause, exit_code=exit_code if cause is Cause.EXITED else None, **fields)


def ended(number: int, n: int = 1, exit_code: int = 0, cause: Cause = Cause.EXITED) -> AttemptEnded:
    """Return a worker's report."""
    return AttemptEnded(attempt=attempt(number, n), outcome=outcome(exit_code, cause))


def request(cpus: float = 1.0, memory_bytes: int = 0, **fields: Any) -> Request:
    """Return what a task reserves."""
    return Request(cpus=cpus, memory_bytes=memory_bytes, **fields)


def stat(version: int = 0, mtime_s: float = CLAIMED_S, owner: int = 0) -> zk.Stat:
    """Return what ZooKeeper knows of a node."""
    return zk.Stat(version=version, mtime_s=mtime_s, owner=owner)


def read(path: str, node: msgspec.Struct | bytes, version: int = 0) -> zk.NodeRead:
    """Return a node as it was read."""
    data = node if isinstance(node, bytes) else znodes.encode(node)
    return zk.NodeRead(path=path, data=data, stat=stat(version))


def applied(multi: zk.Multi, version: int) -> zk.Applied:
    """Return the verdict on an applied transaction; every node that it set has this version now."""
    return zk.Applied(
        tuple(stat(version) if isinstance(each, zk.SetData) else None for each in multi.operations)
    )


def of_type(kind: type[T], actions: list[Action]) -> list[T]:
    """Return the actions of one type."""
    return [action for action in actions if isinstance(action, kind)]


def notes(actions: list[Action], event: str) -> list[dict[str, Any]]:
    """Return the fields of the notes of one event."""
    return [note.fields for note in of_type(Note, actions) if note.event == event]


def to_client(peer: bytes, actions: list[Action]) -> list[Message]:
    """Return what a client is told."""
    return [action.message for action in of_type(SendToClient, actions) if action.peer == peer]


def to_worker(peer: bytes, actions: list[Action]) -> list[Message]:
    """Return what a worker is told."""
    return [action.message for action in of_type(SendToWorker, actions) if action.peer == peer]


class Desks:
    """The desks of a leader around one state. Time stands still unless a test moves `at`."""

    def __init__(self, **fields: Any) -> None:
        self.state = make_state(**fields)
        self.state.recollected = True
        self.resumption = Resumption(self.state)
        self.book = Book(self.state, self.resumption)
        self.inflow = Inflow(self.state, self.book)
        self.stored = StoredAnswers(self.state)
        self.relay = Relay(self.state, self.stored)
        self.archive = Archive(self.state)
        self.clearance = Clearance(self.state)
        self.answers = Answers(self.state, self.archive, self.stored, self.clearance)
        self.workers = WorkerDesk(self.state, self.book, self.resumption, self.inflow)
        self.drains = DrainDesk(self.state, self.workers)
        self.limits = LimitsDesk(self.state)
        self.demotions = Demotions(self.state, self.book)
        self.preemptions = Preemptions(self.state)
        self.policies = PolicyDesk(self.state)
        self.shares = SharesDesk(self.state)
        self.copies = Copies(self.state, self.book)
        self.copies_desk = CopiesDesk(self.state, self.copies)
        self.works = Works(self.state)
        self.past = Past(self.state)
        self.fates = Fates(self.state)
        self.starts = StartDesk(self.state, self.book, self.fates)
        self.expansion = Expansion(self.state, self.book)
        self.array_pages = ArrayPages(self.state)
        self.arrays = ArrayDesk(self.state, self.book, self.array_pages, self.starts)
        self.array_fates = ArrayFates(self.state, self.array_pages)
        self.fates.sources.append(self.array_fates.of)
        self.clients = ClientDesk(
            self.state,
            self.book,
            self.relay,
            self.answers,
            self.past,
            self.starts,
            self.arrays,
            self.drains,
            self.limits,
            self.policies,
            self.shares,
            self.copies_desk,
            self.works,
        )
        self.retention = Retention(self.state)
        self.array_retention = ArrayRetention(self.state)
        self.written: list[zk.Operation] = []  #: What the commits wrote, without fence and chain.

    def at(self, at: float) -> Desks:
        """Let it be this moment."""
        self.state.at = at
        return self

    def client(self, *messages: Message, peer: bytes = C1) -> list[Action]:
        """Let a client say something; returns what leaves at once."""
        for message in messages:
            self.clients.receive(peer, message)
        return self.state.take_out()

    def worker(self, *messages: WorkerMessage, peer: bytes = W1) -> list[Action]:
        """Let a worker say something; returns what leaves at once."""
        for message in messages:
            self.workers.receive(peer, message)
        return self.state.take_out()

    def greet(self, *users: str) -> None:
        """Let clients say Hello: the first is C1, the second C2."""
        for user, peer in zip(users or ("ann",), (C1, C2), strict=False):
            self.client(Hello(user=user), peer=peer)
        self.commit()

    def join(
        self, name: str = "w1", *held: AttemptId, cpus: float = 1.0, peer: bytes = W1, life: int = 1
    ) -> list[Action]:
        """Let a worker appear, with session and link; returns what leaves."""
        actions = self.worker(register(name, *held, cpus=cpus, life=life), peer=peer)
        actions += self.answer_reads(actions, {name: worker_node(name, life, cpus)})
        return actions + self.commit()

    def answer_reads(self, actions: list[Action], nodes: dict[str, WorkerNode]) -> list[Action]:
        """Answer reads of workers' nodes."""
        for asked in of_type(zk.ReadNodes, actions):
            names = [path.rpartition("/")[2] for path in asked.paths]
            found = tuple(
                read(path, nodes[name]) if name in nodes else None
                for path, name in zip(asked.paths, names, strict=True)
            )
            self.workers.on_nodes(zk.NodesRead(at=self.state.at, token=asked.token, nodes=found))
        return self.state.take_out()

    def tick(self, at: float) -> list[Action]:
        """Let time pass at the desks; returns what leaves at once."""
        self.state.at = at
        self.clients.tick()
        self.works.tick()
        self.starts.tick()
        self.workers.tick()
        self.preemptions.tick()
        self.demotions.tick()
        self.drains.tick()
        self.copies.tick()
        self.retention.tick()
        self.array_pages.tick()
        self.array_fates.tick()
        self.expansion.tick()
        self.array_retention.tick()
        return self.state.take_out()

    def place(self) -> int:
        """Look at what is held, let arrays make their tasks, then make a placement pass."""
        state = self.state
        self.starts.end_turn()
        self.expansion.end_turn()
        placed = state.placer.run(
            state.queue,
            state.workers,
            state.shares,
            self.book.place,
            state.now(),
            admits=state.admits if state.workers.crowded else None,
        )
        self.policies.end_pass()
        return placed

    def commit(self) -> list[Action]:
        """Commit until nothing waits, every batch applied; returns what that releases."""
        ledger = self.state.ledger
        released: list[Action] = []
        first = True
        while first or ledger.wants_commit():
            first = False
            multi = ledger.next_batch(self.state.tokens.next(), self.state.now())
            self.written += multi.operations[2:]
            now, failures = ledger.on_verdict(multi.token, applied(multi, ledger.chain + 1))
            assert not failures
            for action in now:
                if isinstance(action, ArrayOpened):
                    self.state.arrays.on_opened(action.array)
                elif isinstance(action, TaskKept) and ids.array_of(action.task):
                    self.state.table.free(action.task)
                elif isinstance(action, TaskSettled):
                    self.starts.on_settled(action.task)
                elif isinstance(action, PolicyMarked):
                    self.policies.on_marked(action)
                else:
                    released.append(action)
            self.arrays.end_turn()
        return self.state.take_out() + released

    def turn(self) -> list[Action]:
        """Place, then commit."""
        self.place()
        return self.commit()

    def run(self, *numbers: int) -> None:
        """Let C1 submit tasks and have them placed."""
        self.client(*(submit(number) for number in numbers))
        self.turn()

    def task(self, number: int) -> Task:
        """Return a live task."""
        return self.state.table.live[task_id(number)]
