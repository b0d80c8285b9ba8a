"""The choice of policy: asked for, tried, taken back, written by hand, and impossible to follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.broker_parts import C1, POLICIES, Desks, claim, notes, of_type, read, submit, task_id, to_client

from alb_broker.core.members import Members
from alb_broker.core.placement import Trouble
from alb_broker.policies import Candidate, Context
from alb_core import zk, znodes
from alb_core.choices import CHANGES_KEPT, TRY_S_MAX, Change, Choice, HistoryNode, PolicyNode
from alb_core.messages import (
    ClusterPage,
    Done,
    ElsewhereLine,
    Error,
    Message,
    PoliciesPage,
    QueryCluster,
    QueryPolicies,
    QueryTask,
    SetPolicy,
)
from alb_core.spec import TaskSpec
from alb_core.vectors import Vector

LEAST = Choice()
UNIFORM = Choice(policy="uniform")
WEIGHTED = Choice(policy="weighted", parameters={"cpu": 1.0})


def desks(
    node: PolicyNode | bytes | None = None, history: HistoryNode | bytes | None = None, **fields: Any
) -> Desks:
    """Return a leader with a client, which read these nodes; keywords are as for `make_state`."""
    each = Desks(**fields)
    each.greet("ann")
    take(each, node if node is not None else PolicyNode(), history)
    each.state.take_out()
    return each


def take(each: Desks, node: Any, history: Any = None) -> bool:
    """Let the leader read the nodes."""
    return each.policies.on_nodes(
        read(znodes.POLICY, node) if node is not None else None,
        read(znodes.POLICY_HISTORY, history if history is not None else HistoryNode()),
    )


def ask(each: Desks, question: Message) -> Any:
    """Return the one answer to a question."""
    assert to_client(C1, each.client(question)) == [], "said before the commit"
    (answer,) = to_client(C1, each.commit())
    return answer


def choose(each: Desks, choice: Choice, **fields: Any) -> Any:
    """Ask for a choice; returns the answer."""
    return ask(each, SetPolicy(seq=1, policy=choice.policy, parameters=choice.parameters, **fields))


def page(each: Desks) -> PoliciesPage:
    """Return what people see."""
    found = ask(each, QueryPolicies(seq=2))
    assert isinstance(found, PoliciesPage)
    return found


def written(each: Desks) -> tuple[PolicyNode, HistoryNode]:
    """Return what was written last."""
    data = {operation.path: operation.data for operation in of_type(zk.SetData, each.written)}  # type: ignore[arg-type]
    return (
        msgspec.json.decode(data[znodes.POLICY], type=PolicyNode),
        msgspec.json.decode(data[znodes.POLICY_HISTORY], type=HistoryNode),
    )


# --- asked for ----------------------------------------------------------------------------------------------


def test_a_choice_is_in_force_at_once_and_answered_from_the_table() -> None:
    """With who made it, when, and what was before; the history has it, too."""
    each = desks().at(5.0)
    assert choose(each, WEIGHTED) == Done(seq=1)
    assert each.state.placer.choice == WEIGHTED
    node, history = written(each)
    now = each.state.now()
    assert node == PolicyNode(policy="weighted", parameters={"cpu": 1.0}, by="ann", since=now, former=LEAST)
    assert history.changes == (
        Change(policy="weighted", parameters={"cpu": 1.0}, by="ann", at=now, how="set"),
    )
    found = page(each)
    assert (found.node, found.in_force, found.changes, found.why) == (node, WEIGHTED, history.changes, "")


def test_what_is_in_force_already_is_not_written_again() -> None:
    """A request that is sent twice is one change."""
    each = desks()
    choose(each, UNIFORM)
    before = len(each.written)
    assert choose(each, UNIFORM) == Done(seq=1)
    assert len(each.written) == before
    assert len(page(each).changes) == 1


@pytest.mark.parametrize(
    ("wish", "fields", "part"),
    [
        (
            Choice(policy="fanciful"),
            {},
            "no policy 'fanciful'; known: least-loaded, optimize, uniform, weighted",
        ),
        (Choice(policy="a b"), {}, "no name of a policy"),
        (Choice(policy="weighted", parameters={"cpu": -1.0}), {}, "not negative"),
        (Choice(policy="uniform", parameters={"x": 1.0}), {}, "no parameter 'x'"),
        (UNIFORM, {"try_s": -1.0}, "a try of -1 s"),
        (UNIFORM, {"try_s": TRY_S_MAX + 1}, "a week at most"),
    ],
)
def test_what_cannot_be_is_refused(wish: Choice, fields: dict[str, Any], part: str) -> None:
    """With the reason; nothing is written then."""
    each = desks()
    error = choose(each, wish, **fields)
    assert isinstance(error, Error)
    assert (error.code, part in error.why) == ("invalid", True), error.why
    assert (each.written, each.state.placer.choice) == ([], LEAST)


def test_the_history_is_bounded() -> None:
    """The newest stay."""
    each = desks()
    for number in range(CHANGES_KEPT + 3):
        choose(each, UNIFORM if number % 2 else WEIGHTED)
    changes = page(each).changes
    assert (len(changes), changes[-1].plain()) == (CHANGES_KEPT, WEIGHTED)


def test_a_rollback_goes_to_the_one_before_and_back() -> None:
    """As `cd -` does."""
    each = desks()
    choose(each, UNIFORM)
    choose(each, WEIGHTED)
    for expected in (UNIFORM, WEIGHTED):
        former = page(each).node.former
        assert former == expected
        choose(each, expected, rollback=True)
        assert each.state.placer.choice == expected
    assert [change.how for change in page(each).changes] == ["set", "set", "rollback", "rollback"]


# --- a try --------------------------------------------------------------------------------------------------


def test_a_try_ends_by_itself() -> None:
    """The former one is in force again, as the history tells; a rollback that comes late finds no other."""
    each = desks().at(1.0)
    choose(each, UNIFORM, try_s=60.0)
    node, _ = written(each)
    assert (node.until, node.former) == (each.state.now() + 60.0, LEAST)
    each.at(60.0).policies.tick()
    assert each.state.placer.choice == UNIFORM
    each.at(61.0).policies.tick()
    each.commit()
    assert each.state.placer.choice == LEAST
    node, history = written(each)
    assert (node.until, node.former) == (0.0, None)
    assert [change.how for change in history.changes] == ["try", "ended"]
    each.at(70.0).policies.tick()
    assert each.state.ledger.pending == 0


def test_a_try_ends_under_another_leader() -> None:
    """Its end stands in the node, as does what comes back."""
    now = Desks().state.now()
    each = desks(PolicyNode(policy="uniform", by="bob", since=now - 70, former=WEIGHTED, until=now - 10))
    assert each.state.placer.choice == UNIFORM
    each.policies.tick()
    each.commit()
    assert each.state.placer.choice == WEIGHTED
    assert written(each)[1].changes[-1] == Change(
        policy="weighted", parameters={"cpu": 1.0}, by="bob", at=now, how="ended"
    )


def test_what_is_tried_can_be_kept_or_replaced() -> None:
    """Set, it stays; a try of another one keeps what comes back in the end."""
    each = desks()
    choose(each, UNIFORM, try_s=60.0)
    choose(each, WEIGHTED, try_s=60.0)
    assert page(each).node.former == LEAST
    choose(each, WEIGHTED)
    each.at(1000.0).policies.tick()
    assert (each.state.placer.choice, page(each).node.until) == (WEIGHTED, 0.0)
    assert page(each).node.former == LEAST


def test_a_try_whose_former_one_is_gone_ends_with_the_default() -> None:
    """Nobody installed it on this leader."""
    now = Desks().state.now()
    gone = Choice(policy="gone")
    each = desks(PolicyNode(policy="uniform", since=now - 70, former=gone, until=now - 10))
    each.policies.tick()
    assert each.state.placer.choice == LEAST


# --- the table ----------------------------------------------------------------------------------------------


def test_what_a_new_leader_reads_is_in_force() -> None:
    """And nothing is written for it."""
    each = desks(PolicyNode(policy="weighted", parameters={"cpu": 1.0}, by="ann", since=5.0, former=UNIFORM))
    assert each.state.placer.choice == WEIGHTED
    assert each.state.ledger.pending == 0
    assert page(each).node.former == UNIFORM


def test_what_is_written_by_hand_is_completed() -> None:
    """An operator with zkCli need not say who, when, and what was before."""
    each = desks().at(3.0)
    assert take(each, b'{"policy": "uniform"}')
    each.commit()
    node, history = written(each)
    assert node == PolicyNode(policy="uniform", by="zkCli", since=each.state.now(), former=LEAST)
    assert [(change.by, change.how) for change in history.changes] == [("zkCli", "set")]
    assert take(each, node, history)
    assert each.state.ledger.pending == 0


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"uniform", "policy_unreadable"),
        (b'{"polcy": "uniform"}', "policy_unreadable"),
        (b'{"policy": "uniform", "parameters": [1]}', "policy_unreadable"),
        (b'{"policy": "fanciful"}', "policy_unknown"),
        (b'{"policy": "weighted", "parameters": {"cpus": 1}}', "policy_unknown"),
    ],
)
def test_what_cannot_be_followed_changes_nothing(data: bytes, event: str) -> None:
    """What is in force goes on, the operator is told, and a choice that can be followed mends it."""
    each = desks()
    choose(each, UNIFORM)
    assert take(each, data)
    (note,) = notes(each.state.take_out(), event)
    assert note["keeps"] == "uniform"
    assert "uniform goes on" in each.state.table.set_aside[znodes.POLICY]
    found = page(each)
    assert (found.in_force, "uniform goes on" in found.why) == (UNIFORM, True)
    assert "uniform goes on" in ask(each, QueryCluster(seq=3)).policy_trouble
    assert choose(each, UNIFORM) == Done(seq=1)
    assert each.state.table.set_aside == {}
    assert page(each).why == ""


def test_what_cannot_be_followed_never_comes_back() -> None:
    """A rollback, and the end of a try, go to what was in force then; what was overwritten is not told of."""
    each = desks()
    choose(each, UNIFORM)
    take(each, b'{"policy": "fanciful"}')
    choose(each, WEIGHTED, try_s=60.0)
    assert page(each).node.former == UNIFORM
    take(each, b'{"policy": "fanciful"}')
    choose(each, WEIGHTED)
    assert page(each).node.former is None
    for data in (b'{"policy": "fanciful"}', b"garbage"):
        take(each, data)
    found = page(each)
    assert (found.node.plain(), found.in_force) == (WEIGHTED, WEIGHTED)


def foreign(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Take the first: as far as anybody knows."""
    return candidates[0]


