"""A simulated broker: the real core behind a loop that takes turns, as the shell does."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.ensemble import TABLE
from tests.simulation.hosts import Host, Make, Mistaken, Source
from tests.simulation.mixes import FATAL, INSTALLED, Ended
from tests.simulation.network import Link
from tests.simulation.sessions import SessionModel
from tests.simulation.store_model import URL, StoreThread
from tests.simulation.violations import demand

from alb_broker.core import actions as acts
from alb_broker.core import events
from alb_broker.core.broker import Broker
from alb_core import zk
from alb_core.config import BrokerConfig
from alb_core.files import Census
from alb_core.messages import Follow
from alb_core.notes import Note
from alb_core.znodes import BrokerNode

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

FOLLOW_S: Final = 1.0
SOCKETS: Final = ("clients", "client_output", "workers", "worker_output")
PORT: Final = 7000


class BrokerHost(Host):
    """One broker.

    Args:
        cluster: Where it lives.
        name: Of its host.
        broker: Its own name; empty: that of its host.
    """

    def __init__(self, cluster: Cluster, name: str, broker: str = "") -> None:
        super().__init__(cluster, name, cluster.knobs.tick_s)
        self.broker = broker or name
        self.core: Broker | None = None
        self._queues: dict[Source, deque[Make]] = {source: deque() for source in Source}
        self._turn_planned = False
        self._following: Link | None = None
        self._follow_at = 0.0  #: When Follow is said again.

    # --- life -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the process."""
        knobs = self.cluster.knobs
        port = PORT if knobs.fixed_ports else PORT + 10 * self.life
        endpoints = {socket: f"tcp://{self.name}:{port + i}" for i, socket in enumerate(SOCKETS)}
        for socket, endpoint in endpoints.items():
            self.cluster.network.listen(self, endpoint, socket)
        config = BrokerConfig(
            zk="zk:2181",
            name=self.broker,
            session_timeout_s=knobs.broker_session_s,
            pending_max=knobs.pending_max,
            done_kept_max=knobs.done_kept,
            done_kept_s=knobs.done_kept_s,
            holding_s=knobs.holding_s,
            crash_limit=knobs.crash_limit,
            quantum_s=knobs.quantum_s,
            max_demoted=knobs.max_demoted,
            store=URL if knobs.store else "",
            store_keep_s=knobs.store_keep_s,
            store_bytes=knobs.store_bytes,
        )
        depot = f"http://{self.name}:80"
        node = BrokerNode(broker=self.broker, incarnation=self.incarnation, depot=depot, **endpoints)
        policies = {name: INSTALLED[name] for name in self.cluster.habits.policies}
        policies |= FATAL if self.cluster.habits.fatal else {}
        self.core = Broker(config, node, policies)
        self._store = StoreThread(self)
        self._following = None
        self._turn_planned = False
        for queue in self._queues.values():
            queue.clear()
        self.session = SessionModel(self, self.cluster.ensemble, knobs.broker_session_s)

    def _check_census(self, census: Census | None) -> None:
        """What the depots are told not to remove: the files of all tasks without a result, counted anew."""
        reign = self.core.reign if self.core is not None else None
        if census is not None and reign is not None:
            live = reign.state.table.live.values()
            going = [array.record.spec.task for array in reign.state.arrays.going.values()]
            specs = (*(task.spec for task in live), *going)
            needed = {file.sha256: file.size_bytes for spec in specs for file in spec.files}
            demand(census.used == needed, "the_census_names_what_tasks_need", f"{census.used}: {needed}")

    def end(self) -> None:
        """The process is gone."""
        if self.session is not None:
            self.session.leave()
        self.core = None

    @property
    def leads(self) -> bool:
        """Whether it believes to lead."""
        return self.core is not None and self.core.reign is not None

    def stop(self) -> None:
        """Ask it to hand over and end (SIGTERM)."""
        self.post(Source.SELF, lambda at: events.StopRequested(at=at))

    # --- the loop -------------------------------------------------------------------------------------------

    def receive(self, socket: str, peer: bytes, message: Any) -> None:
        """Take a message from one of the four sockets."""
        match socket:
            case "clients":
                self.post(Source.CLIENTS, partial(_client_said, peer, message))
            case "client_output":
                self.post(Source.CLIENTS, lambda at: events.ClientGranted(at=at, peer=peer, grant=message))
            case "workers":
                self.cluster.invariants.on_worker_heard(self.name, peer)
                self.post(Source.WORKERS, partial(_worker_said, peer, message))
            case _:
                self.post(Source.WORKERS, lambda at: events.ChunkArrived(at=at, peer=peer, chunk=message))

    def take(self, source: Source, make: Make) -> None:
        """Let an event wait for the next turn."""
        self._queues[source].append(make)
        self._plan_turn()

    def _plan_turn(self) -> None:
        if not self._turn_planned:
            self._turn_planned = True
            self.cluster.timeline.after(self.cluster.knobs.turn_s, self._turn, self.life)

    def tick(self) -> None:
        """The clock ticked: that is an event like any other."""
        self.take(Source.CLOCK, _tick)
        if self._following is not None and self.cluster.timeline.now >= self._follow_at:
            self._follow_at = self.cluster.timeline.now + FOLLOW_S
            self.on_opened(self._following)

    def _turn(self, life: int) -> None:
        """Handle a bounded number of events, from all sources in turn, then let the core place and commit."""
        if life != self.life or not self.alive:
            return
        self._turn_planned = False
        if not self.working:
            for source, queue in self._queues.items():
                while queue:
                    self.post(source, queue.popleft())
            return
        self._handle_waiting(self.cluster.knobs.turn_events)
        more = bool(self._queues[Source.CLIENTS] or self._queues[Source.WORKERS])
        self._handle(events.TurnEnded(at=self.clock(), more=more))
        self.cluster.invariants.after_turn(self)
        if self.alive and any(self._queues.values()):
            self._plan_turn()

    def _handle_waiting(self, budget: int) -> None:
        if self.core is not None and self.core.batch_waits:
            self._handle(events.TurnEnded(at=self.clock()))
        waiting = [queue for queue in self._queues.values() if queue]
        if len(waiting) > 1:
            self.draws.shuffle(waiting)
        while waiting:
            for queue in waiting:
                if not self.alive or budget == 0:
                    return
                self._handle(queue.popleft()(self.clock()))
                budget -= 1
            waiting = [queue for queue in waiting if queue]

    def _handle(self, event: Any) -> None:
        core = self.core
        if core is None:
            return
        self.cluster.trace.event(self.name, event)
        self.cluster.invariants.before_broker_event(self, event)
        try:
            actions = core.handle(event)
        except Ended:
            self.cluster.invariants.policies.on_ended(self)
            self.kill()
            self.cluster.on_exit(self)
            return
        for action in actions:
            if not self.alive:
                return
            self._perform(action)

    # --- actions --------------------------------------------------------------------------------------------

    def _perform(self, action: acts.Action) -> None:  # noqa: C901, PLR0912 (a flat table)
        cluster = self.cluster
        cluster.trace.action(self.name, action)
        match action:
            case acts.SendToClient():
                cluster.invariants.on_broker_said(self, action)
                self._send("clients", action)
            case acts.SendToWorker():
                cluster.invariants.on_broker_ordered(self, action)
                self._send("workers", action)
            case acts.SendGrant():
                cluster.network.send_to_peer(self, "worker_output", action.peer, action.grant)
            case acts.SendChunk():
                cluster.network.send_to_peer(self, "client_output", action.peer, action.chunk)
            case acts.FollowLeader():
                self._follow(action.endpoint)
            case acts.Probe():
                cluster.timeline.after(2 * cluster.network.latency(), self._probe, self.life, action)
            case acts.Exit():
                self.kill()
                cluster.on_exit(self)
            case acts.BeginStore():
                self._store.begin(action.epoch)
            case acts.StoreRows() | acts.ClearStore():
                self._store.write(action)
            case acts.ScanStore() | acts.GetRows() | acts.MeasureStore():
                self._store.read(action)
            case acts.TellDepots():
                self._check_census(action.census)
            case Note() | acts.WriteDump():
                pass
            case zk.Multi() | zk.ReadNodes() | zk.ListChildren():
                if isinstance(action, zk.ReadNodes) and self.core is not None and self.core.reign is not None:
                    cluster.invariants.arrays.on_read(self.core.reign, action.paths)
                if self.session is not None:
                    self.session.request(action)

    def _send(self, socket: str, action: acts.SendToClient | acts.SendToWorker) -> None:
        frame = (action.epoch, TABLE, action.message)
        self.cluster.network.send_to_peer(self, socket, action.peer, frame)

    def _probe(self, life: int, action: acts.Probe) -> None:
        if life != self.life:
            return
        verdict = events.ProbeVerdict(self.cluster.network.probe(self, action.endpoint))
        self.post(Source.SELF, lambda at: events.ProbeEnded(at=at, token=action.token, verdict=verdict))

    # --- following the leader -------------------------------------------------------------------------------

    def _follow(self, endpoint: str) -> None:
        if self._following is not None:
            self.cluster.network.close(self._following)
            self._following = None
        if endpoint:
            peer = f"{self.incarnation}-follows".encode()
            self._following = self.cluster.network.connect(self, self, endpoint, peer)

    def on_opened(self, link: Link) -> None:
        """The link to the leader is open: ask for its heartbeats."""
        self.cluster.network.send(link, Follow(broker=self.broker, incarnation=self.incarnation))

    def on_closed(self, link: Link, *, refused: bool) -> None:  # noqa: ARG002 (other owners care)
        """The link to the leader broke."""
        if link is self._following:
            self.post(Source.SELF, lambda at: events.LeaderLinkClosed(at=at))

    def on_message(self, link: Link, message: Any) -> None:
        """The leader said something."""
        if link is self._following:
            epoch, _, said = message
            self.post(Source.SELF, lambda at: events.LeaderSaid(at=at, epoch=epoch, message=said))


class Namesake(Mistaken, BrokerHost):
    """A second process of a broker's name, on a host of its own: somebody copied a file of settings."""

    def __init__(self, cluster: Cluster, broker: str) -> None:
        super().__init__(cluster, f"{broker}x", broker)


def _client_said(peer: bytes, message: Any, at: float) -> events.ClientSaid:
    return events.ClientSaid(at=at, peer=peer, message=message)


def _worker_said(peer: bytes, message: Any, at: float) -> events.WorkerSaid:
    return events.WorkerSaid(at=at, peer=peer, message=message)


def _tick(at: float) -> events.Tick:
    return events.Tick(at=at)
