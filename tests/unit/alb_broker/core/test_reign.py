"""The life of a reign: from a granted claim to the end, by whatever way."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    W1,
    applied,
    broker_node,
    capacity,
    make_state,
    notes,
    of_type,
    read,
    register,
    submit,
    task_id,
    to_client,
    to_worker,
    worker_node,
)

from alb_broker.core import events, placement
from alb_broker.core.actions import Action, SendChunk, WriteDump
from alb_broker.core.ledger import GATHERING_TURNS, GOOD_BATCH
from alb_broker.core.reign import PENDING_GROUPS_MAX, Phase, Reign
from alb_core import zk, znodes
from alb_core.bounds import LimitsNode
from alb_core.drains import Drain
from alb_core.messages import (
    Accepted,
    DrainWorkers,
    Error,
    Follow,
    Grant,
    Heartbeat,
    Hello,
    Message,
    NotLeader,
    Registered,
    Run,
    StreamName,
    Welcome,
)
from alb_core.tasks import TaskState
from alb_core.znodes import CommitNode, DrainedNode, LeaderNode, PolicyNode

SESSION_S = 3.0


class Scene:
    """A reign of b1 over an empty table; ZooKeeper answers every request unless a test says otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.state = make_state(**settings)
        self.state.session_timeout_s = SESSION_S
        self.reign = Reign(self.state)
        self.now = 0.0
        mine = LeaderNode(**msgspec.structs.asdict(broker_node()), epoch=self.state.epoch, table="table-1")
        self.nodes: dict[str, zk.NodeRead] = {
            znodes.POLICY: read(znodes.POLICY, PolicyNode()),
            znodes.LEADER: read(znodes.LEADER, mine),
        }
        self.names: dict[str, tuple[str, ...]] = {}
        self.held: list[zk.Request] = []  #: Requests that were not answered.
        self.silent = False  #: ZooKeeper answers nothing.

    def begin(self) -> list[Action]:
        """Load the table."""
        return self.answer(self.reign.begin())

    def handle(self, event: Any) -> list[Action]:
        """Take one event, and ZooKeeper's answers to what follows."""
        return self.answer(self.reign.handle(event))

    def answer(self, actions: list[Action]) -> list[Action]:
        """Answer the requests among actions, in their order; returns all actions that this leads to."""
        told = list(actions)
        for request in actions:
            if not isinstance(request, zk.Multi | zk.ReadNodes | zk.ListChildren):
                continue
            if self.silent:
                self.held.append(request)
            else:
                told += self.answer(self.reign.handle(self.reply(request)))
        return told

    def reply(self, request: zk.Request) -> Any:
        """Return ZooKeeper's answer."""
        match request:
            case zk.Multi(token):
                verdict = applied(request, self.state.ledger.chain + 1)
                return zk.MultiEnded(at=self.now, token=token, verdict=verdict)
            case zk.ReadNodes():
                nodes = tuple(self.nodes.get(path) for path in request.paths)
                return zk.NodesRead(at=self.now, token=request.token, nodes=nodes)
            case _:
                names = self.names.get(request.path, ())
                return zk.ChildrenListed(at=self.now, token=request.token, names=names)

    def client(self, *messages: Message, turn: bool = True) -> list[Message]:
        """Let C1 say something; returns what it hears by the end of the turn."""
        actions: list[Action] = []
        for message in messages:
            actions += self.handle(events.ClientSaid(at=self.now, peer=C1, message=message))  # type: ignore[arg-type]
        return to_client(C1, actions + (self.turn() if turn else []))

    def worker(self, message: Any) -> list[Message]:
        """Let W1 say something; returns what it hears by the end of the turn."""
        actions = self.handle(events.WorkerSaid(at=self.now, peer=W1, message=message))
        return to_worker(W1, actions + self.turn())

    def turn(self) -> list[Action]:
        """End a turn, and those that follow because something waits."""
        actions = self.handle(events.TurnEnded(at=self.now))
        return actions + self.handle(events.TurnEnded(at=self.now))

    def tick(self, at: float) -> list[Action]:
        """Let it be this moment."""
        self.now = at
        return self.handle(events.Tick(at=at)) + self.turn()

    def join(self) -> None:
        """Let w1 appear."""
        self.names[znodes.WORKERS] = ("w1",)
        self.nodes[znodes.worker_path("w1")] = read(znodes.worker_path("w1"), worker_node())
        assert [type(message) for message in self.worker(register())] == [Registered]


