"""Lets kinds of task say what is started, and reads what that left: foreign code in the agent, in bounds.

It stands behind the luggage: what comes here has its files. A kind's code is interrupted when its time is
over; whatever it raises or answers is the end of that attempt at most. A plain command does not come here.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from alb_core import limits
from alb_core.files import FileRef, wrong_name
from alb_core.kinds import BINARY_KIND, FOLDER, PAYLOAD_FILE, VALUE_FILE, program_for
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import LaunchAttempt
from alb_worker.kinds.interface import PATIENCE_S, WRITTEN_BYTES_MAX, Attempt, Kind, KindFailed, Launch
from alb_worker.runner.messages import Ended

FAILED_STATUS: Final = 125
WHY_LENGTH_MAX: Final = 300
#: Of what a plug-in raised.

T = TypeVar("T")


class KindTooSlow(Exception):
    """Raised inside a kind's code whose time is over. Asking it again does not help."""


class Bound(Protocol):
    """What bounds the time of foreign code: an ``alb_core.io.alarm.Alarm``."""

    def call(self, seconds: float, code: Callable[[], T]) -> T:
        """Run code for so long at most, and return what it does."""


def too_slow() -> KindTooSlow:
    """Return what is raised inside a kind's code whose time is over."""
    return KindTooSlow(f"it took more than {PATIENCE_S} s")


class KindDesk:
    """The kinds of one worker, and the attempts of them that are under way.

    Args:
        kinds: By name.
        bound: Bounds the time of their code.
        worker: This worker's name.
        arch: Of its machine.
        home: Its directory.
    """

    def __init__(self, kinds: Mapping[str, Kind], *, bound: Bound, worker: str, arch: str, home: str) -> None:
        self._kinds: Final = kinds
        self._bound: Final = bound
        self._worker: Final = worker
        self._arch: Final = arch
        self._place: Final = Path(home) / "kinds"
        #: Of directories that become a command's fresh one: apart from the runner's own, which it clears when
        #: it starts, and that may be after the first order.
        self._under_way: Final[dict[AttemptId, str]] = {}
        #: Attempts that may leave a value, and their kinds.
        self._clear()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def packed(self, spec: TaskSpec, files: tuple[FileRef, ...]) -> tuple[FileRef, ...]:
        """Return what an attempt takes along: its files, and of its programs that for this machine."""
        program = program_for(spec.binaries, self._arch)
        if program is None:
            return files
        # A checkpoint may hold what lay there on a machine of another kind.
        return (*(file for file in files if file.name != program.name), program)

    # --- the start ------------------------------------------------------------------------------------------

    def prepare(self, action: LaunchAttempt, directory: str) -> tuple[LaunchAttempt, str]:
        """Turn an attempt into a command.

        Args:
            action: What is to start.
            directory: Holds its files; empty: it has none.

        Returns:
            What is to start instead, and the directory that it starts in.

        Raises:
            KindFailed: It cannot be; nothing is left of the try, but for a directory that was given.
        """
        spec, attempt = action.spec, action.attempt
        kind = self._kinds.get(spec.kind)
        if kind is None:
            raise KindFailed(
                f"the worker {self._worker} has no kind of task {spec.kind!r}, only "
                f"{', '.join(sorted(self._kinds))}: install its plug-in there (docs/kinds.md)"
            )
        own = ""
        try:
            if not directory:
                own = directory = self._make_directory(attempt)
            launch = self._launch(kind, attempt, spec, directory)
        except (KindFailed, OSError) as error:
            if own:
                shutil.rmtree(own, ignore_errors=True)
            if isinstance(error, KindFailed):
                raise
            raise KindFailed(
                f"the worker {self._worker} has no room to prepare it: {error.strerror}"
            ) from error
        return msgspec.structs.replace(action, spec=self._to_start(attempt, spec, launch)), directory

    def _make_directory(self, attempt: AttemptId) -> str:
        directory = self._place / f"{attempt.task}.{attempt.n}"
        directory.mkdir(mode=0o700, parents=True)
        return str(directory)

    def _launch(self, kind: Kind, attempt: AttemptId, spec: TaskSpec, directory: str) -> Launch:
        if spec.kind != BINARY_KIND:
            Path(directory, FOLDER).mkdir(exist_ok=True)
        if spec.payload:
            _write(directory, {PAYLOAD_FILE: spec.payload})
        known = Attempt(
            task=attempt.task,
            n=attempt.n,
            spec=spec,
            worker=self._worker,
            arch=self._arch,
            directory=directory,
        )
        launch = self._ask(spec.kind, lambda: _checked(kind.prepare(known)))
        _write(directory, launch.files)
        return launch

    def _to_start(self, attempt: AttemptId, spec: TaskSpec, launch: Launch) -> TaskSpec:
        changes: dict[str, object] = {"command": launch.command}
        if launch.env:
            changes["env"] = {**spec.env, **launch.env}
        if launch.stdin is not None:
            changes |= {"stdin": launch.stdin, "stdin_file": ""}
        if spec.kind != BINARY_KIND:
            self._under_way[attempt] = spec.kind
            changes["returns"] = (*spec.returns, VALUE_FILE)  # so that the runner keeps the directory for us
        return msgspec.structs.replace(spec, **changes)

    # --- the end --------------------------------------------------------------------------------------------

    def conclude(self, ended: Ended) -> tuple[Ended, tuple[str, ...]]:
        """Read what an attempt left.

        Returns:
            Its end with its value, and the patterns of what must come back as a file instead.
        """
        name = self._under_way.pop(ended.attempt, None)
        if name is None:
            return ended, ()
        value, large = _read_value(ended.kept) if ended.kept else (b"", False)
        outcome = msgspec.structs.replace(ended.outcome, value=value)
        kind = self._kinds[name]
        if type(kind).conclude is not Kind.conclude:
            outcome = self._concluded(name, kind, outcome)
        return msgspec.structs.replace(ended, outcome=outcome), (VALUE_FILE,) if large else ()

    def _concluded(self, name: str, kind: Kind, outcome: Outcome) -> Outcome:
        try:
            told = self._ask(name, lambda: _checked_outcome(kind.conclude(outcome)))
        except KindFailed as error:
            why = "; ".join(text for text in (outcome.why, str(error)) if text)
            exited = outcome.cause is Cause.EXITED  # it must not count as a success
            code = FAILED_STATUS if exited else outcome.exit_code
            return msgspec.structs.replace(outcome, why=why, exit_code=code)
        return msgspec.structs.replace(outcome, value=told.value, why=told.why, exit_code=told.exit_code)

    def forget(self, attempt: AttemptId) -> None:
        """It was not started."""
        self._under_way.pop(attempt, None)

    def abandon(self) -> None:
        """The runner died: nothing is under way any more."""
        self._under_way.clear()
        self._clear()

    def _clear(self) -> None:
        """Remove directories that no command was started in."""
        shutil.rmtree(self._place, ignore_errors=True)

    # --- foreign code ---------------------------------------------------------------------------------------

    def _ask(self, name: str, code: Callable[[], T]) -> T:
        """Run a kind's code; raises KindFailed where it does, or does anything else but answer."""
        try:
            return self._bound.call(PATIENCE_S, code)
        except KindFailed as error:
            raise KindFailed(f"the kind {name!r}: {str(error)[:WHY_LENGTH_MAX]}") from error
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}"[:WHY_LENGTH_MAX]
            raise KindFailed(f"the plug-in of the kind {name!r} failed on {self._worker}: {told}") from error


