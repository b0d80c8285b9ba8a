"""The choice of policy: what operators ask, what ``/config/policy`` says, and how a try ends.

A choice is in force from the moment that the leader hears of it; it is answered when it is in the table,
where every later leader reads it before it places anything. The node says who chose it, when, and what comes
back: so a rollback, and the end of a try, need nobody's memory. A choice that cannot be followed here (a
policy that is not installed, parameters that it refuses) stays in the table and is said to everybody who
looks; the one before goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from alb_broker.core.actions import Action, PolicyMarked
from alb_broker.core.clients import Client
from alb_broker.core.declines import DECLINES_S
from alb_broker.core.probation import Probation
from alb_broker.core.setting import Setting, read_form
from alb_broker.core.state import State
from alb_broker.policies import completed, summary, wishes_of
from alb_core import zk, znodes
from alb_core.choices import (
    CHANGES_KEPT,
    Change,
    Choice,
    HistoryNode,
    PolicyNode,
    check_choice,
    check_try,
)
from alb_core.messages import (
    Done,
    ElsewhereLine,
    Message,
    PoliciesPage,
    PolicyLine,
    QueryPolicies,
    SetPolicy,
)
from alb_core.notes import Level

BY_HAND: Final = "zkCli"


class PolicyDesk:
    """Handles the choice of policy.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self.times: Mapping[str, tuple[int, float]] = {}
        #: How often this process asked each policy, and how many seconds that took: as its shell measures.
        self._state: Final = state
        self._setting: Final = Setting(state, znodes.POLICY)
        self._history: Final = Setting(state, znodes.POLICY_HISTORY)
        self._node = (
            PolicyNode()
        )  #: As the table has it: what was chosen, though it may not be in force here.
        self._changes: tuple[Change, ...] = ()  #: What was chosen, the newest last.
        self._probation: Final = Probation(state)
        self._heir = True  #: Nothing was chosen yet in this reign, nor read.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {SetPolicy: self._on_set, QueryPolicies: self._on_query}

    # --- what operators ask ---------------------------------------------------------------------------------

    def _on_set(self, client: Client, request: SetPolicy) -> None:
        state = self._state
        wish = Choice(policy=request.policy, parameters=request.parameters)
        wrong = check_choice(wish) or check_try(request.try_s)
        if wrong is None and (refused := state.placer.refusal(wish)) is not None:
            wrong = f"{refused} (on broker {state.node.broker}{self._to_find(wish.policy)})"
        if wrong is not None:
            self._setting.refuse(client, request.seq, wrong)
            return
        wish = Choice(
            policy=wish.policy, parameters=completed(state.placer.policies[wish.policy], wish.parameters)
        )
        done = state.client(client.peer, Done(seq=request.seq))
        how = "rollback" if request.rollback else "try" if request.try_s else "set"
        if self._setting.readable and wish == self._node.plain() and not (request.try_s or self._node.until):
            self._trust()
            state.ledger.say(done)
            return
        until = state.now() + request.try_s if request.try_s else 0.0
        self._choose(Change(**_fields(wish), by=client.user, at=state.now(), how=how), until, done)

    def _trust(self) -> None:
        """What is in force is chosen again: it may rest, and whoever says so knows better."""
        placer = self._state.placer
        rested = placer.rests(self._state.now())
        if not placer.held:
            placer.trust()
        if rested:
            self._probation.begin(None, found=False)

    def _choose(self, change: Change, until: float, *releases: Action) -> None:
        """Let a choice be in force, and write it down with what comes back after it."""
        before = self._node
        former: Choice | None = self._state.placer.choice  # the node may be one that cannot be followed
        if before.until and before.former not in (None, change.plain()):
            former = before.former
        if change.how == "ended" or former == change.plain():
            former = None  # who rolls a try back a moment after its end must not choose it for good
        self._node = PolicyNode(**_fields(change), by=change.by, since=change.at, former=former, until=until)
        self._adopt(change)
        self._changes = (*self._changes, change)[-CHANGES_KEPT:]
        history = HistoryNode(changes=self._changes)
        self._setting.write(self._node, releases, self._history.operation(history))

    def _adopt(self, change: Change) -> None:
        """Let a choice be in force that is not refused."""
        placer, state = self._state.placer, self._state
        before = placer.choice
        if change.plain() != before:
            placer.use(change)
            state.figures.begin(change.policy, state.now())
            by = change.by or BY_HAND
            state.note("policy_changed", policy=change.words(), before=before.words(), by=by, how=change.how)
            found = self._heir and change.how == "read"
            self._probation.begin(self._probation.doubt(change.policy) if found else None, found=found)
        self._heir = False

    # --- before somebody else's is asked --------------------------------------------------------------------

    def end_pass(self) -> None:
        """A placement pass is over: see whether the policy in force wants to be asked, or was."""
        self._probation.end_pass()

    def on_marked(self, action: PolicyMarked) -> None:
        """The table says that the policy in force is about to be asked."""
        self._probation.on_marked(action)

    def leave(self) -> None:
        """The leader hands over."""
        self._probation.leave()

    def tick(self) -> None:
        """End a try whose time is over: also one that began under another leader."""
        node, state = self._node, self._state
        if not node.until or state.now() < node.until or state.ledger.holds(znodes.POLICY):
            return
        former = node.former or Choice()
        if (refused := state.placer.refusal(former)) is not None:
            state.note(
                "policy_unknown", Level.ERROR, policy=former.words(), keeps=Choice().words(), why=refused
            )
            former = Choice()
        self._choose(Change(**_fields(former), by=node.by, at=state.now(), how="ended"), 0.0)

    # --- what the table says --------------------------------------------------------------------------------

    def on_nodes(
        self, node: zk.NodeRead | None, history: zk.NodeRead | None, use: zk.NodeRead | None = None
    ) -> bool:
        """Take what ``/config/policy``, its history and its use hold; without the first, the default places.

        Returns:
            Whether it was taken; while an own change is on its way to the nodes, it is not.
        """
        self._probation.on_node(use)
        if not self._setting.meets(node):
            return False
        self._history.meets(history)
        self._read_history(history)
        try:
            found = read_form(node, PolicyNode, check_choice)
        except znodes.UnreadableNode as error:
            if self._node.plain() != self._state.placer.choice:  # could not be followed, and is gone now
                self._node = PolicyNode(**_fields(self._state.placer.choice))
            self._keep("policy_unreadable", error.why)
            return True
        self._follow(found)
        return True

    def _follow(self, found: PolicyNode) -> None:
        """Do what a node says that can be read."""
        placer, state = self._state.placer, self._state
        doubtful = self._heir and self._probation.doubt(found.policy) is not None
        if (refused := placer.refusal(found, asking=not doubtful)) is not None:
            self._node = found
            self._keep("policy_unknown", refused, policy=found.words())
            return
        first = self._setting.understood()
        if found.since or first:
            self._node = found
            self._adopt(Change(**_fields(found), by=found.by, how="read"))
        elif found.plain() != self._node.plain() or found.until != self._node.until:
            self._choose(Change(**_fields(found), by=BY_HAND, at=state.now(), how="set"), found.until)

    def _keep(self, event: str, why: str, **fields: Any) -> None:
        """What the table says cannot be followed: what is in force stays, and people are told."""
        keeps = self._state.placer.choice.words()
        self._state.note(event, Level.ERROR, why=why, keeps=keeps, **fields)
        self._setting.not_understood(f"{why}; {keeps} goes on until alb policy set … chooses another")

    def _read_history(self, node: zk.NodeRead | None) -> None:
        """What cannot be read of the history is begun anew with the next change: it is for people."""
        try:
            found = () if node is None else znodes.decode(HistoryNode, node.path, node.data).changes
        except znodes.UnreadableNode as error:
            self._history.not_understood(f"{error.why}; the next change begins it anew")
            return
        self._history.understood()
        self._changes = found[-CHANGES_KEPT:]

    # --- what people see ------------------------------------------------------------------------------------

    def _on_query(self, client: Client, query: QueryPolicies) -> None:
        state = self._state
        now, before = state.figures.lines()
        page = PoliciesPage(
            seq=query.seq,
            node=self._node,
            in_force=state.placer.choice,
            why=policy_trouble(state),
            now=state.now(),
            policies=tuple(self._line(name) for name in sorted(state.placer.policies)),
            changes=self._changes,
            tally=now,
            former_tally=before,
            leader=state.node.broker,
            elsewhere=self._elsewhere(),
        )
        state.tell(client.peer, page)

    def _elsewhere(self) -> tuple[ElsewhereLine, ...]:
        """Return what the leader lacks and others have: what is new, while brokers are started one by one."""
        state, found = self._state, dict[str, ElsewhereLine]()
        for broker, sources in sorted(state.members.policies.items()):
            for name in sources.keys() - state.placer.policies.keys():
                line = found.get(name) or ElsewhereLine(name=name, source=sources[name], brokers=())
                found[name] = msgspec.structs.replace(line, brokers=(*line.brokers, broker))
        return tuple(found[name] for name in sorted(found))

    def _to_find(self, name: str) -> str:
        """Return where a policy is that the leader lacks, as a part of a sentence; empty: nowhere."""
        brokers = next((line.brokers for line in self._elsewhere() if line.name == name), ())
        return f", which leads; on {', '.join(brokers)} it is" if brokers else ""

    def _line(self, name: str) -> PolicyLine:
        state = self._state
        policy = state.placer.policies[name]
        wanted, trouble = wishes_of(policy), state.placer.troubles.get(name)
        calls, seconds = self.times.get(name, (0, 0.0))
        return PolicyLine(
            name=name,
            summary=summary(policy),
            source=state.node.policies.get(name, ""),
            parameters=dict(wanted.parameters),
            candidates=wanted.candidates,
            fastest_first=wanted.fastest_first,
            calls=state.placer.calls.get(name, 0),
            failures=0 if trouble is None else trouble.failures,
            failed="" if trouble is None else trouble.newest,
            failed_at=0.0 if trouble is None else trouble.at,
            us_per_call=1e6 * seconds / calls if calls else 0.0,
            missing_on=tuple(
                broker for broker, names in sorted(state.members.policies.items()) if name not in names
            ),
        )


def policy_trouble(state: State) -> str:
    """Return what is wrong with the policy in force, as a sentence; empty: nothing."""
    aside = state.table.set_aside.get(znodes.POLICY, "")
    return aside or "; ".join(part for part in (_failed(state), _declines(state)) if part)


def _failed(state: State) -> str:
    trouble = state.placer.troubles.get(state.placer.name)
    if trouble is None:
        return ""
    stands_in = f"; {Choice().policy} stands in for it now" if state.placer.rests(state.now()) else ""
    times = "once" if trouble.failures == 1 else f"{trouble.failures} times"
    return f"{state.placer.name} failed {times} under this leader, last with {trouble.newest}{stands_in}"


def _declines(state: State) -> str:
    number, longest_s = state.placer.declines.waiting(state.now())
    if not number:
        return ""
    tasks = "one task" if number == 1 else f"{number} tasks, each the first of its likes,"
    return (
        f"{state.placer.name} lets {tasks} wait though there is room, for {longest_s:.0f} s now; after "
        f"{DECLINES_S:.0f} s that counts as a failure, and {Choice().policy} places"
    )


def _fields(choice: Choice) -> dict[str, Any]:
    return {"policy": choice.policy, "parameters": choice.parameters}
