"""A stage for brokers: the real cores, a ZooKeeper model that applies everything, and simple players.

Nothing is random and nothing takes time unless a test says so. Whatever is worth telling goes into `story`.
`tests/scenarios` reads its transcripts against it; tests of whole brokers use it directly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tests.broker_parts import CLAIMED_S, POLICIES, broker_node, config, outcome, register, worker_node
from tests.simulation.zookeeper_model import ZooKeeperModel
from tests.staged_client import StagedClient

from alb_broker.core import actions as acts
from alb_broker.core import events
from alb_broker.core.broker import Broker
from alb_broker.policies import Candidate, Context, Policy
from alb_core import ids, zk, znodes
from alb_core.messages import (
    AttemptAck,
    AttemptDemoted,
    AttemptEnded,
    AttemptId,
    AttemptStarted,
    Beat,
    Demote,
    Follow,
    Kill,
    Message,
    NotLeader,
    Ping,
    Registered,
    Revoke,
    Run,
)
from alb_core.notes import Note
from alb_core.resources import Load
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_core.znodes import LeaderNode

TICK_S: Final = 0.2
BEATS: Final = 5
#: Ticks between two words of a living peer.
BROKER_SESSION_S: Final = 3.0
WORKER_SESSION_S: Final = 5.0
TABLE: Final = "staged"
EMPTY_COMMIT: Final = 2
#: Operations of a batch that writes nothing but the chain.


class Fatal(BaseException):
    """Raised by a policy that ends the process that asks it."""


def fatal(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """End whoever asks."""
    raise Fatal


def sound(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Take the last."""
    return candidates[-1]


PLUG_INS: Final = {"fatal": fatal, "sound": sound}
#: Policies of somebody else's, which scenarios may install.


class Peer:
    """What brokers, workers and clients on the stage have in common: a name, a life, a session."""

    def __init__(self, stage: Stage, name: str, session_s: float) -> None:
        self.stage = stage
        self.name = name
        self.session: int | None = None
        self.session_s = session_s
        self.cut_at: float | None = None  #: Since when ZooKeeper does not hear it; None: it does.

    def expire_if_due(self) -> None:
        """End the session of who was not heard for too long."""
        due = self.cut_at is not None and self.stage.now - self.cut_at >= self.session_s
        if due and self.session is not None:
            self.stage.zookeeper.expire(self.session, self.stage.now)
            self.session = None


