"""The cluster's default limits: what operators ask, and what ``/config/limits`` says.

They hold for every order to run that is made from the moment that the leader hears of them, also for tasks
that wait; what runs keeps what it started with. A request is answered when it is in the table, where every
later leader reads it before it places anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.setting import Setting
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.bounds import DatedLimits, LimitsNode, check_limits
from alb_core.messages import Message, SetLimits


class LimitsDesk:
    """Handles default limits.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._setting: Final = Setting(state, znodes.LIMITS)

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {SetLimits: self._on_set}

    def _on_set(self, client: Client, request: SetLimits) -> None:
        state = self._state
        wrong = check_limits(request.limits)
        since = state.now() if state.limits.time_limit_s is None else state.limited_since
        before, after = (DatedLimits.of(limits, since) for limits in (state.limits, request.limits))
        if wrong is not None:
            self._setting.refuse(client, request.seq, wrong)
        elif self._setting.grant(client, request.seq, before, after):
            self._adopt(request.limits, client.user, since)

    def on_node(self, node: zk.NodeRead | None) -> bool:
        """Take what ``/config/limits`` holds; without the node nothing is limited.

        What cannot be read changes nothing: what is in force stays so, and the operator is told.

        Returns:
            Whether it was taken; while an own change is on its way to the node, it is not.
        """
        state = self._state
        if not self._setting.meets(node):
            return False
        found = self._setting.read(node, DatedLimits, check_limits, self._kept)
        if found is None:
            return True
        first = self._setting.understood()
        # Not the node's own date, of ZooKeeper's clock: that may have jumped. What a person wrote has no date
        # that holds, and may be younger than all that runs.
        self._adopt(found.plain(), "" if first else "zkCli", (first and found.since) or state.now())
        return True

    def _kept(self) -> str:
        return f"until it is written again (alb limits set …) {_words(self._state.limits)} holds"

    def _adopt(self, after: LimitsNode, by: str, since: float) -> None:
        """Let limits be in force.

        Args:
            after: The limits.
            by: Who wants them; empty: they were in force before this reign.
            since: Cluster time.
        """
        state = self._state
        if state.limits.time_limit_s is None:
            state.limited_since = since
        if not by:
            state.limits = after
        elif after != state.limits:
            state.note("limits_changed", limits=_words(after), before=_words(state.limits), by=by)
            state.limits = after
            for worker in state.workers:  # what may run for ever may now have an end, and room
                state.workers.grew(worker)


def _words(limits: LimitsNode) -> str:
    """Return limits for people."""
    said = [
        f"{name}={value:.12g}"
        for name in LimitsNode.__struct_fields__
        if (value := getattr(limits, name)) is not None
    ]
    return " ".join(said) or "no limit"
