"""One background process, known by its pid and the time it began, so that no other is ever taken for it.

Knows nothing of clusters: a name, a command, a log file, signals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from alb_core.errors import AlbError

POLL_S = 0.02
FREEZE_S = 5.0
#: A thread inside the kernel, for example in a write to a slow disk, stops only when it comes out.


class DaemonFailed(AlbError):
    """Raised when a background process ended that should run, or does not do what it was started for.

    Args:
        name: The process.
        why: One sentence.
        log: Where it wrote what happened.
    """

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(name, why, log)
        self.name = name
        self.why = why
        self.log = log

    def __str__(self) -> str:
        return f"{self.name} {self.why}; its log {self.log} ends:\n{log_end(self.log)}"


class Life(msgspec.Struct, frozen=True):
    """One life of a process. A pid alone may belong to somebody else by now."""

    pid: int
    started: int
    #: Clock ticks after the machine's boot (field 22 of ``/proc/<pid>/stat``).

    def running(self) -> bool:
        """Tell whether this very process exists and is not a zombie."""
        return _running_since(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; False where it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.running():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


class Daemon:
    """A process that runs in a session of its own and logs into a file.

    Args:
        name: For people.
        command: The argument vector.
        log: Where its output is appended.
        environ: Added to the environment.
        life: The life that it has already, as a state file remembers it.
    """

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        life: Life | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.environ = dict(environ or {})
        self.life = life
        self.wanted = False
        #: Whether it was started here and nobody asked it to end: then it should run.
        self._child: subprocess.Popen[bytes] | None = None
        #: Set while it is our own child, which we have to reap.

    @property
    def pid(self) -> int:
        """The pid of its present or latest life; 0 before the first."""
        return self.life.pid if self.life else 0

    @property
    def running(self) -> bool:
        """Whether it exists; also true while it is frozen."""
        if self._child is not None:
            return self._child.poll() is None  # exact, and reaps it
        return self.life is not None and self.life.running()

    def start(self) -> None:
        """Start it; a life that still runs goes on instead."""
        self.wanted = True
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )
        self.life = Life(self._child.pid, _running_since(self._child.pid) or 0)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing where it is gone."""
        if self.life is not None:
            self.life.send(number)

    def kill(self) -> None:
        """End it without warning (SIGKILL), and wait until it is gone."""
        self.wanted = False
        self.send(signal.SIGKILL)
        self.wait_gone(10)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP), and wait until its last thread stands still."""
        self.send(signal.SIGSTOP)
        wait_until(lambda: not self.running or _stands_still(self.pid), FREEZE_S)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """Send it SIGTERM; one that is frozen is thawed so that it can obey."""
        self.wanted = False
        self.send(signal.SIGTERM)
        self.thaw()

    def stop(self, grace_s: float = 10.0) -> None:
        """End it: TERM, a grace, KILL."""
        self.ask_to_stop()
        if not self._gone(grace_s):
            self.kill()

    def wait_gone(self, timeout_s: float) -> None:
        """Wait until it has ended.

        Raises:
            DaemonFailed: It did not, in that time.
        """
        if not self._gone(timeout_s):
            raise DaemonFailed(self.name, f"(pid {self.pid}) still runs after {timeout_s:g} s", self.log)

    def _gone(self, timeout_s: float) -> bool:
        return wait_until(lambda: not self.running, timeout_s)


def wait_until(condition: Callable[[], object], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Poll a condition until it holds or the time is up; returns whether it holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def log_end(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented; a sentence where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    (cannot be read: {error})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (it is empty)"


def _running_since(pid: int) -> int | None:
    """Return the start time of a process in ticks after boot; None where there is none, or only a zombie.

    While a process with many threads dies, its first thread may be a zombie before the others are gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    return None if state in "ZX" and threads <= 1 else started


def _stands_still(pid: int) -> bool:
    """Tell whether every thread of a process is stopped."""
    try:
        texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False
    return all(text.rpartition(")")[2].split()[0] in "Tt" for text in texts)