class StagedBroker(Peer):
    """One broker process."""

    def __init__(self, stage: Stage, name: str, **settings: Any) -> None:
        super().__init__(stage, name, BROKER_SESSION_S)
        self.settings = settings
        self.life = 0
        self.alive = False
        self.frozen = False
        self.held = False  #: Its requests to ZooKeeper wait.
        self.loses: str = (
            ""  #: What becomes of its next transaction: `applied` or `dropped`, the answer lost.
        )
        self.follows = ""  #: Endpoint of the leader that it follows.
        self.inbox: deque[Any] = deque()
        self.requests: deque[zk.Request] = deque()
        self.dumps: list[bytes] = []

    def start(self) -> None:
        """Begin a life."""
        self.life += 1
        self.alive, self.frozen, self.held, self.loses, self.follows = True, False, False, "", ""
        self.inbox.clear()
        self.requests.clear()
        node = broker_node(self.name, self.life)
        settings = config(name=self.name, log_level="debug", **self.settings)
        self.core = Broker(settings, node, POLICIES | self.stage.plug_ins)
        self.connect()

    def connect(self) -> None:
        """Have a session: the old one, if it lives."""
        old, self.cut_at = self.session, None
        self.session = self.stage.zookeeper.connect(self.name, old)
        if old is None and self.life > 1 and self.inbox:
            self.inbox.append(zk.SessionExpired(at=self.stage.now))
        self.inbox.append(
            zk.SessionConnected(at=self.stage.now, session=self.session, timeout_s=BROKER_SESSION_S)
        )

    def disconnect(self) -> None:
        """Lose the connection: what is under way ends unknown."""
        self.cut_at = self.stage.now
        if self.session is not None:
            self.stage.zookeeper.disconnect(self.session)
        self.inbox.append(zk.SessionSuspended(at=self.stage.now))
        while self.requests:
            self.inbox.append(self.stage.zookeeper.lost(self.requests.popleft(), self.stage.now))

    def kill(self) -> None:
        """Die at once."""
        self.alive = False
        self.cut_at = self.stage.now
        self.requests.clear()
        if self.session is not None:
            self.stage.zookeeper.disconnect(self.session)

    def freeze(self) -> None:
        """Stop, as by SIGSTOP: links stay open, and what comes waits."""
        self.frozen = True
        self.cut_at = self.stage.now

    def thaw(self) -> None:
        """Go on: first with what waited, then with what ZooKeeper says."""
        self.frozen = False
        expired = self.session is None
        self.cut_at = None
        if expired:
            self.inbox.append(zk.SessionSuspended(at=self.stage.now))
            self.inbox.append(zk.SessionExpired(at=self.stage.now))
            self.session = self.stage.zookeeper.connect(self.name)
            connected = zk.SessionConnected(
                at=self.stage.now, session=self.session, timeout_s=BROKER_SESSION_S
            )
            self.inbox.append(connected)

    @property
    def working(self) -> bool:
        """Whether its loop runs."""
        return self.alive and not self.frozen

    def turn(self) -> bool:
        """Take a turn: ZooKeeper's answers, then all that waits; returns whether there was anything."""
        self._ask_zookeeper()
        if not self.working or not self.inbox:
            return False
        while self.inbox and self.alive:
            self._handle(self.inbox.popleft())
        if self.alive:
            self._handle(events.TurnEnded(at=self.stage.now))
        return True

    def _ask_zookeeper(self) -> None:
        while self.requests and not self.held:
            request = self.requests.popleft()
            if self.session is None or self.cut_at is not None:
                self.inbox.append(self.stage.zookeeper.lost(request, self.stage.now))
            elif self.loses and isinstance(request, zk.Multi) and len(request.operations) > EMPTY_COMMIT:
                applies, self.loses = self.loses == "applied", ""
                if applies:
                    self.stage.zookeeper.apply(self.session, request, self.stage.now)
                self.disconnect()
                self.inbox.append(self.stage.zookeeper.lost(request, self.stage.now))
            else:
                self.inbox.append(self.stage.zookeeper.apply(self.session, request, self.stage.now))
            self.stage.spread_watches()

    def _handle(self, event: Any) -> None:
        try:
            actions = self.core.handle(event)
        except Fatal:
            self.stage.tell(f"{self.name} dies in a policy")
            self.kill()
            return
        for action in actions:
            self._carry(action)

    def _carry(self, action: Any) -> None:
        stage = self.stage
        match action:
            case zk.Multi() | zk.ReadNodes() | zk.ListChildren():
                self.requests.append(action)
            case acts.SendToClient(peer, epoch, message):
                stage.deliver_to_client(self, peer.decode(), epoch, message)
            case acts.SendToWorker(peer, epoch, message):
                stage.deliver_to_worker(self, peer.decode(), epoch, message)
            case acts.FollowLeader(endpoint):
                self.follows = endpoint
                stage.follow(self)
            case acts.Probe(token, endpoint):
                listens = any(
                    each.alive and each.core.node.clients == endpoint for each in stage.brokers.values()
                )
                verdict = events.ProbeVerdict.OPEN if listens else events.ProbeVerdict.REFUSED
                self.inbox.append(events.ProbeEnded(at=stage.now, token=token, verdict=verdict))
            case acts.WriteDump(data):
                self.dumps.append(data)
            case acts.Exit(code, why):
                stage.tell(f"{self.name} exits {code}: {why}")
                self.kill()
                if self.session is not None:
                    stage.zookeeper.expire(self.session, stage.now)
                    self.session = None
            case Note():
                stage.note(self, action)