def leading(**settings: Any) -> Scene:
    """Return a scene in which b1 leads, with a client and a worker."""
    scene = Scene(**settings)
    scene.begin()
    scene.client(Hello(user="ann"))
    scene.join()
    return scene


# --- loading ------------------------------------------------------------------------------------------------


def test_nobody_is_greeted_before_the_table_is_known() -> None:
    """Greetings wait, the newest of each peer; everything else is sent again anyway."""
    scene = Scene()
    scene.silent = True
    scene.begin()
    assert scene.client(Hello(user="ann"), Hello(user="bob"), submit(1)) == []
    assert scene.worker(register()) == []
    scene.silent = False
    held, scene.held = scene.held, []
    actions = scene.answer(list(held)) + scene.turn()
    assert scene.reign.phase is Phase.LEADING
    assert [type(message) for message in to_client(C1, actions)] == [Welcome]
    assert [client.user for client in scene.state.clients] == ["bob"]
    assert [type(message) for message in to_worker(W1, actions)] == [Registered]
    assert scene.state.table.live == {}


def test_standbys_hear_heartbeats_while_the_table_is_loading() -> None:
    """They need not suspect a leader that has much to read."""
    scene = Scene()
    scene.silent = True
    scene.begin()
    scene.client(Follow(broker="b2", incarnation="b2-1"))
    assert [type(message) for message in to_client(C1, scene.tick(1.0))] == [Heartbeat]


def test_no_output_is_called_lost_while_the_table_is_loading() -> None:
    """Nobody can say yet that a task is gone."""
    scene = Scene()
    scene.silent = True
    scene.begin()
    grant = Grant(task=task_id(1), stream=StreamName.STDOUT, offset=0, window=10)
    assert of_type(SendChunk, scene.handle(events.ClientGranted(at=0.0, peer=C1, grant=grant))) == []


# --- leading ------------------------------------------------------------------------------------------------


def test_a_lone_task_costs_one_transaction_until_it_runs() -> None:
    """Submitted, accepted, placed, and ordered within one turn."""
    scene = leading()
    before = scene.state.ledger.committed
    actions = scene.handle(events.ClientSaid(at=0.0, peer=C1, message=submit(1)))
    actions += scene.handle(events.TurnEnded(at=0.0))
    assert scene.state.ledger.committed == before + 1
    assert [type(message) for message in to_client(C1, actions)] == [Accepted]
    assert [type(message) for message in to_worker(W1, actions)] == [Run]


def test_an_idle_leader_commits_every_second() -> None:
    """That moves `/commit`, by which a hung leader is told from a living one."""
    scene = leading()
    before = scene.state.ledger.committed
    for tenth in range(1, 31):
        scene.tick(tenth / 10)
    assert 3 <= scene.state.ledger.committed - before <= 4


def test_heartbeats_go_to_everybody_once_a_second() -> None:
    """With the newest batch and the newest placement."""
    scene = leading()
    scene.client(submit(1))
    beats = [message for tenth in range(50, 81) for message in to_client(C1, scene.tick(tenth / 10))]
    assert [type(beat) for beat in beats] == [Heartbeat] * 4
    assert isinstance(beats[-1], Heartbeat)
    assert beats[-1].placement == scene.state.clock.claimed
    assert beats[-1].commit >= scene.state.ledger.committed - 1


