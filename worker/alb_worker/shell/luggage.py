"""What attempts take along and bring back: one starts when its files are there, and ends when they left.

It stands between the agent and its runner. To the core such an attempt is launching while its files are
gathered, and running while they go back: its room is held, which is bounded by the courier's patience.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from alb_core.files import FileRef, restored
from alb_core.io.clock import monotonic
from alb_core.io.logs import Logger, write_note
from alb_core.kinds import COMMAND_KIND
from alb_core.messages import AttemptId
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import KillAttempt, LaunchAttempt
from alb_worker.courier.messages import Collect, Collected, Noted, NotPrepared, Prepare, Prepared, Saved
from alb_worker.kinds.interface import KindFailed
from alb_worker.runner.messages import Ended, Output, Started
from alb_worker.shell.checkpoints import Checkpoints
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.kind_desk import KindDesk, remove_bare
from alb_worker.shell.runner_link import RunnerLink

_EXIT_NOT_STARTED: Final = 125
_CALLED_OFF: Final = "it was ended while its files were on their way back"


class Luggage:
    """The files of all attempts that are under way.

    Args:
        start: Starts a command, in the directory that holds its files, if it has some.
        runner: Runs commands.
        courier: Moves files.
        ring: Wakes the agent's loop: ``take`` has something.
        logger: Takes the courier's notes.
        checkpoints: Has saved what commands are to go on from.
        kinds: Turns attempts that are no plain commands into commands, and reads what those left.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (those it stands between)
        self,
        start: Callable[[LaunchAttempt, str], None],
        runner: RunnerLink,
        courier: CourierLink,
        ring: Callable[[], None],
        logger: Logger,
        checkpoints: Checkpoints,
        kinds: KindDesk,
    ) -> None:
        self.courier: Final = courier
        self.checkpoints: Final = checkpoints
        self._kinds: Final = kinds
        self._start: Final = start
        self._runner: Final = runner
        self._ring: Final = ring
        self._logger: Final = logger
        self._launching: dict[AttemptId, LaunchAttempt] = {}
        #: Attempts whose files are gathered.
        self._patterns: dict[AttemptId, tuple[str, ...]] = {}
        #: What attempts that were started will bring back.
        self._returning: dict[AttemptId, Ended] = {}
        #: Attempts that are over, whose files go back.
        self._over: list[Ended] = []

    def launch(self, action: LaunchAttempt) -> None:
        """Start an attempt, once its files are there."""
        if action.spec.returns:
            self._patterns[action.attempt] = action.spec.returns
        self.checkpoints.begin(action)
        files = restored(action.spec.files, _saved(action))
        if action.spec.binaries:
            files = self._kinds.packed(action.spec, files)
        if files:
            self._launching[action.attempt] = action
            order = Prepare(attempt=action.attempt, files=files, ordered_at=monotonic())
            self.courier.order(order)
            self._ring_for_failures()
        else:
            self._begin(action, "")

    def kill(self, action: KillAttempt) -> None:
        """End an attempt: its command, or what is done for it before or after."""
        attempt = action.attempt
        self.checkpoints.on_killed(action)
        if attempt in self._launching:
            del self._launching[attempt]
            self._patterns.pop(attempt, None)
            self.checkpoints.forget(attempt)
            self.courier.call_off(attempt)
            self._end(_not_started(attempt, Cause.KILLED, "it was ended while its files were fetched", None))
        elif attempt in self._returning:
            # Its end was told to nobody: it counts as killed, and runs again elsewhere where that means so.
            self.courier.call_off(attempt)
            ended = self._returning.pop(attempt)
            outcome = msgspec.structs.replace(
                ended.outcome, cause=Cause.KILLED, exit_code=None, signal=None, why=_CALLED_OFF
            )
            self._end(msgspec.structs.replace(ended, outcome=outcome))
        elif self.checkpoints.ends(attempt):
            if not action.resumes:
                self._patterns.pop(attempt, None)
            self._ring()  # its command is over; what is done for it may be over now, too
        else:
            self._runner.kill(attempt, action.grace_s)

    def unpack(self, messages: list[Started | Output | Ended]) -> list[Started | Output | Ended]:
        """Take what the runner said, and keep back the ends of attempts that save or bring something back."""
        if not self._patterns and not self.checkpoints and not self._kinds:
            return messages
        passed: list[Started | Output | Ended] = []
        for message in messages:
            if isinstance(message, Started):
                self.checkpoints.on_started(message)
            if not isinstance(message, Ended):
                passed.append(message)
            elif message.attempt in self.checkpoints:
                self.checkpoints.on_ended(message)
                self._ring()
            else:
                passed += self._bring_back(message)
        return passed

    def hear(self) -> None:
        """Take what the courier says; ``take`` returns what is over with that."""
        for message in self.courier.receive():
            match message:
                case Noted():
                    write_note(self._logger, message.note)
                case Prepared():
                    action = self._launching.pop(message.attempt)
                    self._begin(action, message.directory)
                case NotPrepared():
                    self._give_up(self._launching.pop(message.attempt), message.why)
                case Collected():
                    self._finish(message)
                case Saved():
                    self.checkpoints.on_saved(message)

    def take(self) -> list[Ended]:
        """Return the attempts that are over, with what came back; after ``checkpoints.take_lines``."""
        for ended in self.checkpoints.take_over():
            self._over += self._bring_back(ended)
        over, self._over = self._over, []
        return over

    def forget(self, attempt: AttemptId, prepared: str) -> None:
        """An attempt could not be started, for a reason that has nothing to do with its files."""
        self._patterns.pop(attempt, None)
        self.checkpoints.forget(attempt)
        self._kinds.forget(attempt)
        if prepared:
            self.courier.discard(prepared)

    def abandon(self) -> None:
        """The runner died: to the core everything that was under way is over."""
        for attempt in (*self._launching, *self._returning):
            self.courier.call_off(attempt)
        self._launching.clear()
        self._returning.clear()
        self._patterns.clear()
        self._over.clear()
        self._kinds.abandon()
        self.checkpoints.abandon()

    # --- leaves -------------------------------------------------------------------------------------------

    def _begin(self, action: LaunchAttempt, prepared: str) -> None:
        """Start an attempt whose files are there; what is no plain command becomes one first."""
        if action.spec.kind == COMMAND_KIND:
            self._start(action, prepared)
            return
        try:
            launch, directory = self._kinds.prepare(action, prepared)
        except KindFailed as failure:
            self._logger.warning(
                "kind_failed", kind=action.spec.kind, task=action.attempt.task, why=str(failure)
            )
            self.forget(action.attempt, prepared)
            self._end(_not_started(action.attempt, Cause.NOT_STARTED, str(failure), _EXIT_NOT_STARTED))
        else:
            self._start(launch, directory)

    def _bring_back(self, ended: Ended) -> list[Ended]:
        """Have brought back what is wanted of an attempt; return it where nothing is, or nothing is left."""
        ended, large = self._kinds.conclude(ended)
        patterns = (*self._patterns.pop(ended.attempt, ()), *large)
        if patterns and ended.kept:
            self._returning[ended.attempt] = ended
            self.courier.order(Collect(attempt=ended.attempt, directory=ended.kept, patterns=patterns))
            self._ring_for_failures()
            return []
        if patterns and ended.outcome.cause is not Cause.NOT_STARTED:
            why = "its command removed the directory that its files were to come from"
            ended = msgspec.structs.replace(
                ended, outcome=msgspec.structs.replace(ended.outcome, unreturned=why)
            )
        if ended.kept and not remove_bare(ended.kept):
            self.courier.discard(ended.kept)
        return [ended]

    def _give_up(self, action: LaunchAttempt, why: str) -> None:
        """The files of an attempt cannot be had. It is not run without its checkpoint."""
        self._patterns.pop(action.attempt, None)
        self.checkpoints.forget(action.attempt)
        if _saved(action):
            why = f"what it was to go on from cannot be restored, submit it again to begin anew: {why}"
        self._end(_not_started(action.attempt, Cause.NOT_STARTED, why, _EXIT_NOT_STARTED))

    def _finish(self, collected: Collected) -> None:
        ended = self._returning.pop(collected.attempt)
        outcome = ended.outcome
        why = "; ".join(text for text in (outcome.why, collected.unmatched) if text)
        outcome = msgspec.structs.replace(
            outcome, why=why, returned=collected.files, unreturned=collected.unreturned
        )
        self._end(msgspec.structs.replace(ended, outcome=outcome))

    def _end(self, ended: Ended) -> None:
        self._over.append(ended)
        self._ring()

    def _ring_for_failures(self) -> None:
        if self.courier.has_news:
            self._ring()


def _saved(action: LaunchAttempt) -> tuple[FileRef, ...]:
    """Return the files of the checkpoint that an attempt goes on from."""
    return action.resume.files if action.resume is not None else ()


def _not_started(attempt: AttemptId, cause: Cause, why: str, exit_code: int | None) -> Ended:
    outcome = Outcome(cause=cause, exit_code=exit_code, why=why)
    return Ended(attempt=attempt, outcome=outcome, stdout=b"", stderr=b"", stdout_size=0, stderr_size=0)