class StagedWorker(Peer):
    """One worker agent: it keeps what it is told to run until it is told how that ends."""

    def __init__(self, stage: Stage, name: str, cpus: float) -> None:
        super().__init__(stage, name, WORKER_SESSION_S)
        self.cpus = cpus
        self.life = 1
        self.silent = False
        self.epoch = 0  #: The highest that it heard.
        self.registered = False  #: With the leader of that epoch.
        self.running: set[AttemptId] = set()
        self.reports: dict[AttemptId, Outcome] = {}
        self.newest: dict[str, int] = {}
        self.cpu_load = 0.0  #: As it measures its machine.

    def connect(self) -> None:
        """Have a session, and the node that belongs to it."""
        old, self.cut_at = self.session, None
        self.session = self.stage.zookeeper.connect(self.name, old)
        if self.session != old:
            node = znodes.encode(worker_node(self.name, self.life, self.cpus))
            create = zk.Create(znodes.worker_path(self.name), node, ephemeral=True)
            self.stage.zookeeper.apply(self.session, zk.Multi(0, (create,)), self.stage.now)

    def be_silent(self) -> None:
        """Be cut off from everybody."""
        self.silent = True
        self.cut_at = self.stage.now

    def come_back(self) -> None:
        """Be heard again, by everybody."""
        self.silent = False
        self.registered = False
        self.connect()

    def restart(self) -> None:
        """Begin a new life under the same name: what ran is gone."""
        if self.session is not None:
            self.stage.zookeeper.expire(self.session, self.stage.now)
            self.session = None
        self.life += 1
        self.running.clear()
        self.reports.clear()
        self.newest.clear()
        self.come_back()

    def greet(self) -> None:
        """Register with the leader, if it does not know us."""
        leader = self.stage.leader_node()
        if self.silent or leader is None or (self.registered and leader.epoch <= self.epoch):
            return
        self.epoch = max(self.epoch, leader.epoch)
        held = (*sorted(self.running), *sorted(self.reports))
        self.say(register(self.name, *held, cpus=self.cpus, life=self.life))

    def say(self, message: Any) -> None:
        """Say something to the leader, if it can be reached."""
        leader = self.stage.leader_node()
        broker = self.stage.brokers.get(leader.broker) if leader is not None else None
        if broker is not None and broker.alive and not self.silent:
            broker.inbox.append(
                events.WorkerSaid(at=self.stage.now, peer=self.address.encode(), message=message)
            )

    @property
    def address(self) -> str:
        """Its address on a broker's link."""
        return f"{self.name}/{self.life}"

    def hear(self, epoch: int, message: Message) -> None:  # noqa: C901 (a flat table)
        """Take the leader's word, unless it is an older one's."""
        if self.silent:
            return
        if epoch < self.epoch and not isinstance(message, NotLeader):
            self.stage.tell(
                f"{self.name} refuses {type(message).__name__} of epoch {epoch}: it obeys {self.epoch}"
            )
            return
        match message:
            case Registered():
                self.registered = True
                self.report()
            case NotLeader():
                self.registered = False
            case Run(attempt=attempt):
                self._run(attempt)
            case Kill(attempt=attempt, why=why):
                again = why in {"evicted", "preempted"}
                self.end(attempt, outcome(cause=Cause(why) if again else Cause.KILLED))
            case Demote(attempts=(attempt,)):
                self.say(AttemptDemoted(attempt=attempt))
            case Revoke(attempts=attempts):  # it begins nothing unless a test says so
                for attempt in attempts:
                    self.end(attempt, outcome(cause=Cause.GIVEN_BACK))
            case AttemptAck(attempt=attempt):
                self.reports.pop(attempt, None)

    def _run(self, attempt: AttemptId) -> None:
        if attempt not in self.running and attempt.n > self.newest.get(attempt.task, 0):
            self.newest[attempt.task] = attempt.n
            self.running.add(attempt)
        if attempt in self.running:
            self.say(AttemptStarted(attempt=attempt))

    def end(self, attempt: AttemptId, how: Outcome) -> None:
        """An attempt is over; it is reported until that is acknowledged."""
        self.running.discard(attempt)
        self.reports.setdefault(attempt, how)
        self.say(AttemptEnded(attempt=attempt, outcome=self.reports[attempt]))

    def report(self) -> None:
        """Give every unacknowledged report again."""
        for attempt, how in self.reports.items():
            self.say(AttemptEnded(attempt=attempt, outcome=how))

    def beat(self) -> None:
        """Show that it lives."""
        if self.registered:
            self.say(Beat(load=Load(cpu=self.cpu_load, running=len(self.running))))
            self.report()