def test_a_backlog_leaves_submissions_in_the_sockets() -> None:
    """What waits for batches is bounded."""
    scene = leading()
    scene.silent = True
    for number in range(PENDING_GROUPS_MAX + 2):
        scene.handle(events.ClientSaid(at=0.0, peer=C1, message=submit(number)))
    assert scene.reign.backlogged


def commits(actions: list[Action]) -> int:
    """Return how many transactions these hold."""
    return len(of_type(zk.Multi, actions))


def test_a_small_batch_waits_for_company_that_is_at_hand() -> None:
    """It leaves as soon as nothing more is, or after a few turns, whatever is said meanwhile."""
    scene = leading()
    scene.client(submit(1), turn=False)
    assert commits(scene.handle(events.TurnEnded(at=0.0, more=True))) == 0
    assert commits(scene.handle(events.TurnEnded(at=0.0))) == 1
    scene.client(submit(2), turn=False)
    turns = [commits(scene.handle(events.TurnEnded(at=0.0, more=True))) for _ in range(GATHERING_TURNS + 2)]
    assert turns[:GATHERING_TURNS] == [0] * GATHERING_TURNS
    assert turns[GATHERING_TURNS] == 1


def test_a_good_batch_waits_for_nobody() -> None:
    """However much is at hand: ZooKeeper is not to idle meanwhile."""
    scene = leading()
    for number in range(GOOD_BATCH):
        scene.handle(events.ClientSaid(at=0.0, peer=C1, message=submit(number)))
    assert commits(scene.handle(events.TurnEnded(at=0.0, more=True))) == 1


@pytest.mark.parametrize("kind", [events.ClientGarbled, events.WorkerGarbled])
def test_a_garbled_frame_gets_its_error(kind: Any) -> None:
    """From either side."""
    scene = leading()
    actions = scene.handle(kind(at=0.0, peer=b"x", why="nonsense")) + scene.turn()
    told = to_client(b"x", actions) + to_worker(b"x", actions)
    assert told == [Error(code="protocol", why="nonsense")]


# --- the policy ---------------------------------------------------------------------------------------------


def test_the_policy_of_the_table_is_used_and_watched() -> None:
    """A change in ZooKeeper takes effect without a restart; nonsense and unknown names do not."""
    scene = leading()
    assert scene.state.placer.name == "least-loaded"
    scene.nodes[znodes.POLICY] = read(znodes.POLICY, PolicyNode(policy="uniform"))
    scene.handle(zk.NodeChanged(at=0.1, path=znodes.POLICY))
    scene.tick(0.2)
    assert scene.state.placer.name == "uniform"
    for data, event in ((b"nonsense", "policy_unreadable"), (b'{"policy": "fanciful"}', "policy_unknown")):
        scene.nodes[znodes.POLICY] = read(znodes.POLICY, data)
        scene.handle(zk.NodeChanged(at=0.3, path=znodes.POLICY))
        assert notes(scene.tick(scene.now + 0.2), event)[0]["keeps"] == "uniform"
    assert scene.state.placer.name == "uniform"


# --- its own node -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, b"garbage", "another's"])
def test_a_leader_that_nobody_finds_any_more_ends_its_reign(data: Any) -> None:
    """Somebody deleted /leader, or wrote into it. Where it is the only broker, nobody else would notice."""
    scene = leading()
    del scene.nodes[znodes.LEADER]
    if data == "another's":
        data = LeaderNode(**msgspec.structs.asdict(broker_node("b2")), epoch=9, table="table-1")
    if data is not None:
        scene.nodes[znodes.LEADER] = read(znodes.LEADER, data)
    scene.tick(1.0)
    assert scene.reign.phase is Phase.LEADING, "nothing says that it changed"
    scene.handle(zk.NodeChanged(at=1.1, path=znodes.LEADER))
    scene.tick(1.2)
    assert scene.reign.phase is Phase.OVER
    assert "/leader" in scene.reign.why