def test_the_heir_of_a_leader_that_hung_does_not_ask_its_policy() -> None:
    """What blocks in C could hang them all. Whoever chooses it again has it at once."""
    mine = {**POLICIES, "mine": foreign}
    for heir, rests in ((claim(hung=True), True), (claim(), False)):
        each = desks(PolicyNode(policy="mine", by="ann", since=5.0), claim=heir, policies=mine)
        assert each.state.placer.rests(each.state.now()) is rests
        assert ("the leader before hung, perhaps in it" in page(each).why) is rests
    each = desks(PolicyNode(policy="mine", by="ann", since=5.0), claim=claim(hung=True), policies=mine)
    choose(each, Choice(policy="mine"))
    assert not each.state.placer.rests(each.state.now())


def test_an_heir_trusts_what_is_chosen_under_itself() -> None:
    """The leader before cannot have hung in that."""
    each = desks(claim=claim(hung=True), policies={**POLICIES, "mine": foreign})
    choose(each, Choice(policy="mine"))
    assert not each.state.placer.rests(each.state.now())


def test_a_leader_that_lacks_the_policy_places_by_the_default() -> None:
    """What was chosen stays in the table: the next leader may have it."""
    each = desks(PolicyNode(policy="mine", by="ann", since=5.0))
    found = page(each)
    assert (found.node.policy, found.in_force) == ("mine", LEAST)
    assert "no policy 'mine'" in found.why
    assert each.state.ledger.pending == 0


