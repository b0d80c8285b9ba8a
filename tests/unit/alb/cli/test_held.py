"""``alb workers --tasks``, against a leader that answers from a script."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.held import COLUMNS
from alb.cli.main import run
from alb_core.messages import HeldLine, Holding, Message, QueryWorkers, WorkerLine, WorkersPage
from alb_core.resources import Capacity, Load

ZK = ("--zk", "zk:2181", "--user", "u")
RUNS = HeldLine(
    id="a" * 32,
    attempt=2,
    holding=Holding.RUNS,
    asked_back=False,
    ends=True,
    demoted=True,
    cpus=1.5,
    memory_bytes=1 << 30,
    placed=1_700_000_000.0,
    user="ann",
    name="night",
    command="make\nreport",
)
WAITS = HeldLine(id="b" * 32, attempt=1, holding=Holding.AHEAD, asked_back=True, ends=False)


def serve(broker: FakeBroker, *held: HeldLine, left_off: int = 0) -> None:
    """Let the leader know one worker that holds these."""
    line = WorkerLine(
        worker="w1",
        incarnation="w1-1",
        capacity=Capacity(cpus=2, memory_bytes=1 << 30),
        load=Load(),
        session=True,
        link=True,
        reserved_cpus=1.5,
        reserved_memory_bytes=0,
        reserved_net_bps=0,
        running=1,
    )

    def answer(message: Message) -> list[Message]:
        if not isinstance(message, QueryWorkers):
            return []
        told = msgspec.structs.replace(line, tasks=held if message.tasks else None)
        return [WorkersPage(seq=message.seq, workers=(told,), left_off=left_off)]

    broker.answer = answer


def test_each_attempt_has_a_line(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """How it stands there, what it reserves, and whose it is; on one line, whatever is in the command."""
    serve(broker, RUNS, WAITS, left_off=3)
    assert run(["workers", *ZK, "--tasks"]) == 0
    told = capfd.readouterr()
    heading, runs, waits = told.out.splitlines()
    assert heading.split() == list(COLUMNS)
    assert "runs, demoted, to end" in runs
    assert runs.endswith("night  make report")
    assert waits.startswith("w1      " + "b" * 32)
    assert "waits, asked back" in waits
    assert "3 tasks more are not shown" in told.err


def test_json_has_them_in_their_worker(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """And null where nobody asked."""
    serve(broker, RUNS)
    assert run(["workers", *ZK, "--tasks", "--json"]) == 0
    (worker,) = json.loads(capfd.readouterr().out)
    (held,) = worker["tasks"]
    assert (held["id"], held["attempt"], held["holding"]) == ("a" * 32, 2, "runs")
    assert run(["workers", *ZK, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["tasks"] is None


def test_idle_workers_are_said_to_be_idle(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """An empty table would leave open whether anybody was asked."""
    serve(broker)
    assert run(["workers", *ZK, "--tasks"]) == 0
    assert "nothing runs or waits on w1" in capfd.readouterr().err