def test_a_leader_that_hands_over_deletes_its_node_itself() -> None:
    """That is its end in order, and said so."""
    scene = leading()
    scene.silent = True
    scene.handle(zk.NodeChanged(at=0.9, path=znodes.LIMITS))
    scene.tick(1.0)
    (asked,) = (request for request in scene.held if isinstance(request, zk.ReadNodes))
    scene.handle(events.StopRequested(at=1.1))
    del scene.nodes[znodes.LEADER]
    scene.handle(scene.reply(asked))
    assert scene.reign.phase is Phase.LEAVING


# --- drains -------------------------------------------------------------------------------------------------


def test_nothing_is_placed_before_it_is_known_who_is_drained() -> None:
    """A takeover reads that first; a read that fails is repeated."""
    scene = Scene()
    scene.nodes[znodes.DRAINED] = read(znodes.DRAINED, DrainedNode(workers={"w1": Drain(since=1.0)}))
    scene.silent = True
    scene.begin()
    config, others = scene.held[0], scene.held[1:]
    assert isinstance(config, zk.ReadNodes)
    assert config.paths == (*znodes.SETTINGS, znodes.LEADER)
    scene.silent = False
    for request in others:
        scene.handle(scene.reply(request))
    scene.handle(zk.NodesRead(at=0.0, token=config.token, nodes=None))
    scene.client(Hello(user="ann"))
    scene.join()
    scene.client(submit(1))
    assert scene.state.table.counts[TaskState.RUNNING] == 0
    scene.tick(0.2)
    scene.turn()
    assert scene.state.workers.by_name["w1"].drain == Drain(since=1.0)
    assert scene.state.table.counts[TaskState.RUNNING] == 0


def test_a_drain_in_zookeeper_takes_effect_at_once() -> None:
    """Whoever wrote it: the node is watched."""
    scene = leading()
    scene.nodes[znodes.DRAINED] = read(znodes.DRAINED, DrainedNode(workers={"w1": Drain(since=1.0)}))
    scene.handle(zk.NodeChanged(at=0.1, path=znodes.DRAINED))
    scene.tick(0.2)
    scene.client(submit(1))
    assert scene.state.table.counts[TaskState.RUNNING] == 0


def test_a_drain_that_cannot_be_written_is_told_and_taken_back() -> None:
    """Somebody deleted the node: what is in force is what the table says, and that is nothing."""
    scene = leading()
    scene.silent = True
    scene.client(DrainWorkers(seq=7, workers=("w1",)))
    (multi,) = [request for request in scene.held if isinstance(request, zk.Multi)]
    scene.silent = False
    actions = scene.handle(zk.MultiEnded(at=0.0, token=multi.token, verdict=zk.Refused(2, "NoNode")))
    (error,) = [m for m in to_client(C1, actions + scene.tick(0.3) + scene.turn()) if isinstance(m, Error)]
    assert (error.seq, "/config/drained cannot be written" in error.why) == (7, True)
    assert scene.state.workers.drains == {}


# --- default limits -----------------------------------------------------------------------------------------


def test_limits_in_zookeeper_take_effect_at_once() -> None:
    """Whoever wrote them: the node is watched, and read before anything is placed."""
    scene = leading()
    scene.nodes[znodes.LIMITS] = read(znodes.LIMITS, LimitsNode(processes=7))
    scene.handle(zk.NodeChanged(at=0.1, path=znodes.LIMITS))
    scene.tick(0.2)
    assert scene.state.limits == LimitsNode(processes=7)


# --- ZooKeeper is gone --------------------------------------------------------------------------------------


def test_a_suspended_leader_says_nothing_but_that_it_waits() -> None:
    """No commit, no order, no answer; heartbeats tell why."""
    scene = leading()
    scene.handle(zk.SessionSuspended(at=5.0))
    scene.now = 5.0
    assert scene.client(submit(1)) == []
    assert scene.reign.backlogged
    actions = scene.tick(6.5)
    assert of_type(zk.Multi, actions) == []
    (beat,) = to_client(C1, actions)
    assert isinstance(beat, Heartbeat)
    assert beat.waiting == "ZooKeeper"