def test_missing_and_unreadable_histories_begin_anew() -> None:
    """They are for people, and stop nothing."""
    each = desks()
    assert each.policies.on_nodes(read(znodes.POLICY, PolicyNode()), None)
    choose(each, UNIFORM)
    created = of_type(zk.Create, each.written)  # type: ignore[arg-type]
    assert [operation.path for operation in created] == [znodes.POLICY_HISTORY]
    take(each, PolicyNode(policy="uniform", since=1.0), b"lost")
    assert znodes.POLICY_HISTORY in each.state.table.set_aside
    choose(each, WEIGHTED)
    assert written(each)[1].changes[-1].policy == "weighted"


def test_a_missing_node_is_the_default() -> None:
    """Somebody deleted it: the next choice creates it."""
    each = desks(PolicyNode(policy="uniform", since=1.0))
    assert take(each, None)
    each.commit()
    assert each.state.placer.choice == LEAST


def test_an_own_change_on_its_way_is_not_undone() -> None:
    """What was read before it is older: it is read again."""
    each = desks()
    each.client(SetPolicy(seq=1, policy="uniform"))
    assert not take(each, PolicyNode())
    each.commit()
    assert each.state.placer.choice == UNIFORM


# --- what people see ----------------------------------------------------------------------------------------


def test_a_policy_that_fails_is_seen() -> None:
    """What it raised, how often, and that another stands in: on the page, and in the state of the cluster."""
    each = desks()
    choose(each, UNIFORM)
    each.state.placer.troubles["uniform"] = Trouble(3, "KeyError: 'x'", 7.0)
    each.policies.times = {"uniform": (4, 0.001)}
    found = page(each)
    (line,) = (line for line in found.policies if line.name == "uniform")
    assert (line.failures, line.failed, line.us_per_call) == (3, "KeyError: 'x'", 250.0)
    assert found.why == "uniform failed 3 times under this leader, last with KeyError: 'x'"
    cluster = ask(each, QueryCluster(seq=3))
    assert isinstance(cluster, ClusterPage)
    assert cluster.policy_trouble == found.why


