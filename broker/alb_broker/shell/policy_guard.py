"""Bounds the time of policies: foreign code that runs inside the broker's loop.

An interval timer is armed while a policy's code runs, and only then. What all its calls in one placement pass
take together is bounded: beyond, the policy is interrupted where it stands, and the core lets the default
policy place. It knows a pass by its context, of which there is one for each pass.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

from alb_broker.core.placement import DEFAULT_POLICY
from alb_broker.policies import Candidate, Context, Policy
from alb_core.spec import TaskSpec

PASS_S: Final = 0.05
#: All calls of one pass together: less than a tick, so that heartbeats and commits are not late.
LEAST_S: Final = 0.001
#: With less left a pass asks it no more: a timer of nothing would never ring.
AGAIN_S: Final = 0.01
#: A policy that swallows the interruption is interrupted again.


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
        self._running = False  #: A policy's code runs: an alarm is for it. A late alarm is for nobody.
        signal.signal(signal.SIGALRM, self._interrupt)

    def guard(self, policies: Mapping[str, Policy]) -> dict[str, Policy]:
        """Return the policies with their time bounded, but for the default: it has no other to stand in."""
        return {
            name: policy if name == DEFAULT_POLICY else self._guarded(policy)
            for name, policy in policies.items()
        }

    def _guarded(self, policy: Policy) -> Policy:
        def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
            if context is not self._context:
                self._context, self._left_s = context, self._pass_s
            if self._left_s < LEAST_S:
                raise self._too_slow()
            try:
                self._running = True
                signal.setitimer(signal.ITIMER_REAL, self._left_s, AGAIN_S)
                return policy(task, candidates, context)
            finally:
                self._running = False  # first of all: an alarm from here on must find nobody running
                left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
                self._left_s = min(self._left_s, left_s)  # nothing is left where it was interrupted

        return choose

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._running:
            self._left_s = 0.0
            raise self._too_slow()

    def _too_slow(self) -> PolicyTooSlow:
        return PolicyTooSlow(f"it took more than {self._pass_s} s in one pass")
