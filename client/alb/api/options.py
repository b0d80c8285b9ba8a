"""How a command is to be run, as Python says it, and the specification that becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.errors import InvalidTask
from alb_core.resources import Request
from alb_core.spec import OnLost, TaskSpec

if TYPE_CHECKING:
    from alb.api.files import FilesWanted
    from alb.api.stdin import Input

Command = str | Sequence[str]

_BOUNDS: Final = {
    "cpu_limit": "cpu_s",
    "memory_limit": "memory_bytes",
    "processes": "processes",
    "open_files": "open_files",
    "output_limit": "output_bytes",
    "scratch": "scratch_bytes",
}
#: Keyword: what `Bounds` calls it.


class TaskOptions(TypedDict, total=False):
    """How a command is to be run: the keywords of `Client.submit`."""

    env: Mapping[str, str]
    #: Added to the worker's clean environment.
    cwd: str | None
    #: Absolute path on the worker; None: a fresh, empty directory.
    time_limit: float | None
    #: Seconds of wall-clock time, then TERM, then `grace`, then KILL.
    grace: float
    cpus: float
    memory: int
    #: Bytes.
    net: int
    #: Bits per second.
    labels: Sequence[str]
    #: Of the worker, each ``key`` or ``key=value``.
    cpu_limit: float | None
    #: Seconds of processor time, all its processes together. Of this and the next ones, and of `time_limit`:
    #: None: the cluster's default.
    memory_limit: int | None
    #: Resident bytes, all its processes together; None: what it reserves (`memory`), if it does.
    processes: int | None
    #: And threads, at once.
    open_files: int | None
    #: Of each of its processes.
    output_limit: int | None
    #: Bytes kept of each stream, half from its head and half from its tail.
    scratch: int | None
    #: Bytes in its fresh directory.
    stdin: Input | None
    #: What it reads: up to 32 KiB of bytes or text, or the path of a file of any size; None: nothing.
    umask: int | None
    #: For example 0o027; None: 0o022.
    nice: int
    #: Added to the niceness of the worker.
    run_as: str
    #: Login name on the worker, which must allow it; empty: the worker's own user.
    priority: int
    #: Higher first.
    on_lost: str | OnLost
    #: ``rerun`` (default) or ``fail``: what happens when the worker is lost.
    name: str
    steps: int
    #: Run the command once for each step from 1 to this, which it finds in ``ALB_STEP``.
    files: FilesWanted
    #: Paths here, or a mapping of names in the task's fresh directory to paths; there when it starts.
    returns: Sequence[str]
    #: Globs, relative to that directory: what they match at the end waits for `TaskFuture.fetch`.
    checkpoints: Sequence[str]
    #: Globs, relative to that directory: what they match is saved, and there again where the task goes on.


def make_spec(command: Command, options: Mapping[str, Any]) -> TaskSpec:
    """Make the specification of a command.

    Raises:
        InvalidTask: An option has the wrong type, or is none.
    """
    request = Request(
        options.get("cpus", 1.0),
        options.get("memory", 0),
        options.get("net", 0),
        tuple(options.get("labels", ())),
    )
    unknown = options.keys() - TaskOptions.__annotations__.keys()
    if unknown:
        raise InvalidTask("", f"there is no option {min(unknown)!r}")
    try:
        on_lost = OnLost(options.get("on_lost", OnLost.RERUN))
    except ValueError:
        raise InvalidTask("", f"on_lost is {options['on_lost']!r}; use 'rerun' or 'fail'") from None
    return TaskSpec(
        command=command if isinstance(command, str) else tuple(command),
        env=dict(options.get("env", ())),
        cwd=options.get("cwd"),
        time_limit_s=options.get("time_limit"),
        bounds=_bounds(options),
        umask=options.get("umask"),
        nice=options.get("nice", 0),
        run_as=options.get("run_as", ""),
        grace_s=options.get("grace", 5.0),
        request=request,
        priority=options.get("priority", 0),
        on_lost=on_lost,
        name=options.get("name", ""),
        steps=options.get("steps", 0),
        returns=_patterns("returns", options.get("returns", ())),
        checkpoints=_patterns("checkpoints", options.get("checkpoints", ())),
    )


def _bounds(options: Mapping[str, Any]) -> Bounds:
    bounds = {field: options[name] for name, field in _BOUNDS.items() if options.get(name) is not None}
    return Bounds(**bounds) if bounds else NO_BOUNDS


def _patterns(name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise InvalidTask("", f"{name} is one text; give a list of patterns")
    return tuple(patterns)
