"""The words between a worker's agent and its runner. Both are always of one version.

A frame is the length of its body (4 bytes, big-endian) and the body: one message in msgpack.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.messages import AttemptId, AttemptUse, StreamName
from alb_core.notes import Note
from alb_core.tasks import Outcome


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent tells its runner at the start, as JSON in an argument."""

    worker: str
    #: The worker's name, which commands see as ``ALB_WORKER``.
    home: str
    #: The worker's directory, absolute and without symbolic links: it tells the processes of this worker
    #: from those of another one of the same name.
    cgroup: str
    #: Name of the runner's own control group, unique among all runners.
    mechanism: str = ""
    #: ``cgroup2`` or ``cgroup1``: use only control groups of that version; ``sampling``: use none; empty: use
    #: what there is.
    allow_run_as: tuple[str, ...] = ()
    #: Login names of users whose rights commands may have.


class RunnerMessage(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag=True, array_like=True):
    """The base of all messages of this link."""


class Start(RunnerMessage, frozen=True, kw_only=True):
    """Run this command. Answer: Started and then Ended, or only Ended where it could not be started."""

    attempt: AttemptId
    command: str | tuple[str, ...]
    #: A string runs under ``/bin/sh -c``; a vector is executed as it is.
    env: dict[str, str]
    cwd: str | None
    #: None: a fresh directory, removed afterwards.
    time_limit_s: float | None
    grace_s: float
    #: Between TERM and KILL at the time limit.
    cpus: float
    memory_bytes: int
    marks: dict[str, str]
    #: What the agent adds to its environment; no `env` can replace it.
    prepared: str = ""
    #: A directory that holds its files, to be its fresh one; empty: an empty one.
    keep: bool = False
    #: Its fresh directory is wanted when it is over.
    bounds: Bounds = NO_BOUNDS
    #: What it may use.
    stdin: bytes = b""
    #: What it reads.
    stdin_file: str = ""
    #: One of its files, which it reads instead; with neither, it reads nothing.
    umask: int | None = None
    nice: int = 0
    #: Added to our niceness.
    run_as: str = ""
    #: Login name of the user whose rights it has; empty: it has ours.


class Kill(RunnerMessage, frozen=True, kw_only=True):
    """End this attempt: TERM, the grace, KILL. Answer: Ended. An unknown attempt has ended already."""

    attempt: AttemptId
    grace_s: float
    #: 0: KILL at once. A second Kill can shorten the grace, never lengthen it.


class Demote(RunnerMessage, frozen=True, kw_only=True):
    """Let this attempt run on with what nobody else wants of the processors. Answer: Demoted, if it runs."""

    attempt: AttemptId


ToRunner: TypeAlias = Start | Kill | Demote


class Ready(RunnerMessage, frozen=True, kw_only=True):
    """The runner is up."""

    pid: int
    cgroup: str
    #: Path of the control group that all its commands inherit; empty where none could be made.
    mechanism: str
    #: What can hold attempts to bounds of memory and processes: ``cgroup2``, ``cgroup1`` or ``sampling``.
    dyed: bool
    #: Whether its commands carry the mark of ``alb_worker.runner.dye``.


class Started(RunnerMessage, frozen=True, kw_only=True):
    """The command runs. May come together with Ended, and always before it and before any Output."""

    attempt: AttemptId
    pid: int
    #: The leader of the attempt's session.
    directory: str = ""
    #: Its fresh directory, where Start asked to keep it; it moves away before Ended.


class Output(RunnerMessage, frozen=True, kw_only=True):
    """A piece of a stream. Pieces come in order and without gaps."""

    attempt: AttemptId
    stream: StreamName
    offset: int
    data: bytes


class Ended(RunnerMessage, frozen=True, kw_only=True):
    """The attempt is over and none of its processes is left."""

    attempt: AttemptId
    outcome: Outcome
    #: Its streams are left empty: the spool fills them in.
    stdout: bytes
    #: The last bytes, those after the last Output.
    stderr: bytes
    stdout_size: int
    #: Length of the whole stream.
    stderr_size: int
    kept: str = ""
    #: Its fresh directory, where Start asked for it; whoever has this removes it.


class Demoted(RunnerMessage, frozen=True, kw_only=True):
    """The attempt has the lowest weight from now on, with all that it starts."""

    attempt: AttemptId
    mechanism: str
    #: What gives it: see ``alb_worker.runner.demotion``.


class Used(RunnerMessage, frozen=True, kw_only=True):
    """What attempts that run were seen to use; of each it is said every few seconds."""

    uses: tuple[AttemptUse, ...]


class Noted(RunnerMessage, frozen=True, kw_only=True):
    """Something for the agent's log."""

    note: Note


FromRunner: TypeAlias = Ready | Started | Output | Ended | Demoted | Used | Noted

AGENT_ENDED: Final = 0
#: Exit code of a runner whose agent closed the link.
