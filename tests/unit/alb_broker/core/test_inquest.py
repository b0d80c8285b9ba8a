"""Whether another broker's process is dead: what proves it, and what does not."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import broker_node, notes, of_type

from alb_broker.core.actions import Action, Exit, Probe
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.inquest import Finding, Inquest, give_way
from alb_broker.core.state import Tokens
from alb_core import limits
from alb_core.znodes import BrokerNode

B2 = broker_node("b2")
GAP = limits.DEPOSE_PROBE_GAP_S


def at_address(clients: str, host: str = "") -> BrokerNode:
    """Return a broker that listens there."""
    return msgspec.structs.replace(B2, clients=clients, host=host)


def inquest(node: BrokerNode | None = None) -> Inquest:
    """Return that of b1."""
    return Inquest(node or broker_node("b1"), Tokens())


def token(actions: list[Action]) -> int:
    """Return the token of the one probe."""
    (probe,) = of_type(Probe, actions)
    return probe.token


def test_two_refusals_some_time_apart_prove_a_death() -> None:
    """The second probe leaves when the gap is over, not before."""
    each = inquest()
    first = token(each.begin(B2))
    assert each.on_probe(first, ProbeVerdict.REFUSED, 1.0) is Finding.PENDING
    assert each.tick(1.0 + GAP / 2) == []
    (second,) = of_type(Probe, each.tick(1.0 + GAP))
    assert second.endpoint == B2.clients
    assert each.tick(9.0) == []
    assert each.on_probe(second.token, ProbeVerdict.REFUSED, 1.3) is Finding.DEAD


@pytest.mark.parametrize("verdict", [ProbeVerdict.OPEN, ProbeVerdict.SILENT])
def test_anything_else_proves_nothing(verdict: ProbeVerdict) -> None:
    """Nor does one refusal before it."""
    each = inquest()
    each.on_probe(token(each.begin(B2)), ProbeVerdict.REFUSED, 1.0)
    assert each.on_probe(token(each.tick(1.0 + GAP)), verdict, 1.3) is Finding.UNPROVED


def test_answers_to_others_are_left_alone() -> None:
    """Those of somebody else's probes, and late ones about who is asked about no more."""
    each = inquest()
    late = token(each.begin(B2))
    assert each.on_probe(99, ProbeVerdict.REFUSED, 1.0) is Finding.PENDING
    each.begin(broker_node("b3"))
    assert each.on_probe(late, ProbeVerdict.OPEN, 1.0) is Finding.PENDING
    each.drop()
    assert each.on_probe(0, ProbeVerdict.OPEN, 1.0) is Finding.PENDING
    assert each.tick(99.0) == []


@pytest.mark.parametrize(
    ("clients", "host", "finding"),
    [
        ("tcp://127.0.0.1:7000", "here", Finding.PENDING),
        ("tcp://127.0.0.1:7000", "there", Finding.UNPROVED),
        ("tcp://[::1]:7000", "there", Finding.UNPROVED),
        ("tcp://localhost:7000", "there", Finding.UNPROVED),
        ("tcp://10.0.0.7:7000", "there", Finding.PENDING),
    ],
)
def test_our_own_loopback_refuses_for_nobody_elsewhere(clients: str, host: str, finding: Finding) -> None:
    """Brokers that listen on 127.0.0.1 of two hosts are a mistake, but no proof that one of them is dead."""
    each = inquest(at_address("tcp://127.0.0.1:9000", "here"))
    probe = token(each.begin(at_address(clients, host)))
    assert each.on_probe(probe, ProbeVerdict.REFUSED, 1.0) is finding


@pytest.mark.parametrize(
    ("clients", "host", "ours"),
    [
        ("tcp://10.0.0.7:7001", "here", True),
        ("tcp://10.0.0.7:7001", "renamed", True),
        ("tcp://10.0.0.7:7002", "here", False),
    ],
)
def test_who_had_our_address_has_ended(clients: str, host: str, ours: bool) -> None:  # noqa: FBT001 (a table)
    """One address has one listener, whatever its host was called."""
    assert inquest(at_address("tcp://10.0.0.7:7001", "here")).inherits(at_address(clients, host)) is ours


def test_the_loopback_of_another_host_is_not_ours() -> None:
    """The same words, another address."""
    each = inquest(at_address("tcp://127.0.0.1:7001", "here"))
    assert each.inherits(at_address("tcp://127.0.0.1:7001", "here"))
    assert not each.inherits(at_address("tcp://127.0.0.1:7001", "there"))


def test_who_gives_way_says_to_whom_and_what_to_do() -> None:
    """The line in the log and the reason of the exit name the holder's host and process."""
    holder = msgspec.structs.replace(B2, host="rack7", pid=4711)
    actions = give_way(holder, "it leads, and answers")
    (leaving,) = of_type(Exit, actions)
    assert leaving.code == 1
    assert leaving.why == (
        "the name b2 is held by a living broker on rack7 (pid 4711): it leads, and answers; "
        "end that one first, or give each broker its own --name"
    )
    assert notes(actions, "name_held")[0] == {"why": leaving.why, "holder": "b2-1"}