def remove_bare(directory: str) -> bool:
    """Remove a directory that holds nothing but what kinds put there; returns whether it is gone.

    The command may have put anything there, and may have been another user than we are: no link is followed.
    """
    with suppress(OSError):
        with suppress(FileNotFoundError):
            _remove_folder(f"{directory}/{FOLDER}")
        os.rmdir(directory)  # noqa: PTH106 (as cheap as it can be)
        return True
    return False


def _remove_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in (PAYLOAD_FILE, VALUE_FILE):
            with suppress(FileNotFoundError):
                os.unlink(Path(name).name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(folder)  # noqa: PTH106 (as above)


def _checked(launch: object) -> Launch:
    """Hold a kind's answer to the interface: the types of its fields, names, sizes."""
    if not isinstance(launch, Launch):
        raise TypeError(f"it answered with a {type(launch).__name__}, which is no Launch")
    msgspec.msgpack.decode(msgspec.msgpack.encode(launch), type=Launch)
    if not launch.command or not launch.command[0]:
        raise ValueError("its command is empty")
    for name in launch.files:
        why = wrong_name(name)
        if why is not None:
            raise ValueError(why)
    written = sum(map(len, launch.files.values()))
    if written > WRITTEN_BYTES_MAX:
        raise ValueError(f"its files have {written} bytes, more than {WRITTEN_BYTES_MAX}")
    if launch.stdin is not None and len(launch.stdin) > limits.STDIN_BYTES_MAX:
        raise ValueError(f"its standard input has {len(launch.stdin)} bytes: let the command read a file")
    return launch


def _checked_outcome(outcome: object) -> Outcome:
    if not isinstance(outcome, Outcome):
        raise TypeError(f"it answered with a {type(outcome).__name__}, which is no Outcome")
    msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome)
    if len(outcome.value) > limits.VALUE_BYTES_MAX:
        raise ValueError(f"its value has {len(outcome.value)} bytes, more than {limits.VALUE_BYTES_MAX}")
    return outcome


def _write(directory: str, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _read_value(directory: str) -> tuple[bytes, bool]:
    """Return the value that a command left, and whether it is too large for that.

    The command may have put anything there: only a regular file counts, and no symbolic link leads to it.
    """
    opened: list[int] = []
    descend = partial(os.open, flags=os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        opened.append(
            os.open(f"{directory}/{FOLDER}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        )
        opened.append(descend(Path(VALUE_FILE).name, dir_fd=opened[0]))
        found = os.fstat(opened[1])
        if not stat.S_ISREG(found.st_mode):
            return b"", False
        if found.st_size > limits.VALUE_BYTES_MAX:
            return b"", True
        return os.read(opened[1], limits.VALUE_BYTES_MAX), False
    except OSError:
        return b"", False
    finally:
        for descriptor in opened:
            os.close(descriptor)
