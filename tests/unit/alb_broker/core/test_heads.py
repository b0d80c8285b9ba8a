"""For whom room is to be made: a few heads at a time, all of them in turns."""

from __future__ import annotations

from tests.broker_parts import Desks, make_task

from alb_broker.core.heads import HEADS_MAX, Heads
from alb_core.shares import Share, SharesNode
from alb_core.spec import TaskSpec


def _waiting(users: int) -> Desks:
    """Let each of so many users have a task for which there is no room."""
    desks = Desks()
    for number in range(users):
        desks.state.queue.add(make_task(number, spec=TaskSpec(command="x"), user=f"user {number}"))
    desks.place()
    return desks


def test_all_are_looked_at_in_turns() -> None:
    """A few at a time, and from the first again behind the last."""
    heads = Heads(_waiting(HEADS_MAX + 3).state)
    looks = [[head.user for head in heads.take()] for _ in range(3)]
    assert [len(look) for look in looks] == [HEADS_MAX, 3, HEADS_MAX]
    assert len({*looks[0], *looks[1]}) == HEADS_MAX + 3
    assert looks[2] == looks[0]
    assert heads.rounds == 2


def test_who_has_all_that_he_may_have_is_left_out() -> None:
    """Room would not help him; and who is not offered yet is no head without room."""
    desks = _waiting(2)
    desks.state.shares.use(desks.state.shares.node.changed("user 0", Share(cpus_max=0.5)))
    desks.state.queue.add(make_task(9, spec=TaskSpec(command="x"), user="eve"))
    assert [head.user for head in Heads(desks.state).take()] == ["user 1"]


def test_for_whom_there_was_no_time_is_the_next() -> None:
    """If room would still help it, and before others: the turns go on behind it."""
    desks = _waiting(HEADS_MAX + 3)
    heads = Heads(desks.state)
    first = heads.take()
    heads.put_back(first[-3:])
    desks.state.shares.use(desks.state.shares.node.changed(first[-3].user, Share(cpus_max=0.5)))
    assert heads.take() == first[-2:]
    assert [head.user for head in heads.take()] == [f"user {HEADS_MAX + number}" for number in range(3)]


def test_who_has_enough_takes_nobody_s_turn() -> None:
    """However many they are: a look goes on until it has found as many as it may."""
    desks, node = _waiting(3 * HEADS_MAX), SharesNode()
    for number in range(2 * HEADS_MAX):
        node = node.changed(f"user {number}", Share(cpus_max=0.5))
    desks.state.shares.use(node)
    heads = Heads(desks.state)
    assert [head.user for head in heads.take()] == [f"user {2 * HEADS_MAX + n}" for n in range(HEADS_MAX)]
    assert heads.take() == []
    assert heads.rounds == 1
