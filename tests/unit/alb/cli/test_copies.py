"""`alb copies` against a leader that keeps what it is told, and `--speculative`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.api.options import make_spec
from alb.cli.main import run
from alb_core.copies import COPIES, CopiesNode
from alb_core.messages import CopiesPage, Done, Error, Message, QueryCopies, SetCopies

ZK = ("--zk", "zk:2181", "--user", "u")


@pytest.fixture(params=[3.6])
def kept(broker: FakeBroker, request: pytest.FixtureRequest) -> list[CopiesNode]:
    """Return what is in force, the newest last; copies may have so many processors."""
    told = [COPIES]

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case SetCopies(seq=seq, copies=copies):
                if copies.share > 1:
                    return (Error(seq=seq, code="invalid", why="the share of 2 for copies is too much"),)
                told.append(copies)
                return (Done(seq=seq),)
            case QueryCopies(seq=seq):
                page = CopiesPage(
                    seq=seq,
                    copies=told[-1],
                    running=1,
                    cpus=2.0,
                    cpus_max=request.param,
                    made=9,
                    won=7,
                    outrun=8,
                    wasted_s=75.0,
                )
                return (page,)
        return ()

    broker.answer = answer
    return told


@pytest.mark.usefixtures("kept")
def test_bounds_and_waste_are_shown_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    """Whose stragglers are copied, how many at once, and what that brought and cost."""
    assert run(["copies", *ZK]) == 0
    shown = capfd.readouterr().out
    for line in (
        "--speculative",
        "10% of all processors, 3.6 now; one copy at least\n",
        "running       1, on 2 processors\n",
        "made          9",
        "wasted        1m",
    ):
        assert line in shown


def test_what_is_not_said_stays(kept: list[CopiesNode], capfd: pytest.CaptureFixture[str]) -> None:
    """Each option changes its own bound; a share of 0 makes no copies, and that is shown."""
    assert run(["copies", "set", "--share", "0.5", "--unasked", *ZK]) == 0
    assert run(["copies", "set", "--slow-tasks", "0.1", "--slow-workers", "0.5", *ZK]) == 0
    assert kept[-1] == CopiesNode(share=0.5, unasked=True, slow_tasks=0.1, slow_workers=0.5)
    assert run(["copies", "set", "--share", "0", "--only-asked", "--json", *ZK]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["copies"]["share"], told["copies"]["unasked"]) == (0.0, False)
    assert run(["copies", *ZK]) == 0
    assert "at once       none" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["set"], 125, "--share"),
        (["--share", "0.5"], 125, "alb copies set"),
        (["set", "--share", "2"], 125, "share of 2"),
        (["set", "--share", "much"], 125, "much"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_bad_words_are_refused(
    capfd: pytest.CaptureFixture[str], words: list[str], status: int, sentence: str
) -> None:
    """Each with a sentence that says what is wrong."""
    assert run(["copies", *words, *ZK]) == status
    assert sentence in capfd.readouterr().err


@pytest.mark.parametrize(("options", "wish"), [({}, None), ({"speculative": False}, False)])
def test_a_task_says_what_it_wants(options: dict[str, bool], wish: bool | None) -> None:  # noqa: FBT001
    """Nothing said is the cluster's default; no is no."""
    assert make_spec("x", options).speculative is wish
