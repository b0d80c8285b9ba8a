"""Whether somebody else's policy may be asked: the mark in the table that outlives who ends in it.

A policy that blocks in C and keeps the interpreter's lock ends its leader's ZooKeeper session, as a crash
would, and so does one that ends the process. So before a leader asks such a policy for the first time, it
writes down that it will, and once it came back, that it did; who hands over takes the mark away. An heir that
finds the first mark alone does not ask. One that finds both thinks nothing of it, for leaders die of other
things, too: unless two in a row did soon after they had begun to ask.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from alb_broker.core.actions import PolicyMarked
from alb_broker.core.setting import Setting
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.choices import UseNode

DISTRUST_S: Final = 3600.0
#: So long the default stands in where the leader before may have ended in somebody else's policy. Should
#: that be why, this leader ends in it only then: there are few brokers.
SOON_S: Final = 60.0
#: Who ends so soon after it first asked a policy may have ended in it.
DEATHS: Final = 2
#: In a row, each soon: one is what happens to leaders; that two do without a reason is rare.
MARK_AGAIN_S: Final = 60.0
#: Where the mark cannot be written, the default stands in for so long.


class Doubt(NamedTuple):
    """Why a policy is not asked."""

    why: str
    until: float
    #: Cluster time.


class Probation:
    """Lets the policy in force be asked when it is in the table that it will be.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._setting: Final = Setting(state, znodes.POLICY_USE)
        self._known = False  #: What the reign before left was read.
        self._node = UseNode()  #: As the table has it, or will.
        self._deaths = 0  #: Of leaders before this one, in a row, soon after they asked the policy in force.
        self._serial = 0  #: Of the newest mark.
        self._marking = False  #: That is on its way to the table.
        self._calls: int | None = None  #: The policy in force was asked so often before; None: it came back.

    # --- what the table says --------------------------------------------------------------------------------

    def on_node(self, node: zk.NodeRead | None) -> None:
        """Take what ``/config/policy-use`` holds: it counts where the reign before left it."""
        if not self._setting.meets(node):
            return
        if self._marking:  # it was refused
            self._marking = False
            now = self._state.now()
            self._state.placer.distrust("its use cannot be written down in ZooKeeper", now, MARK_AGAIN_S)
        if self._known:
            return
        self._known = True
        found = self._setting.read(node, UseNode, lambda _: None, lambda: "the next use begins it anew")
        if found is not None:
            self._setting.understood()
            self._node = found

    def doubt(self, policy: str) -> Doubt | None:
        """Return why this leader, which found a policy in the table, should not ask it; None: it may."""
        state, left, now = self._state, self._node, self._state.now()
        if policy not in state.placer.policies or not state.placer.is_foreign(policy):
            return None
        if left.policy == policy and left.rests_until > now:
            return Doubt(left.why, left.rests_until)
        asked = left.policy == policy and not left.rests_until
        if state.claim.hung:
            why = "the leader before hung, perhaps in it"
        elif asked and not left.answered:
            why = "the leader before ended when it first asked it"
        elif asked and self._deaths_of(left) >= DEATHS:
            why = f"{DEATHS} leaders in a row ended soon after they first asked it"
        else:
            return None
        return Doubt(why, now + DISTRUST_S)

    def _deaths_of(self, left: UseNode) -> int:
        """Return how many leaders in a row, the last one included, ended soon after they first asked."""
        soon = left.since > 0 and self._state.claim.floor_s - left.since <= SOON_S
        return left.deaths + 1 if soon else 0

    # --- what is in force -----------------------------------------------------------------------------------

    def begin(self, doubt: Doubt | None, *, found: bool) -> None:
        """A policy is in force from now on, or is trusted once more.

        Args:
            doubt: Why it is not to be asked.
            found: It is what the reign before left in the table; else somebody chose it now.
        """
        state, left = self._state, self._node
        self._marking, self._calls = False, None
        self._serial += 1
        name = state.placer.name
        same = found and left.policy == name and not left.rests_until
        self._deaths = self._deaths_of(left) if same else 0
        if doubt is not None:
            state.placer.distrust(doubt.why, state.now(), doubt.until - state.now())
            state.out.extend(state.placer.notes)  # people are told now, not when somebody waits
            state.placer.notes.clear()
            rest = UseNode(policy=name, epoch=state.epoch, rests_until=doubt.until, why=doubt.why)
            if rest.rests_until != left.rests_until:
                self._write(rest)
            return
        if left.rests_until and not found:
            self._write(UseNode())  # who chooses it again knows better: also under the next leader
        if state.placer.foreign:
            state.placer.hold()

    def end_pass(self) -> None:
        """A placement pass is over: write down what it wanted to do, or what came of it."""
        placer, state = self._state.placer, self._state
        if placer.wanted:
            if not self._marking:
                self._marking = True
                self._serial += 1
                node = UseNode(policy=placer.name, epoch=state.epoch, since=state.now(), deaths=self._deaths)
                self._write(node, PolicyMarked(self._serial))
        elif self._calls is not None and placer.calls[placer.name] > self._calls:
            self._calls = None
            self._write(msgspec.structs.replace(self._node, answered=True))

    def on_marked(self, action: PolicyMarked) -> None:
        """A mark is in the table: what it is about may be asked, if it is in force still."""
        if self._marking and action.serial == self._serial:
            self._marking = False
            placer = self._state.placer
            self._calls = placer.calls[placer.name]
            placer.release()

    def leave(self) -> None:
        """The leader hands over, so it did not end in a policy: what rests does so on."""
        if self._node.policy and not self._node.rests_until:
            self._write(UseNode())

    def _write(self, node: UseNode, *releases: PolicyMarked) -> None:
        self._node = node
        self._setting.write(node, releases)