def test_after_a_short_interruption_it_goes_on() -> None:
    """What waited is committed and told."""
    scene = leading()
    scene.handle(zk.SessionSuspended(at=5.0))
    scene.now = 5.0
    scene.client(submit(1))
    actions = scene.handle(zk.SessionConnected(at=6.0, session=1, timeout_s=SESSION_S)) + scene.turn()
    assert [type(message) for message in to_client(C1, actions)] == [Accepted]


def test_a_leader_that_is_cut_off_too_long_steps_down_by_its_own_clock() -> None:
    """Before anybody could tell it."""
    scene = leading()
    scene.handle(zk.SessionSuspended(at=5.0))
    scene.tick(5.0 + SESSION_S - 0.1)
    assert scene.reign.phase is Phase.LEADING
    scene.tick(5.0 + SESSION_S)
    assert scene.reign.phase is Phase.OVER


def test_an_expired_session_ends_a_reign() -> None:
    """With the session went `/leader`."""
    scene = leading()
    scene.handle(zk.SessionExpired(at=5.0))
    assert scene.reign.phase is Phase.OVER


def in_doubt(scene: Scene) -> zk.Multi:
    """Let a submission's commit lose its answer; returns the transaction."""
    scene.silent = True
    assert scene.client(submit(1)) == []
    (multi,) = of_type(zk.Multi, list(scene.held))  # type: ignore[arg-type]
    scene.held.clear()
    scene.handle(zk.SessionSuspended(at=0.0))
    scene.handle(zk.MultiEnded(at=0.0, token=multi.token, verdict=zk.Unknown()))
    scene.silent = False
    return multi


def test_a_doubtful_commit_is_decided_after_the_reconnection() -> None:
    """Applied: then it is told."""
    scene = leading()
    in_doubt(scene)
    ledger = scene.state.ledger
    commit = CommitNode(epoch=1, batch=ledger.committed + 1)
    scene.nodes[znodes.COMMIT] = read(znodes.COMMIT, commit, version=ledger.chain + 1)
    actions = scene.handle(zk.SessionConnected(at=1.0, session=1, timeout_s=SESSION_S))
    assert [type(message) for message in to_client(C1, actions)] == [Accepted]
    assert scene.state.counters["commits_unknown"] == 1


def test_a_doubtful_commit_of_another_broker_ends_the_reign() -> None:
    """`/commit` holds what this leader did not write."""
    scene = leading()
    in_doubt(scene)
    scene.nodes[znodes.COMMIT] = read(znodes.COMMIT, CommitNode(epoch=2), version=99)
    actions = scene.handle(zk.SessionConnected(at=1.0, session=1, timeout_s=SESSION_S))
    assert to_client(C1, actions) == []
    assert scene.reign.phase is Phase.OVER


def commit_reads(scene: Scene) -> list[zk.Request]:
    """Return the unanswered reads of `/commit`."""
    return [each for each in scene.held if isinstance(each, zk.ReadNodes) and each.paths == (znodes.COMMIT,)]


def test_a_slow_answer_about_a_doubtful_commit_is_waited_for() -> None:
    """Asking again before it comes would throw it away, for ever; an empty one is asked for again."""
    scene = leading()
    in_doubt(scene)
    scene.silent = True
    scene.handle(zk.SessionConnected(at=1.0, session=1, timeout_s=SESSION_S))
    for tenth in range(2, 20):
        scene.tick(1.0 + tenth / 10)
    (asked,) = commit_reads(scene)
    scene.handle(zk.NodesRead(at=3.0, token=asked.token, nodes=None))
    scene.tick(4.0)
    assert len(commit_reads(scene)) == 2


