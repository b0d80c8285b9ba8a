"""The mark in the table: written before somebody else's policy is asked, and read by whoever leads next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    CLAIMED_S,
    POLICIES,
    Desks,
    applied,
    claim,
    of_type,
    read,
    submit,
    to_client,
)

from alb_broker.core.ledger import Failure
from alb_broker.core.probation import DEATHS, DISTRUST_S, MARK_AGAIN_S, SOON_S
from alb_broker.policies import Candidate, Context, wishes
from alb_core import zk, znodes
from alb_core.choices import Choice, PolicyNode, UseNode
from alb_core.messages import Done, PoliciesPage, QueryPolicies, SetPolicy
from alb_core.spec import TaskSpec

LEFT_S = CLAIMED_S - 1000.0
#: Cluster time at which the leader before asked for the first time.
MINE = PolicyNode(policy="mine", by="ann", since=5.0)
ASKED = UseNode(policy="mine", epoch=1, since=LEFT_S)
CAME_BACK = msgspec.structs.replace(ASKED, answered=True)


class Policy:
    """Somebody else's, which counts its calls."""

    def __init__(self) -> None:
        self.asked = 0
        self.checked = 0

    def check(self, _parameters: Mapping[str, Any]) -> str | None:
        """Find nothing wrong."""
        self.checked += 1
        return None

    def make(self) -> Any:
        """Return it as it is installed."""

        @wishes(parameters={"depth": 1.0}, check=self.check)
        def choose(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
            """Take the first."""
            self.asked += 1
            return candidates[0]

        return choose


class Scene(Desks):
    """A leader of epoch 2 with one worker, which found these nodes."""

    def __init__(
        self,
        use: UseNode | bytes | None,
        node: PolicyNode = MINE,
        died_s: float = 500.0,
        **fields: Any,
    ) -> None:
        self.policy = Policy()
        heir = claim(2, floor_s=LEFT_S + died_s, **fields)
        super().__init__(claim=heir, policies={**POLICIES, "mine": self.policy.make()})
        self.policies.on_nodes(
            read(znodes.POLICY, node),
            None,
            read(znodes.POLICY_USE, use) if use is not None else None,
        )
        self.greet("ann")
        self.join("w1", cpus=100.0)

    def marks(self) -> list[UseNode]:
        """Return what was written into the mark since this was last asked."""
        found = [
            msgspec.json.decode(operation.data, type=UseNode)
            for operation in of_type(zk.SetData, self.written) + of_type(zk.Create, self.written)  # type: ignore[arg-type, operator]
            if operation.path == znodes.POLICY_USE
        ]
        self.written.clear()
        return found

    def choose(self, policy: str) -> None:
        """Let an operator choose it."""
        assert to_client(C1, self.client(SetPolicy(seq=1, policy=policy))) == []
        assert to_client(C1, self.commit()) == [Done(seq=1)]

    def why(self) -> str:
        """Return what people are told is wrong with the policy in force."""
        self.client(QueryPolicies(seq=2))
        (page,) = to_client(C1, self.commit())
        assert isinstance(page, PoliciesPage)
        return page.why

    @property
    def placed(self) -> int:
        """How many tasks have a worker."""
        return self.state.counters["tasks_placed"]


# --- before and after it is asked ---------------------------------------------------------------------------


def test_it_is_asked_when_the_table_says_so_and_not_before() -> None:
    """Whoever ends in its first call left a mark. Meanwhile the task waits: the default was not chosen."""
    scene = Scene(UseNode())
    assert scene.marks() == [], "nobody waits: an idle leader that dies says nothing of its policy"
    scene.client(submit(1))
    assert (scene.place(), scene.policy.asked) == (0, 0)
    scene.commit()
    mark = UseNode(policy="mine", epoch=2, since=scene.state.now())
    assert (scene.marks(), scene.policy.asked) == ([mark], 0)
    assert (scene.place(), scene.policy.asked) == (1, 1)
    scene.commit()
    assert scene.marks() == [msgspec.structs.replace(mark, answered=True)]


def test_a_reign_writes_two_marks_however_much_it_places() -> None:
    """Its cost is bounded; who hands over writes one more."""
    scene = Scene(UseNode())
    for number in range(1, 20):
        scene.run(number)
    assert [mark.answered for mark in scene.marks()] == [False, True]
    assert scene.placed >= 18
    scene.policies.leave()
    scene.commit()
    assert scene.marks() == [UseNode()]


def test_a_policy_of_alb_needs_no_mark() -> None:
    """It cannot hang: not one write, and it is asked at once."""
    scene = Scene(UseNode(), PolicyNode(policy="uniform", since=5.0))
    scene.client(submit(1))
    assert scene.place() == 1
    scene.policies.leave()
    scene.commit()
    assert scene.marks() == []


def test_one_that_raises_came_back() -> None:
    """A failure like another: the default stands in, and the mark says that the leader lives."""
    scene = Scene(UseNode())
    scene.state.placer.policies = {**POLICIES, "mine": lambda *_: 1 / 0}  # type: ignore[misc, dict-item]
    scene.run(1)
    scene.run(2)
    assert [mark.answered for mark in scene.marks()] == [False, True]
    assert scene.placed == 2


def test_a_choice_is_marked_anew_and_what_was_marked_before_counts_no_more() -> None:
    """A mark on its way lets nothing be asked that was chosen meanwhile."""
    scene = Scene(UseNode())
    scene.client(submit(1))
    scene.place()
    scene.client(SetPolicy(seq=1, policy="mine", parameters={"depth": 2.0}))
    scene.commit()
    assert (scene.state.placer.held, scene.policy.asked) == (True, 0)
    scene.turn()
    scene.turn()
    assert (scene.policy.asked, scene.placed) == (1, 1)
    assert [mark.answered for mark in scene.marks()] == [False, False, True]


def test_a_missing_node_is_made() -> None:
    """A cluster of an earlier version has none."""
    scene = Scene(None)
    scene.run(1)
    created = of_type(zk.Create, scene.written)  # type: ignore[arg-type]
    assert znodes.POLICY_USE in [operation.path for operation in created]
    scene.run(2)
    assert scene.policy.asked == 2


def test_an_unreadable_node_stops_nothing() -> None:
    """It is listed, and the next use begins it anew."""
    scene = Scene(b"lost")
    assert "begins it anew" in scene.state.table.set_aside[znodes.POLICY_USE]
    scene.run(1)
    scene.run(2)
    assert scene.policy.asked >= 1
    assert znodes.POLICY_USE not in scene.state.table.set_aside


def test_where_no_mark_can_be_written_the_default_places() -> None:
    """Somebody took the node away, or the right to write it: tasks go on; the mark is tried again later."""
    scene = Scene(UseNode())
    scene.client(submit(1))
    scene.place()
    ledger = scene.state.ledger
    batch = ledger.next_batch(scene.state.tokens.next(), scene.state.now())
    failures: list[Failure] = []
    while not failures:
        alone = any(getattr(each, "path", "") == znodes.POLICY_USE for each in batch.operations)
        verdict = zk.Refused(2, "NoNode") if alone else applied(batch, ledger.chain + 1)
        failures = ledger.on_verdict(batch.token, verdict)[1]
        if not failures:
            batch = ledger.next_batch(scene.state.tokens.next(), scene.state.now())
    scene.policies.on_nodes(read(znodes.POLICY, MINE), None, None)
    assert (scene.place(), scene.policy.asked) == (1, 0)
    assert "cannot be written down" in scene.why()
    scene.client(submit(2))
    scene.at(MARK_AGAIN_S + 10.0)
    scene.turn()
    assert (scene.place(), scene.policy.asked) == (1, 1)


# --- what an heir makes of it -------------------------------------------------------------------------------

CASES: dict[str, tuple[UseNode, float, dict[str, Any], str]] = {
    "killed long after": (CAME_BACK, 500.0, {}, ""),
    "killed soon after": (CAME_BACK, SOON_S - 1, {}, ""),
    "the second that was killed soon after": (
        msgspec.structs.replace(CAME_BACK, deaths=DEATHS - 1),
        SOON_S - 1,
        {},
        "2 leaders in a row ended soon after they first asked it",
    ),
    "the second that was killed, not soon after": (
        msgspec.structs.replace(CAME_BACK, deaths=DEATHS - 1),
        SOON_S + 1,
        {},
        "",
    ),
    "ended in its first call": (ASKED, 500.0, {}, "the leader before ended when it first asked it"),
    "hung": (CAME_BACK, 500.0, {"hung": True}, "the leader before hung, perhaps in it"),
    "hung in its first call": (ASKED, 5.0, {"hung": True}, "the leader before hung, perhaps in it"),
    "handed over": (UseNode(), 500.0, {}, ""),
    "another's mark": (msgspec.structs.replace(ASKED, policy="other"), 500.0, {}, ""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_heir_asks_or_does_not(case: tuple[UseNode, float, dict[str, Any], str]) -> None:
    """One that does not says so to people and to its heirs, and places by the default for an hour."""
    left, died_s, fields, why = case
    scene = Scene(left, died_s=died_s, **fields)
    scene.run(1)
    scene.turn()
    assert scene.placed == 1
    assert (scene.policy.asked, scene.policy.checked) == ((0, 0) if why else (1, 1))
    assert (why in scene.why()) if why else not scene.why()
    assert scene.state.placer.rests(scene.state.now()) is bool(why)


def test_an_heir_that_does_not_ask_tells_its_heirs() -> None:
    """It may die of other things within the hour, and the hour goes on under whoever leads then."""
    scene = Scene(ASKED)
    assert scene.state.placer.rests(scene.state.now())
    (node,) = scene.marks()
    assert (node.policy, node.rests_until) == ("mine", CLAIMED_S + DISTRUST_S)
    later = Scene(node, died_s=20.0).at(DISTRUST_S - 1)
    later.run(1)
    assert (later.policy.asked, later.placed) == (0, 1)
    assert "the leader before ended when it first asked it" in later.why()
    assert later.marks() == [], "that stands there already"
    later.at(DISTRUST_S + 1)
    later.run(2)
    later.turn()
    assert (later.policy.asked, later.placed) == (1, 2)
    assert [mark.answered for mark in later.marks()] == [False, True]
    past = Scene(msgspec.structs.replace(node, rests_until=CLAIMED_S - 1.0))
    past.run(1)
    past.turn()
    assert past.policy.asked == 1, "the hour is over"


def test_a_rest_outlives_a_hand_over() -> None:
    """That a leader hands over in order says nothing of a policy that it did not ask."""
    scene = Scene(ASKED)
    assert [mark.rests_until for mark in scene.marks()] == [CLAIMED_S + DISTRUST_S]
    scene.policies.leave()
    scene.commit()
    assert scene.marks() == []


def test_whoever_chooses_it_again_knows_better() -> None:
    """The same, or after another one: it is asked, also by the next leader."""
    for choices in (("mine",), ("uniform", "mine")):
        scene = Scene(ASKED)
        scene.marks()
        for policy in choices:
            scene.choose(policy)
        assert scene.marks() == [UseNode()]
        scene.run(1)
        scene.turn()
        assert scene.policy.asked == 1
        assert "stands in" not in scene.why()
        assert [mark.answered for mark in scene.marks()] == [False, True]


def test_deaths_are_counted_from_reign_to_reign() -> None:
    """A mark carries those before it; a choice by somebody begins anew."""
    scene = Scene(CAME_BACK, died_s=1.0)
    scene.run(1)
    assert [mark.deaths for mark in scene.marks()] == [1]
    scene.choose("uniform")
    scene.choose("mine")
    scene.run(2)
    assert [mark.deaths for mark in scene.marks()] == [0]


def test_an_heir_that_never_asked_counts_no_death_twice() -> None:
    """What it found is not its own."""
    first = Scene(CAME_BACK, died_s=1.0)
    first.commit()
    assert first.marks() == []
    second = Scene(CAME_BACK, died_s=2.0)
    second.run(1)
    second.turn()
    assert second.policy.asked == 1


def test_a_choice_that_was_not_there_before_is_not_doubted() -> None:
    """The leader before cannot have ended in that."""
    scene = Scene(ASKED, PolicyNode())
    scene.choose("mine")
    scene.run(1)
    scene.turn()
    assert scene.policy.asked == 1


def test_its_use_is_a_choice_of_policy_like_any_other() -> None:
    """What the mark names is the name of the policy alone: parameters do not end anybody."""
    scene = Scene(ASKED, PolicyNode(policy="mine", parameters={"depth": 3.0}, since=5.0))
    scene.run(1)
    assert (scene.policy.asked, scene.policy.checked) == (0, 0)
    assert scene.state.placer.choice == Choice(policy="mine", parameters={"depth": 3.0})
