"""Has checkpoints saved: carries what ``core/saving.py`` decides to the courier, and its answers back.

It stands between the agent and its courier for attempts whose task has checkpoints. Their increments come
here first, and leave when their files are safe.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.increments import Line
from alb_core.io.clock import monotonic
from alb_core.io.logs import Logger
from alb_core.messages import AttemptId
from alb_core.tasks import Cause
from alb_worker.core.actions import KillAttempt, LaunchAttempt
from alb_worker.core.saving import SaveOrder, Saving, Verdict
from alb_worker.courier.messages import Save, Saved
from alb_worker.runner.messages import Ended, Started
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.increments import IncrementFiles

_CALLED_OFF: Final = "it was ended while its last checkpoint was saved"

Reported = tuple[AttemptId, tuple[Line, ...]]


class Checkpoints:
    """The checkpoints of all attempts that are under way.

    Args:
        courier: Moves files.
        increments: What commands report.
        logger: Told what cannot be saved.
    """

    def __init__(self, courier: CourierLink, increments: IncrementFiles, logger: Logger) -> None:
        self._courier: Final = courier
        self._increments: Final = increments
        self._logger: Final = logger
        self._saving: Final = Saving()
        self._ended: Final[dict[AttemptId, Ended]] = {}
        #: Attempts that are over and whose last save is awaited.
        self._lines: list[Reported] = []
        #: Increments that may be told.
        self._over: list[Ended] = []

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._saving

    def __bool__(self) -> bool:
        return bool(self._saving.attempts())

    def ends(self, attempt: AttemptId) -> bool:
        """Tell whether an attempt's command is over, and it waits for its last save or to be taken."""
        return attempt in self._ended or any(ended.attempt == attempt for ended in self._over)

    # --- the command ----------------------------------------------------------------------------------------

    def begin(self, action: LaunchAttempt) -> None:
        """Know an attempt that is to start, if it has checkpoints."""
        if action.spec.checkpoints:
            saved = action.resume.files if action.resume is not None else ()
            self._saving.begin(action.attempt, action.spec.checkpoints, saved)

    def on_started(self, message: Started) -> None:
        """The runner started a command."""
        self._saving.on_started(monotonic(), message.attempt, message.directory)

    def on_killed(self, action: KillAttempt) -> None:
        """A command is being ended; where it is over, its last save is called off if nobody goes on."""
        attempt = action.attempt
        self._saving.on_killed(attempt, resumes=action.resumes)
        if not action.resumes and attempt in self._ended:
            self._courier.call_off(attempt)
            ended = self._ended[attempt]
            outcome = msgspec.structs.replace(
                ended.outcome, cause=Cause.KILLED, exit_code=None, signal=None, why=_CALLED_OFF
            )
            self._ended[attempt] = msgspec.structs.replace(ended, outcome=outcome)
            self._conclude(attempt, self._saving.settle(attempt))

    def on_ended(self, message: Ended) -> None:
        """A command is over; `take_over` returns it when its last save has ended."""
        attempt = message.attempt
        self._ended[attempt] = message
        self._saving.on_reported(attempt, self._increments.finish(attempt))
        self._saving.on_ended(attempt, message.kept, killed=message.outcome.cause is Cause.KILLED)
        self._finish(attempt)

    def forget(self, attempt: AttemptId) -> None:
        """It was not started."""
        self._saving.forget(attempt)

    def abandon(self) -> None:
        """The runner died, and the files with it: what waits is done again by the next attempts."""
        for attempt in self._saving.attempts():
            self._courier.call_off(attempt)
            self._increments.finish(attempt)
        self._saving.clear()
        self._ended.clear()
        self._over.clear()
        self._lines.clear()

    # --- the clock and the courier --------------------------------------------------------------------------

    def hold(self, attempt: AttemptId, lines: tuple[Line, ...]) -> bool:
        """Keep increments back until their files are safe; False: this attempt has no checkpoints."""
        return self._saving.on_reported(attempt, lines)

    def tick(self) -> None:
        """Begin the saves that are due."""
        for order in self._saving.due(monotonic()):
            self._order(order)

    def on_saved(self, message: Saved) -> None:
        """The courier has ended a save."""
        attempt = message.attempt
        at = monotonic()
        verdict = self._saving.on_saved(at, attempt, message.files, message.seen, message.trouble)
        self._tell(attempt, verdict)
        if verdict.over:
            self._conclude(attempt, self._saving.settle(attempt))
        elif attempt in self._ended:
            self._finish(attempt)

    def take_lines(self) -> list[Reported]:
        """Return the increments that may be told now; before `take_over`."""
        lines, self._lines = self._lines, []
        return lines

    def take_over(self) -> list[Ended]:
        """Return the attempts that are over, and so is their last save."""
        over, self._over = self._over, []
        return over

    # --- leaves -------------------------------------------------------------------------------------------

    def _finish(self, attempt: AttemptId) -> None:
        """Have the last save made, when the one under way has ended."""
        step = self._saving.last(monotonic(), attempt)
        if isinstance(step, SaveOrder):
            self._order(step)
        elif step is not None:
            self._courier.call_off(attempt)
            self._conclude(attempt, step)

    def _order(self, order: SaveOrder) -> None:
        self._courier.order(
            Save(
                attempt=order.attempt,
                directory=order.directory,
                patterns=order.patterns,
                seen=order.seen,
                last=order.last,
            )
        )

    def _tell(self, attempt: AttemptId, verdict: Verdict) -> None:
        if verdict.lines:
            self._lines.append((attempt, verdict.lines))
        if verdict.trouble:
            self._logger.warning(
                "checkpoint_not_saved", task=attempt.task, attempt=attempt.n, why=verdict.trouble
            )
        if verdict.dropped:
            self._logger.warning(
                "increments_dropped",
                task=attempt.task,
                attempt=attempt.n,
                lines=verdict.dropped,
                hint="their checkpoint could not be saved: the next attempt does them again",
            )

    def _conclude(self, attempt: AttemptId, verdict: Verdict) -> None:
        ended = self._ended.pop(attempt)
        self._tell(attempt, verdict)
        if verdict.trouble and ended.outcome.cause is not Cause.NOT_STARTED:
            told = f"its last checkpoint was not saved: {verdict.trouble}"
            why = "; ".join(text for text in (ended.outcome.why, told) if text)
            ended = msgspec.structs.replace(ended, outcome=msgspec.structs.replace(ended.outcome, why=why))
        self._over.append(ended)