def test_a_failed_fence_ends_a_reign_without_a_word() -> None:
    """Another broker leads: what waited for the commit is never said."""
    scene = leading()
    scene.silent = True
    scene.client(submit(1))
    (multi,) = [each for each in scene.held if isinstance(each, zk.Multi)]
    actions = scene.handle(zk.MultiEnded(at=0.0, token=multi.token, verdict=zk.Refused(0, "BadVersion")))
    assert to_client(C1, actions) == []
    assert scene.reign.phase is Phase.OVER


# --- the end ------------------------------------------------------------------------------------------------


def test_a_leader_that_is_stopped_hands_over() -> None:
    """It dumps its state, writes what it has, deletes `/leader` last, and takes nothing new."""
    scene = leading()
    scene.client(submit(1), turn=False)
    actions = scene.handle(events.StopRequested(at=0.0))
    (dumped,) = of_type(WriteDump, actions)
    assert json.loads(dumped.data)["why"] == "hand-over"
    assert scene.client(submit(2), turn=False) == []
    actions = scene.turn()
    (multi,) = of_type(zk.Multi, actions)
    assert multi.operations[-1] == zk.Delete(znodes.LEADER)
    assert [type(message) for message in to_client(C1, actions)] == [Accepted]
    assert scene.reign.phase is Phase.OVER
    farewell = scene.reign.farewell()
    assert to_client(C1, farewell) == to_worker(W1, farewell) == [NotLeader()]


def test_a_stop_does_not_wait_for_zookeeper_for_ever() -> None:
    """After a short time it goes without its last batch."""
    scene = leading()
    scene.silent = True
    scene.handle(events.StopRequested(at=0.0))
    scene.turn()
    scene.tick(1.0)
    assert scene.reign.phase is Phase.LEAVING
    scene.tick(2.5)
    assert scene.reign.phase is Phase.OVER


def test_a_leader_that_places_nothing_though_it_could_resigns() -> None:
    """Something is wrong with it that others may not share; its state is kept for analysis."""
    scene = leading(stuck_s=10.0)
    scene.state.placer.run = lambda *_, **__: 0  # type: ignore[method-assign]  # the defect that is looked for
    scene.client(submit(1))
    worker = scene.state.workers.by_name["w1"]
    dumps: list[WriteDump] = []
    for second in range(1, 13):
        worker.heard = float(second)
        dumps += of_type(WriteDump, scene.tick(float(second)))
    assert [dumped.why for dumped in dumps] == ["stuck", "hand-over"]
    assert scene.reign.phase is Phase.OVER
    assert scene.reign.rests


def test_a_busy_leader_does_not_resign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room and a backlog at every look are no sign of trouble while tasks are placed."""
    monkeypatch.setattr(placement, "PASS_MAX", 1)
    scene = leading(stuck_s=1.0)
    worker = scene.state.workers.by_name["w1"]
    worker.offer(capacity(8))
    scene.state.workers.grew(worker)
    for number in range(100):
        scene.handle(events.ClientSaid(at=scene.now, peer=C1, message=submit(number)))
    for tenth in range(1, 40):
        for attempt in list(worker.reserved):
            worker.release(attempt)
        scene.state.workers.grew(worker)
        worker.heard = tenth / 10
        scene.tick(tenth / 10)
    assert scene.reign.phase is Phase.LEADING
    assert scene.state.counters["tasks_placed"] < 100


def test_a_deleted_leader_node_ends_a_hand_over_too() -> None:
    """Somebody else deleted it first: there is nothing to give up."""
    scene = leading()
    scene.silent = True
    scene.handle(events.StopRequested(at=0.0))
    scene.turn()
    (multi,) = [each for each in scene.held if isinstance(each, zk.Multi)]
    scene.handle(zk.MultiEnded(at=0.0, token=multi.token, verdict=zk.Refused(2, "NoNode")))
    assert scene.reign.phase is Phase.OVER


def test_cluster_time_goes_on_from_the_claim() -> None:
    """By the own clock since; a wall clock never enters."""
    scene = leading()
    scene.tick(12.5)
    assert scene.state.now() == scene.state.clock.claimed + 12.5
