"""What one placement costs the leader's core, and whether that grows with the cluster.

The real core alone, fed with events; ZooKeeper answers at once from memory. Workers of 4 cpus and 8 GiB are
filled, 100,000 tasks of four users wait behind, in twelve shapes. Then attempts end and what waits is placed:
the processor time of `Broker.handle` over all that belongs to it (reports of starts and ends, the placement
pass, the transaction and its verdict), divided by the placements. Time stands still but for that: what a
leader does once a second costs the same whether it places or not.
"""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from collections.abc import Iterator
from statistics import median
from typing import Final

import msgspec

from alb_broker.core import events
from alb_broker.core.actions import Action, SendToWorker
from alb_broker.core.broker import Broker
from alb_broker.core.events import BrokerEvent
from alb_broker.replay.replay import EPOCH_S
from alb_broker.replay.tree import Tree
from alb_broker.shell.plugins import load_policies
from alb_core import codec, zk, znodes
from alb_core.config import BrokerConfig
from alb_core.io import collector
from alb_core.messages import (
    AttemptEnded,
    AttemptId,
    AttemptStarted,
    ClientMessage,
    Hello,
    Register,
    Run,
    Submit,
    WorkerMessage,
)
from alb_core.resources import Capacity, Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_core.znodes import BrokerNode, WorkerNode
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

