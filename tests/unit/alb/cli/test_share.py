"""`alb share` against a leader that keeps what it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb_core.messages import Done, Error, Message, QueryShares, SetShare, SharesPage, UserLine
from alb_core.shares import Share, SharesNode

ZK = ("--zk", "zk:2181", "--user", "u")
ANN = UserLine(
    user="ann", share=0.25, dominant="memory_bytes", cpus=3.0, memory_bytes=1 << 30, running=2, tasks=9
)


@pytest.fixture
def kept(broker: FakeBroker) -> list[SharesNode]:
    """Return what is in force, the newest last."""
    told = [SharesNode(users={"ann": Share(weight=2.0, cpus_max=40.0)}, default=Share(tasks_max=1000))]

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case SetShare(seq=seq, user=user, share=share):
                if share is not None and share.weight == 0:
                    return (Error(seq=seq, code="invalid", why="the weight 0 is not between 0.001 and 1000"),)
                told.append(told[-1].changed(user, share))
                return (Done(seq=seq),)
            case QueryShares(seq=seq):
                return (SharesPage(seq=seq, shares=told[-1], users=(ANN,)),)
        return ()

    broker.answer = answer
    return told


def test_shares_are_shown_for_people(kept: list[SharesNode], capfd: pytest.CaptureFixture[str]) -> None:
    """What somebody has of what he may have; who has nothing, and everybody who is not named."""
    kept.append(kept[0].changed("bob", Share(weight=0.5)))
    assert run(["share", *ZK]) == 0
    rows = [line.split() for line in capfd.readouterr().out.splitlines()[:4]]
    assert rows == [
        ["USER", "SHARE", "WEIGHT", "RUNNING", "CPUS", "MEMORY", "TASKS"],
        ["ann", "25.0%", "(memory)", "2", "2", "3/40", "1.0", "GiB", "9/1000"],
        ["bob", "0", "0.5", "0", "0", "0", "B", "0/1000"],
        ["(others)", "1", "/1000"],
    ]


def test_shares_are_json_for_programs(kept: list[SharesNode], capfd: pytest.CaptureFixture[str]) -> None:
    """The node as it stands, and how users stand."""
    assert run(["share", "show", "--json", *ZK]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["shares"]["users"] == {"ann": {"weight": 2.0, "cpus_max": 40.0}}
    assert told["users"][0]["dominant"] == "memory_bytes"
    assert len(kept) == 1


def test_what_is_not_said_stays(kept: list[SharesNode]) -> None:
    """Set changes what it names, of one user or of all others; unset takes all of it back."""
    assert run(["share", "set", "ann", "--weight", "3", "--mem-max", "64G", *ZK]) == 0
    assert kept[-1].users["ann"] == Share(weight=3.0, cpus_max=40.0, memory_bytes_max=64 << 30)
    assert run(["share", "set", "--default", "--cpus-max", "0.5", *ZK]) == 0
    assert kept[-1].default == Share(cpus_max=0.5, tasks_max=1000)
    assert run(["share", "set", "bob", "--tasks-max", "7", *ZK]) == 0
    assert kept[-1].users["bob"] == Share(tasks_max=7)
    assert run(["share", "unset", "ann", *ZK]) == 0
    assert run(["share", "unset", "--default", *ZK]) == 0
    assert kept[-1] == SharesNode(users={"bob": Share(tasks_max=7)})


@pytest.mark.parametrize(
    ("words", "sentence", "status"),
    [
        (["set", "--weight", "2"], "name one USER", 125),
        (["set", "ann", "--default", "--weight", "2"], "name one USER", 125),
        (["set", "ann"], "say what he may have", 125),
        (["set", "ann", "--weight", "much"], "is not a valid float", 125),
        (["set", "ann", "--mem-max", "64 elephants"], "64 elephants", 125),
        (["set", "ann", "--weight", "0"], "the weight 0 is not between", 125),
        (["unset"], "name one USER", 125),
        (["unset", "ann", "--weight", "2"], "unset takes back all", 125),
        (["ann"], "ann", 125),
        (["show", "ann"], "to change something", 125),
    ],
)
def test_what_makes_no_sense_is_refused(
    kept: list[SharesNode], capfd: pytest.CaptureFixture[str], words: list[str], sentence: str, status: int
) -> None:
    """With a sentence; nothing is changed."""
    assert run(["share", *words, *ZK]) == status
    assert sentence in capfd.readouterr().err
    assert len(kept) == 1
