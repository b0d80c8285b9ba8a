"""The runner's loop: one thread that waits for its agent, its children, their output and the clock.

An attempt is over when its leader is reaped, its output is read, and none of its processes is left. A
leader that exits while something holds its output open gets a drain of a second; then the pipes are closed
and the rest is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from functools import partial
from typing import Final

from alb_core.messages import AttemptId
from alb_core.notes import Level, Note
from alb_core.tasks import Cause, Outcome
from alb_worker.runner import processes
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.command import Spawner
from alb_worker.runner.demotion import Demotion
from alb_worker.runner.directories import FreshDirectories, FreshDirectory
from alb_worker.runner.family import Family, kill_attempt, kill_child, signal_attempt
from alb_worker.runner.groups import SAMPLING, RunnerGroups
from alb_worker.runner.link import FrameLink
from alb_worker.runner.messages import (
    Demote,
    Demoted,
    Ended,
    Kill,
    Noted,
    Ready,
    Settings,
    Start,
    ToRunner,
    Used,
)
from alb_worker.runner.output import OutputFlow
from alb_worker.runner.program import CommandNotStarted
from alb_worker.runner.timers import Timers
from alb_worker.runner.verdicts import Breach, over_time
from alb_worker.runner.watch import Watch

DRAIN_S: Final = 1.0
#: After its leader's exit, what an attempt left behind may hold its output open so long.
PAUSED_S: Final = 0.1
#: The drain is put off so long at a time while the agent reads nothing.
INSIST_S: Final = 0.1
#: KILL is repeated so often while something of an attempt is left.
UNKILLABLE_S: Final = 10.0
#: After KILL; then the log is told.
CROWDED_S: Final = 5.0
CROWDED_AGAIN_S: Final = 0.05
#: A command is tried so long while the kernel refuses it a process: a fork bomb of another may be ending.
SHUTDOWN_S: Final = 10.0
#: How long the runner tries to kill everything when its agent is gone.


_EXIT_CODES: Final = {Cause.NOT_FOUND: 127, Cause.NOT_EXECUTABLE: 126, Cause.NOT_STARTED: 125}


class Runner:
    """Runs commands for the agent at the other end of a socket, until that end closes.

    Args:
        connection: Our end.
        settings: Whose runner this is.
        groups: The control groups that it entered.
    """

    def __init__(self, connection: socket.socket, settings: Settings, groups: RunnerGroups) -> None:
        self._link: FrameLink[ToRunner] = FrameLink(connection, ToRunner)
        self._groups = groups
        self._timers = Timers()
        self._spawner = Spawner(settings, os.environ)
        self._directories = FreshDirectories(settings.home, self._spawner.rinse)
        self._family = Family(groups)
        self._demotion = Demotion(settings.cgroup, settings.mechanism)
        self._watch = Watch(self._timers, groups, self._stop_for, self._demotion)
        self._memory_kills = processes.OutOfMemoryKills()
        self._poll = select.epoll()
        self._output = OutputFlow(self._link, self._poll, self._settle, self._begin_watch)
        self._child_ended, self._wakeup = socket.socketpair()
        #: The interpreter writes a byte to `_wakeup` with every signal.
        self._attempts: dict[AttemptId, RunningAttempt] = {}
        self._crowded_out: dict[AttemptId, FreshDirectory | None] = {}
        #: Those that are to start, with their fresh directories, while there is no room for their process.
        self._leaders: dict[int, RunningAttempt] = {}
        #: By process number, those that are not reaped.
        self._ending: set[RunningAttempt] = set()
        #: Those whose leader is reaped and which are not over.
        self._vacated: list[FreshDirectory] = []
        #: The directories of those that are over: looked at when the agent has been told.
        self._now = time.monotonic()

    def run(self) -> None:
        """Serve the agent until it is gone, then kill everything."""
        self._start()
        try:
            while not self._link.ended:
                self._turn()
        finally:
            self._end_everything()

    def close(self) -> None:
        """Close all files."""
        self._output.close()
        self._link.close()
        self._spawner.close()
        self._family.close()
        self._poll.close()
        signal.set_wakeup_fd(-1)
        self._child_ended.close()
        self._wakeup.close()

    def _start(self) -> None:
        self._child_ended.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._poll.register(self._link, select.EPOLLIN)
        self._poll.register(self._child_ended, select.EPOLLIN)
        self._directories.start()
        self._link.send(
            Ready(
                pid=os.getpid(),
                cgroup=self._groups.path,
                mechanism=self._groups.mechanism,
                dyed=self._spawner.dyes,
            )
        )
        self._output.flush()

    # --- one turn -------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll(self._patience_s())}
        self._now = time.monotonic()
        if self._child_ended.fileno() in ready:
            self._reap()
            self._output.flush()  # first what somebody waits for, then everything else
        if self._output.fileno() in ready:
            self._output.read(self._now)
        if self._link.fileno() in ready:
            for message in self._link.receive():
                self._obey(message)
        self._timers.fire(self._now)
        uses = self._watch.take_uses()
        if uses:
            self._link.send(Used(uses=uses))
        self._output.release(self._now)
        self._output.flush()
        for directory in self._vacated:
            self._directories.give_back(directory)
        self._vacated.clear()

    def _patience_s(self) -> float | None:
        due = [at for at in (self._timers.next(), self._output.next_release()) if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _obey(self, message: ToRunner) -> None:
        if isinstance(message, Kill):
            attempt = self._attempts.get(message.attempt)
            if attempt is not None:
                self._stop(attempt, Cause.KILLED, message.grace_s, "")
            elif message.attempt in self._crowded_out:
                self._give_up(message.attempt, CommandNotStarted(Cause.KILLED, "ended before it was started"))
        elif isinstance(message, Demote):
            attempt = self._attempts.get(message.attempt)
            if attempt is not None:
                mechanism = self._watch.demote(attempt)
                self._link.send(Demoted(attempt=attempt.id, mechanism=mechanism))
        elif message.attempt not in self._attempts and message.attempt not in self._crowded_out:
            self._start_attempt(message)

    # --- starting -------------------------------------------------------------------------------------------

    def _start_attempt(self, start: Start) -> None:
        directory: FreshDirectory | None = None
        try:
            if start.cwd is None:
                directory = self._fresh_directory(start.prepared)
        except CommandNotStarted as failure:
            self._send_not_started(start.attempt, failure)
            return
        self._crowded_out[start.attempt] = directory
        self._spawn(start, time.monotonic() + CROWDED_S)

    def _spawn(self, start: Start, until: float) -> None:
        """Start a command; where there is no room for a process now, again and again for a while."""
        if start.attempt not in self._crowded_out:
            return  # it was killed meanwhile
        directory = self._crowded_out[start.attempt]
        try:
            spawned = self._spawner.spawn(start, directory.path if directory else start.cwd or "/")
        except CommandNotStarted as failure:
            if _crowded(failure) and time.monotonic() < until:
                self._timers.at(time.monotonic() + CROWDED_AGAIN_S, partial(self._spawn, start, until))
            else:
                self._give_up(start.attempt, failure)
            return
        del self._crowded_out[start.attempt]
        attempt = RunningAttempt(start, spawned, directory, time.monotonic())
        self._attempts[attempt.id] = attempt
        self._leaders[attempt.pid] = attempt
        self._output.add(attempt, attempt.started)
        if start.time_limit_s is not None:
            attempt.limit = self._timers.at(
                attempt.started + start.time_limit_s,
                partial(self._time_over, attempt, start.time_limit_s),
            )

    def _give_up(self, attempt: AttemptId, failure: CommandNotStarted) -> None:
        """An attempt is not started after all."""
        directory = self._crowded_out.pop(attempt)
        if directory is not None:
            self._directories.give_back(directory)
        self._send_not_started(attempt, failure)

    def _fresh_directory(self, prepared: str) -> FreshDirectory:
        try:
            return self._directories.take(prepared)
        except OSError as error:
            why = f"no directory could be made for it on this worker: {error.strerror}"
            raise CommandNotStarted(Cause.NOT_STARTED, why) from error

    def _send_not_started(self, attempt: AttemptId, failure: CommandNotStarted) -> None:
        outcome = Outcome(cause=failure.cause, exit_code=_EXIT_CODES.get(failure.cause), why=failure.why)
        self._link.send(
            Ended(attempt=attempt, outcome=outcome, stdout=b"", stderr=b"", stdout_size=0, stderr_size=0)
        )

    # --- killing --------------------------------------------------------------------------------------------

    def _stop(self, attempt: RunningAttempt, cause: Cause, grace_s: float, why: str) -> None:
        """Begin to end an attempt, or hasten it."""
        if attempt.status is None and attempt.cause is None:
            attempt.cause, attempt.why = cause, why
        if attempt.killing:
            return
        attempt.mechanism = attempt.mechanism or (attempt.group.killer if attempt.group else SAMPLING)
        if grace_s <= 0:
            self._kill(attempt)
        elif attempt.kill_at is None:
            self._look()
            signal_attempt(attempt, signal.SIGTERM)
            # One that is stopped can react to TERM only now.
            signal_attempt(attempt, signal.SIGCONT)
            self._kill_later(attempt, self._now + grace_s)
        elif self._now + grace_s < attempt.kill_at:
            self._kill_later(attempt, self._now + grace_s)

    def _stop_for(self, attempt: RunningAttempt, found: Breach) -> None:
        """End an attempt that has broken a bound; one whose leader has exited is being ended anyway."""
        if attempt.status is None and attempt.cause is None:
            attempt.limit_broken = found.limit
        self._stop(attempt, found.cause, attempt.grace_s if found.patient else 0.0, found.why)

    def _time_over(self, attempt: RunningAttempt, limit_s: float) -> None:
        self._stop_for(attempt, over_time(limit_s))

    def _kill_later(self, attempt: RunningAttempt, when: float) -> None:
        attempt.kill_at = when
        attempt.escalate(self._timers.at(when, partial(self._kill, attempt)))

    def _kill(self, attempt: RunningAttempt) -> None:
        """Send KILL to all of an attempt, and again as long as something of it is left."""
        if not attempt.killing:
            attempt.killing = True
            attempt.unkillable_at = self._now + UNKILLABLE_S
        elif attempt.unkillable_at is not None and self._now >= attempt.unkillable_at:
            attempt.unkillable_at = None
            fields = {"attempt": str(attempt.id), "pids": attempt.processes()}
            self._link.send(Noted(note=Note("attempt_unkillable", fields, Level.ERROR)))
        self._look()
        kill_attempt(attempt, self._look)
        attempt.escalate(self._timers.at(self._now + INSIST_S, partial(self._kill, attempt)))
        self._settle(attempt)

    def _look(self) -> None:
        self._family.look(self._leaders, self._directories.removers, self._attempts.values())

    # --- ending ---------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap every child that has ended, and see which attempts are over with that."""
        self._child_ended.recv(4096)
        with contextlib.suppress(ChildProcessError):  # none is left
            while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                leader = self._leaders.get(child.si_pid)
                if leader is not None:
                    self._reap_leader(leader)
                else:
                    self._reap_other(child.si_pid)
        if self._ending:
            self._look()
            for attempt in list(self._ending):
                self._settle(attempt)

    def _reap_leader(self, attempt: RunningAttempt) -> None:
        """Reap a leader. Until then its process group cannot be anyone else's."""
        if not self._output.paused:
            self._output.drain(attempt, self._now)
        if attempt.output_over and not attempt.in_grace:
            with contextlib.suppress(PermissionError):
                os.killpg(attempt.pid, signal.SIGKILL)
        _, status, usage = os.wait4(attempt.pid, 0)
        attempt.add_usage(usage)
        self._blame(attempt)
        by_kill = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if by_kill and attempt.cause is None and not attempt.memory_held:  # else its own group would tell
            attempt.out_of_memory = self._memory_kills.happened()
        attempt.leader_ended(status, self._now, DRAIN_S)
        del self._leaders[attempt.pid]
        self._ending.add(attempt)

    def _begin_watch(self, attempt: RunningAttempt) -> None:
        """An attempt has lived for a moment; what the kernel killed before that was none of it."""
        self._memory_kills.forget()
        self._watch.add(attempt, self._now)

    def _blame(self, attempt: RunningAttempt) -> None:
        """Find out whether the kernel has ended an attempt because its group was full."""
        found = self._watch.last_look(attempt) if attempt.cause is None else None
        if found is not None:
            attempt.cause, attempt.why, attempt.limit_broken = found.cause, found.why, found.limit

    def _reap_other(self, pid: int) -> None:
        _, _, usage = os.wait4(pid, 0)
        if pid in self._directories.removers:
            self._directories.remover_ended()
            return
        owner = self._family.reaped(pid)
        if owner is not None:
            owner.add_usage(usage)

    def _settle(self, attempt: RunningAttempt) -> None:
        """See whether an attempt is over, and hasten it when its time is up."""
        if attempt not in self._ending:
            return
        if not attempt.output_over and self._now >= attempt.drain_until and not self._output.paused:
            self._output.drain(attempt, self._now)
            attempt.output_open = not attempt.output_over
            self._output.cut(attempt)
        if not attempt.output_over:
            self._settle_later(attempt)
        elif not attempt.orphans and not self._left(attempt):
            self._finish(attempt)
        elif attempt.killing:
            for pid in attempt.orphans:
                kill_child(pid, signal.SIGKILL)
        elif not attempt.in_grace:
            self._kill(attempt)

    def _left(self, attempt: RunningAttempt) -> bool:
        """Tell whether something of an attempt is in its group that is no child of ours yet."""
        return attempt.group is not None and bool(attempt.group.members())

    def _settle_later(self, attempt: RunningAttempt) -> None:
        """Settle it when the drain is over; while the agent reads nothing, that is put off."""
        if attempt.settling is None or attempt.settling.action is None:
            when = max(attempt.drain_until, self._now + PAUSED_S)
            attempt.settling = self._timers.at(when, partial(self._settle, attempt))

    def _finish(self, attempt: RunningAttempt) -> None:
        self._output.announce(attempt)
        attempt.cancel_timers()
        self._watch.remove(attempt)
        for group in (attempt.group, attempt.half_group):
            if group is not None:
                self._groups.discard(group)
        kept = ""
        if attempt.directory is not None and attempt.keep:
            kept = self._directories.set_aside(attempt.directory)
        self._link.send(
            Ended(
                attempt=attempt.id,
                outcome=attempt.outcome(),
                stdout=attempt.stdout.take()[1],
                stderr=attempt.stderr.take()[1],
                stdout_size=attempt.stdout.size,
                stderr_size=attempt.stderr.size,
                kept=kept,
            )
        )
        del self._attempts[attempt.id]
        self._ending.discard(attempt)
        self._family.attempt_over(attempt)
        if attempt.directory is not None and not attempt.keep:
            self._vacated.append(attempt.directory)

    # --- the end --------------------------------------------------------------------------------------------

    def _end_everything(self) -> None:
        """Kill everything; as the subreaper we get to see whatever loses its parent."""
        deadline = time.monotonic() + SHUTDOWN_S
        for attempt in list(self._attempts.values()):
            kill_attempt(attempt, self._look)
        while time.monotonic() < deadline:
            for pid in self._family.everyone():
                kill_child(pid, signal.SIGKILL)
            try:
                while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
                    pass
            except ChildProcessError:
                break
            time.sleep(0.002)
        self._directories.close()
        self._demotion.leave()


def _crowded(failure: CommandNotStarted) -> bool:
    """Tell whether the kernel had no room for one more process."""
    reason = failure.__cause__
    return isinstance(reason, OSError) and reason.errno == errno.EAGAIN