def test_a_policy_that_lets_tasks_wait_is_seen_at_once() -> None:
    """In the state of the cluster and of the task: else nothing tells why free workers do nothing."""
    each = desks()
    each.state.placer.policies = {**POLICIES, "uniform": lambda *_: None}  # type: ignore[misc]
    choose(each, UNIFORM)
    each.join("w1", cpus=4.0)
    each.client(submit(1), submit(2))
    each.turn()  # the table says first that a policy of somebody else's is about to be asked
    each.turn()
    found = page(each)
    assert found.why == (
        "uniform lets one task wait though there is room, for 0 s now; after 30 s that counts as a failure, "
        "and least-loaded places"
    )
    waits = [ask(each, QueryTask(seq=4, id=task_id(number))).why for number in (1, 2)]
    assert waits[0].startswith("there is room, and policy uniform wants it to wait")
    assert waits[1].startswith("there is room, and policy uniform wants the first of its likes to wait")


def test_one_weight_alone_means_the_rest_by_the_other() -> None:
    """And so it is written down; a node by hand that says no more means the same."""
    each = desks()
    choose(each, Choice(policy="optimize", parameters={"time": 0.3}))
    assert each.state.placer.choice == Choice(policy="optimize", parameters={"time": 0.3, "resources": 0.7})
    take(each, PolicyNode(policy="optimize", parameters={"time": 0.2}))
    assert each.state.placer.vector == Vector(time=0.2, resources=0.8)


def test_brokers_that_lack_a_policy_are_named() -> None:
    """So that nobody is surprised at the next failover."""
    each = desks()
    policies = {
        "b1": dict.fromkeys(("least-loaded", "optimize", "uniform", "weighted"), "alb 1"),
        "b2": {"least-loaded": "alb 1", "optimize": "alb 1", "uniform": "alb 1"},
    }
    each.state.members = Members(policies=policies)
    missing = {line.name: line.missing_on for line in page(each).policies}
    assert missing == {"least-loaded": (), "optimize": (), "uniform": (), "weighted": ("b2",)}
    weighted = next(line for line in page(each).policies if line.name == "weighted")
    assert (weighted.parameters, weighted.candidates) == ({"cpu": 0.5, "memory": 0.3, "network": 0.2}, 4)
    assert weighted.summary.startswith("The least used worker")


def test_what_others_have_and_the_leader_lacks_is_told() -> None:
    """While brokers are started again one by one, the leader last, a new policy is on the others alone."""
    each = desks()
    have = dict.fromkeys(each.state.placer.policies, "alb 1")
    more = {**have, "sticky": "sticky 1"}
    each.state.members = Members(policies={"b1": have, "b3": more, "b2": more})
    found = page(each)
    assert found.elsewhere == (ElsewhereLine(name="sticky", source="sticky 1", brokers=("b2", "b3")),)
    assert "sticky" not in {line.name for line in found.policies}
    error = choose(each, Choice(policy="sticky"))
    assert error.why.endswith(f"(on broker {found.leader}, which leads; on b2, b3 it is)"), error.why
    assert choose(each, Choice(policy="nowhere")).why.endswith(f"(on broker {found.leader})")
