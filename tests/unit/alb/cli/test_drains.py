"""`alb drain` and `alb health` against a leader that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import msgspec
import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.api import client as api
from alb.cli.main import run
from alb.cli.values import format_clock
from alb_core.drains import Drain
from alb_core.messages import (
    Done,
    DrainWorkers,
    Error,
    Message,
    QueryWorkers,
    UndrainWorkers,
    WorkerLine,
    WorkersPage,
)
from alb_core.quarantines import Quarantine
from alb_core.resources import Capacity, Load
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode

ZK = ("--zk", "zk:2181", "--user", "u")
CAPACITY = Capacity(cpus=2, memory_bytes=1)


def line(running: int, *, drained: bool = True, link: bool = True) -> WorkerLine:
    """Return w1 as the leader lists it."""
    return WorkerLine(
        worker="w1",
        incarnation="i",
        capacity=CAPACITY,
        load=Load(),
        session=True,
        link=link,
        reserved_cpus=0.0,
        reserved_memory_bytes=0,
        reserved_net_bps=0,
        running=running,
        drain=Drain(by="u", reason="new disk", since=1.0, deadline_s=90.0) if drained else None,
    )


def listing(*lines: WorkerLine | None) -> Callable[[Message], Sequence[Message]]:
    """Do what is asked, and list the worker so, one line after the other; the last for ever; None: absent."""
    left = list(lines)

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case QueryWorkers(seq=seq):
                now = left.pop(0) if len(left) > 1 else left[0]
                absent = {"w1": Drain(by="u")} if now is None else {}
                return (WorkersPage(seq=seq, workers=() if now is None else (now,), absent=absent),)
            case DrainWorkers(seq=seq) | UndrainWorkers(seq=seq):
                return (Done(seq=seq),)
        return ()

    return answer


def test_drain_says_what_is_left(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Each change once, and the end; the request carries reason and deadline."""
    broker.answer = listing(line(2), line(2), line(1), line(0))
    assert run(["drain", *ZK, "w1", "w1", "--reason", "new disk", "--deadline", "1m30s"]) == 0
    said = capfd.readouterr()
    assert said.out == "w1 is drained and empty\n"
    assert said.err == "alb: w1: 2 tasks left\nalb: w1: 1 task left\n"
    request = next(message for message in broker.received if isinstance(message, DrainWorkers))
    assert (request.workers, request.reason, request.deadline_s) == (("w1",), "new disk", 90.0)


