"""``alb policy``, against a leader that answers from a script."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb_core.choices import Choice, PolicyNode
from alb_core.messages import ElsewhereLine, PoliciesPage, PolicyLine, QueryPolicies, TallyLine

ZK = ("--zk", "zk:2181", "--user", "u")
NOTHING = TallyLine(placed=0, waited_s=0.0, ended=0, slowdown=0.0)
LEAST = PolicyLine(
    name="least-loaded",
    summary="The fastest worker.",
    source="alb 1",
    parameters={},
    candidates=8,
    fastest_first=False,
    calls=0,
    failures=0,
    failed="",
    failed_at=0.0,
    us_per_call=0.0,
)


def serve(broker: FakeBroker, node: PolicyNode, *elsewhere: ElsewhereLine) -> None:
    """Let the leader place by the default, whatever the node says."""
    page = PoliciesPage(
        seq=0,
        node=node,
        in_force=Choice(policy="least-loaded"),
        why="",
        now=100.0,
        policies=(LEAST,),
        changes=(),
        tally=NOTHING,
        former_tally=NOTHING,
        leader="b1",
        elsewhere=elsewhere,
    )
    broker.answer = lambda message: (
        (msgspec.structs.replace(page, seq=message.seq),) if isinstance(message, QueryPolicies) else ()
    )


def test_a_try_is_said_to_be_one(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """The name stands alone on standard output, for scripts; until when is for people."""
    serve(broker, PolicyNode(policy="least-loaded", since=50.0, until=160.0, former=Choice(policy="spread")))
    assert run(["policy", *ZK]) == 0
    said = capfd.readouterr()
    assert said.out == "least-loaded\n"
    assert "it is tried until 1970-01-0" in said.err
    assert said.err.endswith(", then spread again\n")


def test_what_cannot_be_followed_lends_no_date_to_what_places(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who chose it, when, and for how long, is not true of the policy that goes on instead."""
    serve(broker, PolicyNode(policy="sticky", since=50.0, until=160.0, by="ann"))
    for words in (["policy"], ["policy", "show"]):
        assert run([*words, *ZK]) == 0
        said = capfd.readouterr()
        assert "chosen is sticky, which this leader cannot follow" in said.err
        assert not {"since", "tried"} & set((said.out + said.err).split())


def test_what_others_have_is_listed(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """With what to do about it; who asks to see it hears that, too."""
    other = ElsewhereLine(name="sticky", source="sticky 1", brokers=("b2", "b3"))
    serve(broker, PolicyNode(policy="least-loaded"), other)
    assert run(["policy", "list", *ZK]) == 0
    assert "sticky, of sticky 1, is on b2, b3, but not on b1, which leads" in capfd.readouterr().err
    assert run(["policy", "show", "sticky", *ZK]) == 125
    assert "no policy 'sticky' on the leader (b2, b3 have it)" in capfd.readouterr().err
