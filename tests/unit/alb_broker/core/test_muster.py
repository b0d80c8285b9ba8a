"""After a takeover nobody gives anything up for want of room before the workers are back."""

from __future__ import annotations

import pytest
from tests.broker_parts import (
    C2,
    W1,
    W2,
    Desks,
    attempt,
    make_attempt,
    make_task,
    submit,
    to_worker,
    worker_node,
)

from alb_broker.core.actions import Action
from alb_broker.core.muster import Muster
from alb_core import limits
from alb_core.messages import Demote, Kill, Run
from alb_core.resources import Request
from alb_core.spec import TaskSpec

LOOP = TaskSpec(command="while :; do :; done", preemptible=True, request=Request(1.0, memory_bytes=1 << 30))
SHORT = TaskSpec(command="echo", time_limit_s=10.0)
LARGE = TaskSpec(command="x", priority=1, request=Request(1.0, memory_bytes=1 << 30))


class Counted:
    """Counts its ticks."""

    ticks = 0

    def tick(self) -> None:
        """Count."""
        self.ticks += 1


class Heir(Desks):
    """A leader that took over: ann has run on w1 for long; w2, which is empty, is to come back."""

    def __init__(self) -> None:
        super().__init__()
        self.state.table.add(make_task(1, make_attempt(), spec=LOOP))
        self.workers.adopt_table()
        self.greet("ann", "bob")
        self.part = Counted()
        self.muster = Muster(self.state, self.workers, self.part, self.preemptions, self.demotions)

    def know_nodes(self) -> None:
        """Read the workers' nodes: both have one."""
        self.workers.on_reconnected()
        self.workers.tick()
        self.workers._read(("w1", "w2"))
        self.answer_reads(self.state.take_out(), {name: worker_node(name) for name in ("w1", "w2")})
        self.workers.nodes_known = True

    def wait_until(self, at: float) -> list[Action]:
        """Let time pass at the worker desk, then at the muster; place, and commit."""
        self.at(at)
        self.workers.tick()
        self.muster.tick()
        return self.turn()


def test_nothing_is_done_before_the_nodes_are_known() -> None:
    """Nobody knows yet who is expected."""
    heir = Heir()
    heir.join("w1", attempt(1))
    for tenth in range(10):
        heir.wait_until(tenth / 10)
    assert heir.part.ticks == 0


@pytest.mark.parametrize("spec", [SHORT, LARGE])
def test_who_waits_has_the_room_of_who_is_not_back_yet(spec: TaskSpec) -> None:
    """No processors are lent and no attempt is ended for a task that fits on the worker that comes last."""
    heir = Heir()
    heir.know_nodes()
    heir.join("w1", attempt(1))
    heir.client(submit(2, spec), peer=C2)
    told = heir.turn() + heir.wait_until(0.2) + heir.wait_until(0.4) + heir.join("w2", peer=W2)
    told += heir.wait_until(0.6) + heir.wait_until(0.8)
    assert [message for message in to_worker(W1, told) if isinstance(message, Demote | Kill)] == []
    assert [message.attempt for message in to_worker(W2, told) if isinstance(message, Run)] == [attempt(2)]


@pytest.mark.parametrize(("spec", "order"), [(SHORT, Demote), (LARGE, Kill)])
def test_who_is_given_up_is_not_waited_for(spec: TaskSpec, order: type) -> None:
    """Its session lives and it never registers: once it is lost, others act as ever."""
    heir = Heir()
    heir.know_nodes()
    heir.join("w1", attempt(1))
    heir.client(submit(2, spec), peer=C2)
    heir.turn()
    assert not any(isinstance(each, order) for each in to_worker(W1, heir.wait_until(1.0)))
    told: list[Action] = []
    for at in (limits.LOST_WITH_SESSION_S + 0.1, limits.LOST_WITH_SESSION_S + 0.3):
        heir.state.workers.by_name["w1"].heard = at
        told += heir.wait_until(at)
    assert any(isinstance(each, order) for each in to_worker(W1, told))


def test_who_comes_later_is_not_waited_for() -> None:
    """A worker that starts in the midst of a reign has a node before it registers."""
    heir = Heir()
    heir.know_nodes()
    heir.join("w1", attempt(1))
    heir.join("w2", peer=W2)
    heir.wait_until(0.2)
    heir.workers._read(("w3",))
    heir.answer_reads(heir.state.take_out(), {"w3": worker_node("w3")})
    heir.wait_until(0.4)
    assert heir.part.ticks == 1


def test_who_starts_again_and_again_is_not_waited_for() -> None:
    """Its next incarnation has a node, too, and may never register: the first is lost, so all are back."""
    heir = Heir()
    heir.know_nodes()
    heir.join("w1", attempt(1))
    heir.wait_until(0.2)
    heir.workers._read(("w2",))
    heir.answer_reads(heir.state.take_out(), {"w2": worker_node("w2", life=2)})
    heir.wait_until(0.4)
    heir.wait_until(0.6)
    assert heir.part.ticks == 1
