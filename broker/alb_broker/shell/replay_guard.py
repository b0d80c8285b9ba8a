"""Bounds each call of a policy in a replay, which ends with one that hangs.

A live broker has the default stand in at once, and goes on (`alb_broker.shell.policy_guard`). A replay is
asked what a policy is worth: nobody waits for it, so a call may take long, but the default's figures would be
no answer.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from functools import partial, wraps
from itertools import count
from types import FrameType
from typing import Final, NoReturn, Self

import msgspec

from alb_broker.policies import Candidate, Context, Policy, wishes_of
from alb_broker.shell.plugins import PolicyBroke
from alb_broker.shell.policy_guard import PASS_S, PolicyTooSlow
from alb_core.choices import Parameter
from alb_core.io.alarm import Alarm
from alb_core.spec import TaskSpec

CALL_S: Final = 5.0
#: A hundred times what all calls of a pass have together in a live broker.


class PolicyHung(BaseException):
    """Raised through the core, which passes over every `Exception` of a policy: the replay is over."""


class ReplayGuard:
    """Guards the policies of a replay; must be made and used in the main thread, where signals arrive.

    Within a ``with`` block somebody's Ctrl-C is told from a policy that raises `KeyboardInterrupt`.

    Args:
        call_s: What one call may take, in seconds.
    """

    def __init__(self, call_s: float = CALL_S) -> None:
        self._call_s: Final = call_s
        self._alarm: Final = Alarm(self._too_slow)
        self._interrupted = False  #: By a person.

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self._interrupted = True
        raise KeyboardInterrupt

    def guard(self, policies: Mapping[str, Policy]) -> dict[str, Policy]:
        """Return the policies with each of their calls bounded."""
        return {name: self._guarded(name, policy) for name, policy in policies.items()}

    def _guarded(self, name: str, policy: Policy) -> Policy:
        alarm, call_s, calls = self._alarm, self._call_s, count(1)

        @wraps(policy)  # it keeps what it says of itself, and its wishes
        def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
            number = next(calls)
            try:
                return alarm.call(call_s, partial(policy, task, candidates, context))
            except KeyboardInterrupt as error:
                if self._interrupted:
                    raise
                raise PolicyBroke("it raised KeyboardInterrupt") from error
            finally:
                if not alarm.left_s:  # whatever it made of the interruption
                    of = f"among {len(candidates)} workers for the task {task.name or task.command!r:.60}"
                    raise self._hung(name, f"its call {number:,}, to choose {of},")

        wanted = wishes_of(policy)
        if (check := wanted.check) is not None:

            def checked(parameters: Mapping[str, Parameter]) -> str | None:
                try:
                    return alarm.call(call_s, partial(check, parameters))
                finally:
                    if not alarm.left_s:
                        raise self._hung(name, "the check of its parameters")

            vars(choose)["wishes"] = msgspec.structs.replace(wanted, check=checked)
        return choose

    def _hung(self, name: str, what: str) -> PolicyHung:
        return PolicyHung(
            f"the policy {name} hangs: {what} took more than {self._call_s:g} s; in a live broker all calls "
            f"of a pass have {PASS_S:g} s, and then the default stands in for it"
        )

    def _too_slow(self) -> PolicyTooSlow:
        return PolicyTooSlow(f"it took more than {self._call_s:g} s in one call")
