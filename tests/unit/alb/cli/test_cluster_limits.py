"""`alb limits` against a leader that keeps what it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb_core.bounds import NO_BOUNDS, LimitsNode, settled
from alb_core.messages import ClusterPage, Done, Error, Message, QueryCluster, SetLimits

ZK = ("--zk", "zk:2181", "--user", "u")
EVERYTHING = LimitsNode(
    time_limit_s=86_400.0,
    cpu_s=3600.0,
    memory_bytes=4 << 30,
    processes=500,
    open_files=1024,
    output_bytes=100 << 20,
    scratch_bytes=10 << 30,
)


@pytest.fixture
def kept(broker: FakeBroker) -> list[LimitsNode]:
    """Return what the leader was told, the newest last; it begins with what a new cluster has."""
    told = [LimitsNode(processes=4096)]

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case SetLimits(seq=seq, limits=limits):
                if limits.processes == 0:
                    return (Error(seq=seq, code="invalid", why="the bound processes of 0 is too low"),)
                told.append(limits)
                return (Done(seq=seq),)
            case QueryCluster(seq=seq):
                return (page(seq, told[-1]),)
        return ()

    broker.answer = answer
    return told


def page(seq: int, limits: LimitsNode) -> ClusterPage:
    """Return the state of a cluster with these limits."""
    return ClusterPage(
        seq=seq,
        broker="b1",
        epoch=1,
        batch=1,
        table="t",
        policy="p",
        since=0.0,
        now=0.0,
        session_timeout_s=3.0,
        counts={},
        counters={},
        bounds=settled(NO_BOUNDS, 0, limits),
        time_limit_s=limits.time_limit_s,
    )


def test_every_limit_is_set_in_its_unit(kept: list[LimitsNode]) -> None:
    """As people write durations and sizes; what was there and is not named stays."""
    words = "cpu=1h memory=4G open-files=1024 output=100M scratch=10G time=1d"
    assert run(["limits", *ZK, "set", *words.split()]) == 0
    assert run(["limits", *ZK, "set", "processes=500"]) == 0
    assert kept[1].processes == 4096
    assert kept[-1] == EVERYTHING


def test_unset_takes_limits_away(kept: list[LimitsNode], capfd: pytest.CaptureFixture[str]) -> None:
    """Those that are named; all of them are shown afterwards, in JSON with null for none."""
    kept.append(EVERYTHING)
    assert run(["limits", *ZK, "--json", "unset", "cpu", "time", "memory"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert (shown["cpu_s"], shown["time_limit_s"], shown["memory_bytes"]) == (None, None, None)
    assert (shown["processes"], kept[-1].cpu_s, kept[-1].processes) == (500, None, 500)


def test_limits_are_shown_for_people(kept: list[LimitsNode], capfd: pytest.CaptureFixture[str]) -> None:
    """Each with its unit; nothing is asked of the leader but what they are."""
    assert run(["limits", *ZK]) == 0
    rows = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["time", "none"] in [row[:2] for row in rows]
    assert ["processes", "4096"] in [row[:2] for row in rows]
    kept.append(EVERYTHING)
    assert run(["limits", *ZK]) == 0
    assert "4.0 GiB" in capfd.readouterr().out
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show"], "write `alb limits`"),
        (["set"], "write `alb limits`"),
        (["set", "colour=red"], "there is no limit 'colour'; there are: time, cpu"),
        (["set", "cpu"], "set takes NAME=VALUE"),
        (["set", "cpu=1h", "cpu=2h"], "the limit cpu is given twice"),
        (["unset", "cpu=1"], "unset takes NAME alone"),
        (["set", "cpu=soon"], "cpu: 'soon' is no duration"),
        (["set", "processes=many"], "processes: 'many' is not a valid integer"),
        (["set", "processes=0"], "the bound processes of 0 is too low"),
    ],
)
def test_what_makes_no_sense_is_refused(
    kept: list[LimitsNode], capfd: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    """With a sentence that says how it is written; nothing is changed."""
    assert run(["limits", *ZK, *words]) == 125
    assert sentence in capfd.readouterr().err
    assert len(kept) == 1
