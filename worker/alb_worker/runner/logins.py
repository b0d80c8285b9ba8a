"""Running a command as another user: who that is, what it is given, and the process that becomes it.

``posix_spawn`` cannot change users, and a program and a directory must be looked for with the user's own
rights, not with ours. So the runner, which has one thread only, forks; its child takes off everything that is
the runner's, becomes the user, and executes the command, or tells through a pipe why it cannot. That costs
some 2 ms; only such commands pay it.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

import msgspec

from alb_core.tasks import Cause
from alb_worker.runner.program import CommandNotStarted

ALL_SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Login(NamedTuple):
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """Return what tells a program whose it is."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or "/bin/sh"}


class _Failure(msgspec.Struct, array_like=True):
    """What the child says before it gives up."""

    cause: Cause
    why: str


def find_login(name: str) -> Login | None:
    """Return a user of this machine with all its groups; None: there is none of that name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Login(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell)


def allowed_login(name: str, allowed: tuple[str, ...]) -> Login:
    """Return the user that a task asks for.

    Args:
        name: Its login name.
        allowed: Whom this worker lets tasks be.

    Raises:
        CommandNotStarted: The worker does not allow it, or there is no such user.
    """
    if name not in allowed:
        others = f"it allows {', '.join(allowed)}" if allowed else "it allows none"
        raise CommandNotStarted(
            Cause.NOT_STARTED,
            f"this worker runs no task as user {name}: {others} (alb worker --allow-run-as {name} would)",
        )
    login = find_login(name)
    if login is None:
        raise CommandNotStarted(Cause.NOT_STARTED, f"there is no user {name} on this worker")
    return login


def give_directory(directory: str, login: Login) -> None:
    """Give a fresh directory, and the files that are in it, to a user. Nobody else has touched it yet.

    Raises:
        CommandNotStarted: The disk fails.
    """
    try:
        for folder, _, files, descriptor in os.fwalk(directory, follow_symlinks=False):
            for name in files:
                os.chown(name, login.uid, login.gid, dir_fd=descriptor, follow_symlinks=False)
            os.fchown(descriptor, login.uid, login.gid)
            if folder == directory:
                os.fchmod(descriptor, stat.S_IRWXU)
    except OSError as error:
        why = f"its directory cannot be given to user {login.name}: {error.strerror}"
        raise CommandNotStarted(Cause.NOT_STARTED, why) from error


def fork_as(
    login: Login, streams: tuple[int, int, int], niceness: int | None, execute: Callable[[], None]
) -> int:
    """Start a process in a session of its own, as a user.

    Args:
        login: Who.
        streams: Its standard input, output and error.
        niceness: What it has; None: what we have.
        execute: Replaces the process by a command, or raises CommandNotStarted; runs as the user.

    Returns:
        Its number.

    Raises:
        CommandNotStarted: What `execute` raised, or the user could not be had; nothing is left of the try.
        OSError: There is no room for a process.
    """
    told, telling = os.pipe()  # closed by a successful exec
    try:
        pid = os.fork()
        if pid == 0:
            _child(login, streams, niceness, execute, telling)
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(telling)
    with open(told, "rb") as source:  # noqa: PTH123 (a descriptor)
        said = source.read()
    if not said:
        return pid
    os.waitpid(pid, 0)
    failure = msgspec.msgpack.decode(said, type=_Failure)
    raise CommandNotStarted(failure.cause, failure.why)


def _child(
    login: Login,
    streams: tuple[int, int, int],
    niceness: int | None,
    execute: Callable[[], None],
    telling: int,
) -> NoReturn:
    """Be the child, which never comes back into the runner's code."""
    try:
        failure = _Failure(Cause.NOT_STARTED, "its execution returned")
        try:
            _become(login, streams, niceness)
            execute()
        except CommandNotStarted as error:
            failure = _Failure(error.cause, error.why)
        except OSError as error:
            failure = _Failure(Cause.NOT_STARTED, f"it cannot be run as user {login.name}: {error.strerror}")
        except BaseException as error:  # noqa: BLE001 (silence would mean that it runs)
            failure = _Failure(Cause.NOT_STARTED, f"it cannot be run as user {login.name}: {error!r}")
        os.write(telling, msgspec.msgpack.encode(failure))
    finally:
        os._exit(125)


def _become(login: Login, streams: tuple[int, int, int], niceness: int | None) -> None:
    """Take off what is the runner's: its signals, its descriptors, and last its rights."""
    os.setsid()
    if niceness is not None:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    signal.set_wakeup_fd(-1)
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)  # all others are closed by exec
    os.setgroups(login.groups)
    os.setresgid(login.gid, login.gid, login.gid)
    os.setresuid(login.uid, login.uid, login.uid)
