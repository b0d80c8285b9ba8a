"""What users may have of the cluster: what operators ask, and what ``/config/shares`` says.

Weights and bounds hold from the moment that the leader hears of them, for what is placed and accepted from
then on. A request is answered when it is in the table, where every later leader reads it before it places
anything. The desk also has reservations looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.reservations import FOREVER, Times, sure_end
from alb_broker.core.setting import Setting
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.messages import AttemptId, Message, QueryShares, SetShare, SharesPage
from alb_core.notes import Level
from alb_core.shares import SharesNode, check_share, check_shares, check_user

NODE_BYTES_MAX: Final = 256 * 1024
#: Of ``/config/shares``: a batch has to hold it.
USERS_SHOWN: Final = 200
#: In one answer.


class SharesDesk:
    """Handles shares.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._setting: Final = Setting(state, znodes.SHARES)

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {QueryShares: self._on_query, SetShare: self._on_set}

    # --- what operators ask ---------------------------------------------------------------------------------

    def _on_query(self, client: Client, query: QueryShares) -> None:
        """Tell what users may have and have."""
        state = self._state
        users = {*state.table.users(), *state.shares.users()}
        first = sorted(users, key=lambda user: (-state.shares.share(user), user))[:USERS_SHOWN]
        lines = tuple(state.shares.line(user, state.table.pending_of(user)) for user in first)
        state.tell(client.peer, SharesPage(seq=query.seq, shares=state.shares.node, users=lines))

    def _on_set(self, client: Client, request: SetShare) -> None:
        """Let a user have more or less."""
        before = self._state.shares.node
        wrong = check_user(request.user) if request.user else ""
        wrong = wrong or (check_share(request.share) if request.share is not None else "")
        after = before.changed(request.user, request.share)
        if not wrong and len(znodes.encode(after)) > NODE_BYTES_MAX:
            path = self._state.whole(znodes.SHARES)
            wrong = f"{len(after.users)} users do not fit into {path}; alb share unset takes some away"
        if wrong:
            self._setting.refuse(client, request.seq, wrong)
        elif self._setting.grant(client, request.seq, before, after):
            self._adopt(after, client.user)

    # --- what the table says --------------------------------------------------------------------------------

    def on_node(self, node: zk.NodeRead | None) -> bool:
        """Take what ``/config/shares`` holds; without the node all users are alike and nobody is bounded.

        What cannot be read changes nothing: what is in force stays so, and the operator is told.

        Returns:
            Whether it was taken; while an own change is on its way to the node, it is not.
        """
        state = self._state
        if not self._setting.meets(node):
            return False
        found = self._setting.read(node, SharesNode, check_shares, self._kept)
        if found is None:
            return True
        if self._setting.understood():
            state.shares.use(found)
        else:
            self._adopt(found, "zkCli")
        return True

    def _kept(self) -> str:
        known, users = self._setting.known, self._state.shares.node.users
        kept = f"{len(users)} users' shares of before hold" if known else "all are alike"
        return f"until it is written again (alb share set …) {kept}"

    def _adopt(self, after: SharesNode, by: str) -> None:
        state, before = self._state, self._state.shares.node
        if after == before:
            return
        names = {*after.users, *before.users}
        changed = [name for name in sorted(names) if after.users.get(name) != before.users.get(name)]
        if after.default != before.default:
            changed.insert(0, "the default")
        state.note("shares_changed", Level.INFO, of=", ".join(changed[:10]), users=len(changed), by=by)
        state.shares.use(after)

    # --- reservations ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Set workers aside for who is starved, and give up what nobody needs."""
        state = self._state
        reservations = state.placer.reservations
        reservations.look(
            state.queue,
            state.workers,
            state.shares,
            Times(state.now(), self._placed_of, self._ends_of),
            admits=state.would_admit,
        )
        if reservations.notes:
            state.out.extend(reservations.notes)
            reservations.notes.clear()

    def _placed_of(self, attempt_id: AttemptId) -> float:
        task = self._state.table.live.get(attempt_id.task)
        attempt = task.attempt(attempt_id.n) if task is not None else None
        return self._state.now() if attempt is None else attempt.placed

    def _ends_of(self, attempt_id: AttemptId) -> float:
        task = self._state.table.live.get(attempt_id.task)
        attempt = task.attempt(attempt_id.n) if task is not None else None
        if task is None or attempt is None:
            return FOREVER
        endless = self._state.runs_endless(task, attempt.placed)
        return sure_end(task, attempt.placed, None if endless else self._state.limits.time_limit_s)


def why_full(state: State, user: str) -> str:
    """Return why a user may submit nothing more now, as a sentence; empty: he may."""
    if state.shares.node.of(user).tasks_max is None:
        return ""
    arrays = sum(array.user == user for array in state.arrays.going.values())
    return state.shares.why_full(user, state.table.pending_of(user) + arrays)
