"""A simulated worker: the real core, its links to the leader, and the runner of its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.simulation.commands import output_bytes
from tests.simulation.hosts import Host, Make, Mistaken, Source
from tests.simulation.network import Link
from tests.simulation.runner_model import RunnerModel
from tests.simulation.sessions import SessionModel

from alb_core import zk
from alb_core.messages import Chunk, Grant
from alb_core.notes import Note
from alb_core.resources import Capacity, Load, counts_of
from alb_core.znodes import WorkerNode
from alb_worker.core import actions as acts
from alb_worker.core import events
from alb_worker.core.worker import WorkerCore

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

COUNTS: Final = counts_of({"gpus": 2, "licence": 1})
#: Of every worker.
STRANGERS_COME: Final = 0.05
#: In a tick: others begin to use the machine, or do so no more.


class WorkerHost(Host):
    """One worker.

    Args:
        cluster: Where it lives.
        name: Of its host.
        cpus: That it offers.
        worker: Its own name; empty: that of its host.
    """

    def __init__(self, cluster: Cluster, name: str, cpus: float, worker: str = "") -> None:
        super().__init__(cluster, name, cluster.knobs.tick_s)
        self.worker = worker or name
        self.capacity = Capacity(cpus=cpus, memory_bytes=int(cpus * 1000), version="1", counts=COUNTS)
        self.core: WorkerCore | None = None
        self.runner = RunnerModel(self)
        self._link: Link | None = None
        self._output: Link | None = None
        self._strangers = 0.0  #: Part of the machine that others use.

    # --- life -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the process."""
        node = WorkerNode(worker=self.worker, incarnation=self.incarnation, capacity=self.capacity)
        self.core = WorkerCore(node, self.draws.getrandbits(32))
        self._link = self._output = None
        self.session = SessionModel(self, self.cluster.ensemble, self.cluster.knobs.worker_session_s)

    def end(self) -> None:
        """The process is gone, and the runner kills what ran."""
        self.runner.die()
        if self.session is not None:
            self.session.leave()
        self.core = None

    @property
    def peer(self) -> bytes:
        """Its address on the links."""
        return self.incarnation.encode()

    def stop(self) -> None:
        """Ask it to stop (SIGTERM)."""
        self.post(Source.SELF, lambda at: events.StopRequested(at=at))

    # --- events ---------------------------------------------------------------------------------------------

    def take(self, _source: Source, make: Make) -> None:
        """Handle an event."""
        core = self.core
        if core is None:
            return
        event = make(at=self.clock())
        self.cluster.trace.event(self.name, event)
        done = core.handle(event)
        self.cluster.invariants.after_worker_event(self, event, done)
        for action in done:
            if not self.alive:
                return
            self._perform(action)

    def tick(self) -> None:
        """The clock ticked."""
        if self.cluster.habits.measured:
            load = self._measure()
            self.take(Source.SELF, lambda at: events.LoadMeasured(at=at, load=load))
        self.take(Source.CLOCK, events.Tick)

    def _measure(self) -> Load:
        """Return how busy the machine is; once all is to end, nobody else uses it."""
        if self.cluster.faults.lasting:
            self._strangers = 0.0
        elif self.draws.random() < STRANGERS_COME:
            self._strangers = self.draws.choice((0.0, 0.0, 0.4, 1.0))
        cpus = memory_bytes = 0.0
        for process in self.runner.processes.values():
            cpus += process.spec.request.cpus
            memory_bytes += process.spec.request.memory_bytes
        return Load(
            cpu=self._strangers + cpus / self.capacity.cpus,
            memory=memory_bytes / self.capacity.memory_bytes,
        )

    def on_opened(self, link: Link) -> None:
        """A link is up."""
        if link is self._link:
            self.post(Source.SELF, lambda at: events.LinkOpened(at=at, endpoint=link.endpoint))

    def on_closed(self, link: Link, *, refused: bool) -> None:
        """A link broke, or nobody listens."""
        if link is self._link:
            self.post(
                Source.SELF, lambda at: events.LinkClosed(at=at, endpoint=link.endpoint, refused=refused)
            )

    def on_message(self, link: Link, message: Any) -> None:
        """The leader said, or granted, something."""
        if isinstance(message, Grant):
            if link is self._output:
                self.post(Source.SELF, lambda at: events.Granted(at=at, grant=message))
        elif link is self._link:
            epoch, table, said = message
            self.post(
                Source.SELF, lambda at: events.LeaderSaid(at=at, epoch=epoch, table=table, messages=(said,))
            )

    # --- actions --------------------------------------------------------------------------------------------

    def _perform(self, action: acts.WorkerAction) -> None:  # noqa: C901, PLR0912 (a flat table)
        network = self.cluster.network
        self.cluster.trace.action(self.name, action)
        match action:
            case acts.SendToLeader():
                if self._link is not None:
                    network.send(self._link, action.message)
            case acts.SendChunk():
                self._send_chunk(action)
            case acts.ConnectLeader():
                self._disconnect()
                self._link = network.connect(self, self, action.endpoint, self.peer)
            case acts.DisconnectLeader():
                self._disconnect()
            case acts.ConnectOutput():
                self._connect_output(action.endpoint)
            case acts.LaunchAttempt():
                self.runner.launch(action)
            case acts.KillAttempt():
                self.runner.kill(action.attempt, action.grace_s)
            case acts.DemoteAttempt():
                self.runner.demote(action.attempt)
            case acts.UseDepots():
                pass  # the runner's model fetches files from nowhere
            case acts.DropSpool():
                self.runner.drop(action.attempt)
            case acts.Exit():
                self.kill()
                self.cluster.on_exit(self)
            case Note():
                pass
            case zk.Multi() | zk.ReadNodes() | zk.ListChildren():
                if self.session is not None:
                    self.session.request(action)

    def _disconnect(self) -> None:
        for link in (self._link, self._output):
            if link is not None:
                self.cluster.network.close(link)
        self._link = self._output = None

    def _connect_output(self, endpoint: str) -> None:
        if self._output is not None:
            if self._output.endpoint == endpoint:
                return
            self.cluster.network.close(self._output)
        self._output = self.cluster.network.connect(self, self, endpoint, self.peer)

    def _send_chunk(self, action: acts.SendChunk) -> None:
        if self._output is None:
            return
        data = output_bytes(action.attempt, action.stream, action.offset, action.size_bytes)
        chunk = Chunk(
            task=action.attempt.task,
            attempt=action.attempt.n,
            stream=action.stream,
            offset=action.offset,
            data=data,
            end=action.end,
            lost=action.lost,
            reader=action.reader,
            stored=action.stored,
        )
        self.cluster.network.send(self._output, chunk)


class WorkerNamesake(Mistaken, WorkerHost):
    """A second process of a worker's name, on a host of its own: each takes the name from the other."""

    def __init__(self, cluster: Cluster, worker: WorkerHost) -> None:
        super().__init__(cluster, f"{worker.name}x", worker.capacity.cpus, worker.name)