class Stage:
    """All players, and the time that they share."""

    def __init__(self) -> None:
        self.now = 0.0
        self.plug_ins: dict[
            str, Policy
        ] = {}  #: Policies that brokers have besides, from their next start on.
        self.zookeeper = ZooKeeperModel(lambda: CLAIMED_S + self.now)
        self.brokers: dict[str, StagedBroker] = {}
        self.workers: dict[str, StagedWorker] = {}
        self.clients: dict[str, StagedClient] = {}
        self.story: list[str] = []
        self._ticks = 0
        root = self.zookeeper.connect("operator")
        first = znodes.first_nodes(TABLE)
        self.operator = root
        self.operate(*(zk.Create(path, data) for path, data in first.items()))

    # --- players --------------------------------------------------------------------------------------------

    def add_broker(self, name: str, **settings: Any) -> StagedBroker:
        """Start a broker."""
        broker = self.brokers.setdefault(name, StagedBroker(self, name, **settings))
        broker.start()
        self.settle()
        return broker

    def add_worker(self, name: str, cpus: float = 1.0) -> StagedWorker:
        """Start a worker."""
        worker = self.workers[name] = StagedWorker(self, name, cpus)
        worker.connect()
        self.spread_watches()
        self.settle()
        return worker

    def client(self, name: str, user: str = "ann") -> StagedClient:
        """Return a client; it is there from its first mention on."""
        if name not in self.clients:
            self.clients[name] = StagedClient(self, name, user)
            self.settle()
        return self.clients[name]

    def operate(self, *operations: zk.Operation) -> zk.Verdict:
        """Let an operator change the tree by hand."""
        answer = self.zookeeper.apply(self.operator, zk.Multi(0, operations), self.now)
        assert isinstance(answer, zk.MultiEnded)
        self.spread_watches()
        return answer.verdict

    # --- what is there --------------------------------------------------------------------------------------

    def leader_node(self) -> LeaderNode | None:
        """Return who leads, as ZooKeeper says."""
        node = self.read(znodes.LEADER)
        return znodes.decode(LeaderNode, node.path, node.data) if node is not None else None

    @property
    def leader(self) -> StagedBroker:
        """The broker that leads, as ZooKeeper says."""
        node = self.leader_node()
        assert node is not None, "nobody leads"
        return self.brokers[node.broker]

    def read(self, path: str) -> zk.NodeRead | None:
        """Return a node as it is in ZooKeeper."""
        answer = self.zookeeper.apply(self.operator, zk.ReadNodes(token=0, paths=(path,)), self.now)
        assert isinstance(answer, zk.NodesRead)
        assert answer.nodes is not None
        return answer.nodes[0]

    def tasks(self, parent: str) -> dict[str, zk.NodeRead]:
        """Return the tasks below ``/tasks`` or ``/done`` by their names."""
        found: dict[str, zk.NodeRead] = {}
        for bucket in ids.buckets():
            path = f"{parent}/{bucket}"
            answer = self.zookeeper.apply(self.operator, zk.ListChildren(token=0, path=path), self.now)
            assert isinstance(answer, zk.ChildrenListed)
            for name in answer.names or ():
                node = self.read(f"{path}/{name}")
                assert node is not None
                found[name] = node
        return dict(sorted(found.items()))

    # --- time -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that needs no time; then each peer greets a leader that is new to it."""
        self._rest()
        for peer in (*self.workers.values(), *self.clients.values()):
            peer.greet()
        self._rest()

    def _rest(self) -> None:
        for _ in range(2000):
            progressed = [broker.turn() for broker in self.brokers.values()]
            self.spread_watches()
            if not any(progressed):
                return
        raise AssertionError("the stage never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK_S)):
            self._ticks += 1
            self.now = round(self._ticks * TICK_S, 6)
            for peer in (*self.brokers.values(), *self.workers.values()):
                peer.expire_if_due()
            self.spread_watches()
            for broker in self.brokers.values():
                if broker.working:
                    broker.inbox.append(events.Tick(at=self.now))
            if self._ticks % BEATS == 0:
                self._beat()
            self.settle()

    def _beat(self) -> None:
        for worker in self.workers.values():
            worker.beat()
        for number, client in enumerate(self.clients.values()):
            client.say(Ping(seq=number))
        for broker in self.brokers.values():
            self.follow(broker)

    # --- what passes between them ---------------------------------------------------------------------------

    def spread_watches(self) -> None:
        """Hand the events of watches to the brokers that set them."""
        for name, event in self.zookeeper.take_events():
            if name in self.brokers and self.brokers[name].alive:
                self.brokers[name].inbox.append(event)

    def follow(self, standby: StagedBroker) -> None:
        """Let a standby say Follow, or learn that nobody is there."""
        if not standby.follows or not standby.working:
            return
        for leader in self.brokers.values():
            if leader.alive and leader.core.node.clients == standby.follows:
                message = Follow(broker=standby.name, incarnation=standby.core.node.incarnation)
                leader.inbox.append(
                    events.ClientSaid(at=self.now, peer=standby.name.encode(), message=message)
                )
                return
        standby.inbox.append(events.LeaderLinkClosed(at=self.now))

    def deliver_to_client(self, broker: StagedBroker, peer: str, epoch: int, message: Any) -> None:
        """Hand a message to a client, or to a standby that follows."""
        if peer in self.brokers:
            if self.brokers[peer].alive:
                said = events.LeaderSaid(at=self.now, epoch=epoch, message=message)
                self.brokers[peer].inbox.append(said)
            return
        self.heard(broker, peer, message)
        if peer in self.clients:
            self.clients[peer].hear(epoch, message)

    def deliver_to_worker(self, broker: StagedBroker, peer: str, epoch: int, message: Any) -> None:
        """Hand a message to a worker, if that life of it is still there."""
        name = peer.partition("/")[0]
        worker = self.workers.get(name)
        if worker is None or worker.silent or worker.address != peer:
            return
        self.heard(broker, name, message)
        worker.hear(epoch, message)

    # --- the story ------------------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(line)

    def heard(self, broker: StagedBroker, peer: str, message: Message) -> None:
        """Somebody heard something; a story that wants to tell it overrides this."""

    def note(self, broker: StagedBroker, note: Note) -> None:
        """A broker noted something; a story that wants to tell it overrides this."""

    def take_story(self) -> list[str]:
        """Return, and forget, the story so far."""
        story, self.story = self.story, []
        return story


def start(brokers: Iterable[str] = ("b1",), workers: Iterable[str] = ("w1",), cpus: float = 1.0) -> Stage:
    """Return a stage on which these players have found each other."""
    stage = Stage()
    for name in brokers:
        stage.add_broker(name)
    for name in workers:
        stage.add_worker(name, cpus)
    stage.advance(1.0)
    stage.take_story()
    return stage
