"""What the nodes of all brokers say together."""

from __future__ import annotations

import msgspec
from tests.broker_parts import broker_node

from alb_broker.core.members import Members


def test_a_broker_without_a_depot_is_a_member_all_the_same() -> None:
    """It takes requests and has policies; among the depots, and their keys, it is left out."""
    own = msgspec.structs.replace(broker_node("b1"), policies={"uniform": "alb 1"})
    other = msgspec.structs.replace(broker_node("b2"), depot="http://b2:1", depot_key="two")
    assert Members.of(own, other) == Members(
        endpoints=(own.clients, other.clients),
        policies={"b1": {"uniform": "alb 1"}, "b2": {}},
        depots=("http://b2:1",),
        depot_keys={"http://b2:1": "two"},
    )