WORKERS: Final = (10, 100, 1_000, 10_000)
PLACEMENTS: Final = 20_000
USERS: Final = 4
GIB: Final = 1 << 30
OFFER: Final = Capacity(cpus=4.0, memory_bytes=8 * GIB, arch="x86_64")
CPUS: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 4)
MEMORY_BYTES: Final = (GIB // 2, GIB, 2 * GIB, 4 * GIB)
SUBMITTED_A_TURN: Final = 200
#: As many messages as the shell hands over before the core places.
ENDED_A_TURN: Final = 10
#: Between two passes, each with a transaction: as many as the smallest cluster ends at once.
FULL: Final = 4
#: Turns without a placement: the cluster is full.
EXITED: Final = Outcome(cause=Cause.EXITED, exit_code=0, wall_s=20.0, cpu_s=20.0)


class Leader:
    """A broker that leads, alone with its tree; counts the processor time of its core."""

    def __init__(self) -> None:
        config = BrokerConfig(zk="zk:2181", name="b1", pending_max=1_000_000)
        node = BrokerNode(
            broker="b1",
            incarnation="b1-1",
            clients="tcp://b1:1",
            client_output="tcp://b1:2",
            workers="tcp://b1:3",
            worker_output="tcp://b1:4",
        )
        self.core = Broker(config, node, load_policies())
        self.tree = Tree(znodes.first_nodes("bench"), EPOCH_S)
        self.at = 0.0
        self.measured = False  #: Its time counts now.
        self.seconds = 0.0  #: Processor time of the core, while it counted.
        self.running: list[tuple[bytes, AttemptId]] = []
        self.placed = 0

    def lead(self) -> None:
        """Become the leader."""
        self.handle(zk.SessionConnected(at=self.at, session=1, timeout_s=3.0))
        for _ in range(20):
            self.tick()
        if self.core.reign is None:
            raise BenchmarkFailed("the broker does not lead")

    def tick(self) -> None:
        """Let a quarter of a second pass."""
        self.at += 0.25
        self.handle(events.Tick(at=self.at))
        self.turn()

    def turn(self) -> None:
        """End a turn."""
        self.handle(events.TurnEnded(at=self.at))

    def client(self, peer: bytes, message: ClientMessage) -> None:
        """Let a client say something."""
        self.handle(events.ClientSaid(at=self.at, peer=peer, message=message))

    def worker(self, peer: bytes, message: WorkerMessage) -> None:
        """Let a worker say something."""
        self.handle(events.WorkerSaid(at=self.at, peer=peer, message=message))

    def handle(self, event: BrokerEvent) -> None:
        """Feed the core, and whoever it speaks to answers at once."""
        waiting: deque[BrokerEvent] = deque((event,))
        while waiting:
            happened = waiting.popleft()
            if self.measured:  # asking the clock takes longer than some events
                began = time.process_time()
                actions = self.core.handle(happened)
                self.seconds += time.process_time() - began
            else:
                actions = self.core.handle(happened)
            waiting.extend(self._answers(actions))

    def _answers(self, actions: list[Action]) -> Iterator[BrokerEvent]:
        for action in actions:
            match action:
                case zk.Multi() | zk.ReadNodes() | zk.ListChildren():
                    yield self.tree.apply(action, self.at)
                case SendToWorker(peer=peer, message=Run(attempt=attempt)):
                    self.placed += 1
                    self.running.append((peer, attempt))
                    yield events.WorkerSaid(at=self.at, peer=peer, message=AttemptStarted(attempt=attempt))


class Load:
    """Seeded work for a leader.

    Args:
        leader: Gets it.
        workers: How many there are.
        queued: How many tasks wait once the workers are full.
    """

    def __init__(self, leader: Leader, workers: int, queued: int) -> None:
        self._leader = leader
        self._workers = workers
        self._queued = queued
        self._random = random.Random(1)  # noqa: S311 (the same load in every run)
        self._made = 0

    def fill(self) -> None:
        """Let workers register, and submit until they are full and enough tasks wait."""
        leader = self._leader
        for number in range(self._workers):
            name = f"w{number:05d}"
            node = WorkerNode(worker=name, incarnation=f"{name}-1", capacity=OFFER)
            leader.tree.create(znodes.worker_path(name), znodes.encode(node))
            register = Register(worker=name, incarnation=node.incarnation, capacity=OFFER)
            leader.worker(name.encode(), register)
        for number in range(USERS):
            leader.client(f"c{number}".encode(), Hello(user=f"u{number}"))
        leader.tick()
        idle = 0
        while idle < FULL:
            before = leader.placed
            self._submit(SUBMITTED_A_TURN)
            idle = idle + 1 if leader.placed == before else 0
        while (missing := self._queued - (self._made - len(leader.running))) > 0:
            self._submit(min(missing, SUBMITTED_A_TURN))
        if leader.core.reign is None or len(leader.core.reign.state.workers.by_name) != self._workers:
            raise BenchmarkFailed("not all workers are known")

    def _submit(self, count: int) -> None:
        for _ in range(count):
            request = Request(
                cpus=float(self._random.choice(CPUS)),
                memory_bytes=self._random.choice(MEMORY_BYTES),
            )
            spec = msgspec.Raw(codec.encode_spec(TaskSpec(command=("/bin/true",), request=request)))
            self._made += 1
            self._leader.client(f"c{self._made % USERS}".encode(), Submit(id=f"{self._made:032x}", spec=spec))
        self._leader.turn()

    def exchange(self, placements: int) -> float:
        """Let attempts end and others be placed in their room; returns the core's seconds a placement."""
        leader = self._leader
        leader.placed, leader.seconds, leader.measured = 0, 0.0, True
        while leader.placed < placements:
            running = leader.running
            for _ in range(min(ENDED_A_TURN, len(running))):
                chosen = self._random.randrange(len(running))
                running[chosen], running[-1] = running[-1], running[chosen]
                peer, attempt = running.pop()
                leader.worker(peer, AttemptEnded(attempt=attempt, outcome=EXITED))
            leader.turn()
        return leader.seconds / leader.placed


def us_per_placement(workers: int, queued: int, placements: int) -> float:
    """Return what a placement costs with so many workers, in microseconds."""
    leader = Leader()
    leader.lead()
    load = Load(leader, workers, queued)
    load.fill()
    load.exchange(placements // 10)  # what was slow once, at the first search of each shape, is over
    return 1e6 * load.exchange(placements)


def measure(_ground: Ground, size: Size) -> Figures:
    """Measure every size in turns; the median of each counts."""
    collector.serve()
    found: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for repeat in range(size.repeats):
        for workers, costs in found.items():
            costs.append(us_per_placement(workers, size.tasks, PLACEMENTS))
            gc.collect()
            say(f"repeat {repeat}: {workers} workers, {costs[-1]:.1f} us a placement")
    costs_us = {workers: median(costs) for workers, costs in found.items()}
    smallest, largest = costs_us[WORKERS[0]], costs_us[WORKERS[-1]]
    return {
        "us_per_placement": largest,
        "growth": largest / smallest,
        **{f"us_{workers}": cost for workers, cost in costs_us.items()},
    }


if __name__ == "__main__":
    run("placement", measure, repeats=3, tasks=100_000)
