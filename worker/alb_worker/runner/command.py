"""Starting one command: its environment, its input, its pipes, and whose it is.

``os.posix_spawn`` starts it (glibc: ``CLONE_VFORK``), because it costs the least. Measured on 2 cores with
``/bin/true`` and both output pipes, four in flight: ``subprocess.Popen`` 1,770 to 1,840/s with 190 us of
our own time each, ``posix_spawn`` 2,060 to 2,200/s with 105 us. What ``posix_spawn`` lacks is set on the
runner itself just before, since it has one thread only: the working directory, the umask, the limit that
marks it, the out-of-memory score. Who asks for another user pays for a fork; see ``logins``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from alb_worker.runner.dye import Dye
from alb_worker.runner.inputs import open_input
from alb_worker.runner.logins import ALL_SIGNALS, Login, allowed_login, fork_as, give_directory
from alb_worker.runner.messages import Settings, Start
from alb_worker.runner.niceness import Niceness
from alb_worker.runner.open_files import OpenFiles, fix_open_files
from alb_worker.runner.processes import OutOfMemoryScore
from alb_worker.runner.program import CommandNotStarted, classified, enter_directory, find_program

INHERITED: Final = ("PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR")
#: What a command gets of the worker's own environment, besides ``LC_*``: no tokens, no preloads.

DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"

UMASK: Final = 0o022
#: Of commands that ask for none.


class Spawned(msgspec.Struct, frozen=True):
    """A command that runs."""

    pid: int
    dye: int
    stdout: int
    #: Our end of its pipe; does not block.
    stderr: int


class Spawner:
    """Starts commands.

    Args:
        settings: The worker's name and home, which commands see, and whose rights they may have.
        environ: The worker's own environment, of which little is passed on.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._environment = {
            name: value for name, value in environ.items() if name in INHERITED or name.startswith("LC_")
        }
        self._environment.setdefault("PATH", DEFAULT_PATH)
        self._marks = {"ALB_WORKER": settings.worker, "ALB_WORKER_HOME": settings.home}
        self._null = os.open("/dev/null", os.O_RDWR)
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self._dye = Dye(settings.home)
        self._score = OutOfMemoryScore()
        self._niceness = Niceness()
        self._open_files = OpenFiles()
        self._allowed = settings.allow_run_as

    def rinse(self) -> None:
        """What this process starts next is no command: it must not carry the mark of the last one."""
        self._dye.dip()

    @property
    def dyes(self) -> bool:
        """Whether commands carry a mark; see ``alb_worker.runner.dye``."""
        return self._dye.works

    def close(self) -> None:
        """Close its files."""
        os.close(self._null)
        os.close(self._root)
        self._score.close()

    def environment(self, start: Start, login: Login | None = None) -> dict[str, str]:
        """Return the whole environment of a command.

        Args:
            start: The command.
            login: Whose it is; None: ours.
        """
        attempt = start.attempt
        environment = {
            **self._environment,
            **(login.environment() if login is not None else {}),
            **start.env,
            **self._marks,
            **start.marks,
            "ALB_TASK_ID": attempt.task,
            "ALB_ATTEMPT": str(attempt.n),
            "ALB_CPUS": f"{start.cpus:g}",
            "ALB_MEM": str(start.memory_bytes),
        }
        array, dot, index = attempt.task.partition(".")
        if dot:
            environment["ALB_ARRAY_ID"] = array
            environment["ALB_INDEX"] = index
        return environment

    def spawn(self, start: Start, directory: str) -> Spawned:
        """Start a command in a directory.

        Raises:
            CommandNotStarted: It does not run, and nothing is left of the try.
        """
        login = allowed_login(start.run_as, self._allowed) if start.run_as else None
        if login is not None and start.cwd is None:
            give_directory(directory, login)
        words = ("/bin/sh", "-c", start.command) if isinstance(start.command, str) else start.command
        launch = _Launch(start, words, self.environment(start, login), directory, login)
        if not start.stdin and not start.stdin_file:
            return self._spawn_reading(launch, self._null)
        stdin = open_input(start, directory)
        try:
            return self._spawn_reading(launch, stdin)
        finally:
            os.close(stdin)

    def _spawn_reading(self, launch: _Launch, stdin: int) -> Spawned:
        """Start a command that has its input; another user's looks for directory and program itself."""
        if launch.login is not None:
            return self._spawn_with_pipes(launch, launch.words[0], stdin)
        enter_directory(launch.directory)
        try:
            return self._spawn_with_pipes(launch, launch.find_program(), stdin)
        finally:
            os.fchdir(self._root)

    def _spawn_with_pipes(self, launch: _Launch, program: str, stdin: int) -> Spawned:
        descriptors: list[int] = []
        try:
            descriptors += os.pipe()
            descriptors += os.pipe()
            stdout, stdout_end, stderr, stderr_end = descriptors
            pid, dye = self._spawn_marked(launch, program, (stdin, stdout_end, stderr_end))
        except (OSError, ValueError, CommandNotStarted) as error:
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(error, CommandNotStarted):
                raise
            raise classified(program, error) from error
        os.close(stdout_end)
        os.close(stderr_end)
        os.set_blocking(stdout, False)
        os.set_blocking(stderr, False)
        return Spawned(pid, dye, stdout, stderr)

    def _spawn_marked(self, launch: _Launch, program: str, streams: tuple[int, int, int]) -> tuple[int, int]:
        start = launch.start
        dye = self._dye.dip()
        self._niceness.take_on(start.nice)
        self._score.raise_for_command()
        if start.umask is not None:
            os.umask(start.umask)
        try:
            if launch.login is not None:
                niceness = self._niceness.of(start.nice) if start.nice else None
                pid = fork_as(launch.login, streams, niceness, launch.execute)
            else:
                if start.bounds.open_files is not None:
                    # The C library refuses to pass on a descriptor that is beyond the limit.
                    self._open_files.take_on(max(start.bounds.open_files, max(streams) + 1))
                pid = _posix_spawn(launch, program, streams)
        finally:
            self._open_files.give_up()
            if start.umask is not None:
                os.umask(UMASK)
            self._score.restore()
            self._niceness.give_up(start.nice)
        if start.nice:
            self._niceness.give(pid, start.nice)
        if start.bounds.open_files is not None and launch.login is None:
            fix_open_files(pid, start.bounds.open_files)
        return pid, dye


class _Launch(msgspec.Struct, frozen=True, gc=False):
    """A command that is about to start."""

    start: Start
    words: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    login: Login | None
    #: Whose it is; None: ours.

    def find_program(self) -> str:
        """Return the program's path; raises CommandNotStarted where there is none."""
        return find_program(self.words[0], self.environment.get("PATH", DEFAULT_PATH))

    def execute(self) -> None:
        """Become the command; raises CommandNotStarted."""
        enter_directory(self.directory)
        program = self.find_program()
        if self.start.bounds.open_files is not None:
            fix_open_files(0, self.start.bounds.open_files)
        try:
            os.execve(program, self.words, self.environment)  # noqa: S606 (that is its purpose)
        except (OSError, ValueError) as error:
            raise classified(program, error) from error


def _posix_spawn(launch: _Launch, program: str, streams: tuple[int, int, int]) -> int:
    return os.posix_spawn(
        program,
        launch.words,
        launch.environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, target) for target, descriptor in enumerate(streams)],
        setsid=True,
        setsigmask=(),
        setsigdef=ALL_SIGNALS,
    )
