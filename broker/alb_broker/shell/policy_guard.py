"""Bounds and measures the time of policies: foreign code that runs inside the broker's loop.

What all calls of a policy in one placement pass take together is bounded: beyond, it is interrupted where it
stands, and the core lets the default policy place. The guard knows a pass by its context, of which there is
one for each pass. The check of a policy's parameters is foreign code, too, and has the time of a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from time import perf_counter
from typing import Final

import msgspec

from alb_broker.policies import Candidate, Context, Policy, wishes_of
from alb_broker.shell.plugins import PolicyBroke
from alb_core.choices import DEFAULT_POLICY, Parameter
from alb_core.io.alarm import Alarm
from alb_core.spec import TaskSpec

PASS_S: Final = 0.05
#: All calls of one pass together: less than a tick, so that heartbeats and commits are not late.
LEAST_S: Final = 0.001
#: With less left a pass asks it no more: a timer of nothing would never ring.


class PolicyTooSlow(Exception):
    """Raised inside a policy that has used up the time of a placement pass. Asking it again does not help."""


class PolicyGuard:
    """Guards the policies of one process; must be made and used in its main thread, where signals arrive.

    Args:
        pass_s: What a policy may take in one placement pass, in seconds.
    """

    def __init__(self, pass_s: float = PASS_S) -> None:
        self._pass_s: Final = pass_s
        self._left_s = pass_s  #: Of the present pass.
        self._context: Context | None = None  #: Of the present pass.
        self._spent: Final[dict[str, list[float]]] = {}  #: Calls and seconds by name.
        self._alarm: Final = Alarm(self._too_slow)

    def guard(self, policies: Mapping[str, Policy]) -> dict[str, Policy]:
        """Return the policies with their time bounded, but for the default: it has no other to stand in."""
        return {
            name: self._timed(name, policy if name == DEFAULT_POLICY else self._guarded(policy))
            for name, policy in policies.items()
        }

    def spent(self) -> dict[str, tuple[int, float]]:
        """Return how often each policy was asked, and how many seconds that took."""
        return {name: (int(calls), seconds) for name, (calls, seconds) in self._spent.items() if calls}

    def _timed(self, name: str, policy: Policy) -> Policy:
        spent = self._spent[name] = [0, 0.0]

        @wraps(policy)  # it keeps what it says of itself, and its wishes
        def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
            began = perf_counter()
            try:
                return policy(task, candidates, context)
            finally:
                spent[0] += 1
                spent[1] += perf_counter() - began

        return choose

    def _guarded(self, policy: Policy) -> Policy:
        @wraps(policy)
        def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
            if context is not self._context:
                self._context, self._left_s = context, self._pass_s
            if self._left_s < LEAST_S:
                raise self._too_slow()
            try:
                return self._alarm.call(self._left_s, partial(policy, task, candidates, context))
            except KeyboardInterrupt as error:  # nobody's Ctrl-C: a broker takes SIGINT for itself
                raise PolicyBroke("it raised KeyboardInterrupt") from error
            finally:
                self._left_s = min(self._left_s, self._alarm.left_s)

        wanted = wishes_of(policy)
        if wanted.check is not None:
            vars(choose)["wishes"] = msgspec.structs.replace(wanted, check=self._bounded(wanted.check))
        return choose

    def _bounded(self, check: Callable[[Mapping[str, Parameter]], str | None]) -> Callable[..., str | None]:
        """Bound a check of parameters, which is asked when somebody chooses the policy."""
        return lambda parameters: self._alarm.call(self._pass_s, partial(check, parameters))

    def _too_slow(self) -> PolicyTooSlow:
        return PolicyTooSlow(f"it took more than {self._pass_s} s in one pass")