def test_drain_of_a_worker_that_is_lost(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody knows whether its commands are gone: whoever removes the machine must hear that."""
    broker.answer = listing(line(2), None)
    assert run(["drain", *ZK, "w1"]) == 1
    said = capfd.readouterr()
    assert (said.out, "what it ran may still run there" in said.err) == ("", True)


def test_drain_of_a_worker_that_is_not_there(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """It was empty when it went, and it will be drained when it comes back."""
    broker.answer = listing(None)
    assert run(["drain", *ZK, "w1"]) == 0
    assert capfd.readouterr().out == "w1 is drained and not there\n"


def test_drain_that_somebody_ends(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Waiting on would last for ever."""
    broker.answer = listing(line(2), line(2, drained=False))
    assert run(["drain", *ZK, "w1"]) == 1
    assert "put to work again by somebody else" in capfd.readouterr().err


def test_drain_waits_for_a_leader(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """A leader that says nothing for a while costs a line, not the drain."""
    inner, asked = listing(line(0)), []

    def silent_at_first(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryWorkers):
            asked.append(message.seq)
            if len(set(asked)) < 3:
                return ()
        return inner(message)

    broker.answer = silent_at_first
    assert run(["drain", *ZK, "--connect-timeout", "0.3", "w1"]) == 0
    assert capfd.readouterr().err.count("waiting on") == 1


def test_detached_drain_returns_at_once(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """And with --json the lines are on stdout, alone."""
    broker.answer = listing(line(2))
    assert run(["drain", *ZK, "--detach", "--json", "w1"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)[0]["running"] == 2
    assert "w1 is given nothing new" in said.err


@pytest.mark.parametrize(
    ("then", "status", "listed"), [(line(0), 0, ["w1"]), (line(2, drained=False), 1, ["w1"]), (None, 1, [])]
)
def test_json_of_a_drain_stands_alone(
    broker: FakeBroker,
    capfd: pytest.CaptureFixture[str],
    then: WorkerLine | None,
    status: int,
    listed: list[str],
) -> None:
    """However the waiting ends, stdout is one JSON value; what people are told is on stderr."""
    broker.answer = listing(line(2), then)
    assert run(["drain", *ZK, "--json", "w1"]) == status
    said = capfd.readouterr()
    assert [each["worker"] for each in json.loads(said.out)] == listed
    assert "alb: w1: 2 tasks left" in said.err


def test_a_refusal_is_said(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """In the leader's words."""
    broker.answer = lambda m: (
        (Error(code="invalid", why="no worker w9 is known; known: w1", seq=m.seq),)
        if isinstance(m, DrainWorkers)
        else ()
    )
    assert run(["drain", *ZK, "w9"]) == 125
    assert "no worker w9 is known" in capfd.readouterr().err


def test_workers_shows_drains(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Of those that are there and those that are not; a name that nobody has is named."""
    page = WorkersPage(seq=0, workers=(line(1),), absent={"w7": Drain(by="bob", since=1.0)})
    broker.answer = lambda m: (
        (WorkersPage(seq=m.seq, workers=page.workers, absent=page.absent),)
        if isinstance(m, QueryWorkers)
        else ()
    )
    assert run(["workers", *ZK, "w1", "w7", "w8"]) == 125
    said = capfd.readouterr()
    assert [row.split()[:2] for row in said.out.splitlines()[1:]] == [["w1", "draining"], ["w7", "absent,"]]
    assert "by u, with 1m30s for what runs there: new disk" in said.err
    assert "there is no worker w8" in said.err


# --- health -------------------------------------------------------------------------------------------------


@pytest.fixture
def zookeeper(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> Callable[[LeaderNode | None, list[BrokerNode], WorkerNode | None], None]:
    """Return what lets ZooKeeper hold these nodes."""

    def hold(leader: LeaderNode | None, brokers: list[BrokerNode], worker: WorkerNode | None) -> None:
        monkeypatch.setattr(api, "look", lambda *_: (leader, brokers))
        monkeypatch.setattr(api, "look_for_worker", lambda *_: (leader, worker))

    hold(broker.node(), [broker.node()], WorkerNode(worker="w1", incarnation="i", capacity=CAPACITY))
    return hold


def health(*arguments: str) -> int:
    """Run the verb."""
    return run(["health", *ZK, "--connect-timeout", "0.5", *arguments])


@pytest.mark.usefixtures("zookeeper")
def test_a_leader_that_answers_is_healthy(capfd: pytest.CaptureFixture[str]) -> None:
    """With its epoch; --json for scripts."""
    assert health("broker", "b1") == 0
    assert capfd.readouterr().out == "broker b1: leads, epoch 1\n"
    assert health("broker", "b1", "--json") == 0
    assert json.loads(capfd.readouterr().out)["healthy"] is True


def test_a_broker_that_is_registered_and_silent_is_not(
    broker: FakeBroker, zookeeper: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its session lives in another thread than its loop."""
    node = broker.node()
    broker.close()
    zookeeper(node, [node], None)
    assert health("broker", "b1") == 1
    assert "does not answer" in capfd.readouterr().out
    assert health("broker", "b2") == 1
    assert "not registered" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("listed", "status", "words"),
    [
        (line(3), 0, "registered with b1, 3 running, drained"),
        (line(3, link=False), 1, "does not hear it"),
        (None, 1, "does not hear it"),
    ],
)
@pytest.mark.usefixtures("zookeeper")
def test_a_worker_is_healthy_when_the_leader_hears_it(
    broker: FakeBroker,
    listed: WorkerLine | None,
    status: int,
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its session alone does not make it useful."""
    broker.answer = listing(listed)
    assert health("worker", "w1") == status
    assert words in capfd.readouterr().out


def test_a_worker_is_not_ill_because_a_leader_is_missing(
    broker: FakeBroker, zookeeper: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody leads, or the leader is silent: restarting the worker would help nobody."""
    worker = WorkerNode(worker="w1", incarnation="i", capacity=CAPACITY)
    zookeeper(None, [], worker)
    assert health("worker", "w1") == 0
    assert "nobody leads" in capfd.readouterr().out
    broker.answer = lambda _: ()
    zookeeper(broker.node(), [], worker)
    assert health("worker", "w1") == 0
    assert "does not answer at the moment" in capfd.readouterr().out
    zookeeper(broker.node(), [], None)
    assert health("worker", "w1") == 1


@pytest.mark.usefixtures("zookeeper")
def test_the_name_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the broker's or the worker's own does, with the host's name in place of %H."""
    monkeypatch.setenv("ALB_NAME", "b-%H")
    assert health("broker") == 1
    name = capfd.readouterr().out.split()[1]
    assert name.startswith("b-")
    assert "%" not in name


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (line(0), line(0, drained=False), "w1 is given tasks again"),
        (line(0, drained=False), line(0, drained=False), "w1 was not drained"),
        (line(0), line(0, drained=False, link=False), "w1 is drained no more, but it is not heard"),
        (
            line(0, drained=False),
            msgspec.structs.replace(
                line(0, drained=False), quarantine=Quarantine(until=1.0, why="all fails")
            ),
            f"w1 was not drained, but in quarantine until {format_clock(1.0)}: all fails",
        ),
    ],
    ids=["drained", "not-drained", "silent", "quarantined"],
)
def test_undrain_says_what_comes_of_it(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], before: WorkerLine, after: WorkerLine, told: str
) -> None:
    """Who wants a worker to work again is not told that it does where it will not."""
    broker.answer = listing(before, after)
    assert run(["undrain", *ZK, "w1", "w1"]) == 0
    assert capfd.readouterr().out == f"{told}\n"
