"""The options of ``alb submit``, in groups: each is a decorator that gives the verb its options.

An option has the name of the keyword of `Client.submit` that it becomes, and its value is what that takes:
the verb hands on what it does not need itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from alb.cli.values import BANDWIDTH, BINARY, COUNT, DURATION, FILE, SETTING, SIZE, UMASK, Number
from alb.cli.workflow import BEGIN, DELAYS, DEPENDENCIES, EXIT_CODES, FACTOR
from alb_core import limits
from alb_core.kinds import COMMAND_KIND
from alb_core.resources import parse_counts
from alb_core.speeds import Strain
from alb_core.vectors import Vector, parse_vector

F = TypeVar("F", bound=Callable[..., Any])
Group = Callable[[F], F]


def _group(*options: Callable[[F], F]) -> Group[F]:
    """Return a decorator that gives a verb options; ``--help`` lists them in this order."""

    def decorate(verb: F) -> F:
        for option in reversed(options):
            verb = option(verb)
        return verb

    return decorate


def _environment(
    _context: click.Context, _option: click.Parameter, settings: tuple[tuple[str, str | None], ...]
) -> dict[str, str]:
    """Return variables by name; those without a value are copied from here."""
    env: dict[str, str] = {}
    for key, value in settings:
        here = os.environ.get(key) if value is None else value
        if here is None:
            raise click.BadParameter(f"{key} is not set here; write {key}=VALUE")
        env[key] = here
    return env


def _by_name(
    _context: click.Context, _option: click.Parameter, files: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """Return paths by the names that they have at the task."""
    named: dict[str, str] = {}
    for path, name in files:
        if named.setdefault(name, path) != path:
            raise click.BadParameter(
                f"{named[name]} and {path} are both to be {name!r}; give one another name with PATH:NAME"
            )
    return named


def _by_arch(
    _context: click.Context, _option: click.Parameter, programs: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """Return paths of programs by the architectures that they are for."""
    named: dict[str, str] = {}
    for arch, path in programs:
        if named.setdefault(arch, path) != path:
            raise click.BadParameter(
                f"{named[arch]} and {path} are both for {arch}; say what another is for: ARCH=PATH"
            )
    return named


def _words(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is written with commas, as one list."""
    return tuple(dict.fromkeys(word for text in texts for word in text.split(",")))


def _amounts(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    """Return named counts."""
    try:
        return parse_counts(word for text in texts for word in text.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _vector(_context: click.Context, _option: click.Parameter, text: str | None) -> Vector | None:
    """Return what is to be optimised."""
    try:
        return None if text is None else parse_vector(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _content(_context: click.Context, _option: click.Parameter, file: BinaryIO | None) -> bytes:
    """Return what a file holds; nothing without one."""
    return b"" if file is None else file.read()


#: What a task reserves, and where it may run.
resource_options: Group[Any] = _group(
    click.option(
        "-c",
        "--cpus",
        type=Number(min=0, min_open=True),
        default=1.0,
        help="Processors; may be a fraction.",
    ),
    click.option("--mem", "memory", type=SIZE, default=0, help="Memory to reserve and to use at most: 4G."),
    click.option(
        "--net", type=BANDWIDTH, default=0, help="Bandwidth to reserve, for example 100M (bits per second)."
    ),
    click.option(
        "--gpus", type=COUNT, help="GPUs that no other task has meanwhile; their indexes: $ALB_GPUS."
    ),
    click.option(
        "--resource",
        "resources",
        metavar="NAME=COUNT",
        multiple=True,
        callback=_amounts,
        help="What workers have in whole units: licence=2. May be repeated.",
    ),
    click.option(
        "--require",
        "--label",
        "require",
        metavar="LABELS",
        multiple=True,
        callback=_words,
        help="The worker must carry them: KEY, KEY=VALUE or KEY!=VALUE, with commas. Every worker has arch, "
        "host and kernel.",
    ),
    click.option(
        "--prefer",
        metavar="LABELS",
        multiple=True,
        callback=_words,
        help="The same, as a wish: one that carries them is taken where it has room, else another.",
    ),
    click.option(
        "--measured",
        is_flag=True,
        help="Only where measured CPU, memory and network leave room for it, not just reservations.",
    ),
    click.option(
        "--work",
        type=click.Choice([each.value for each in Strain]),
        help="What it mostly strains: a worker that is to be fast is fast in that.",
    ),
    click.option(
        "--optimize",
        metavar="VECTOR",
        callback=_vector,
        help="What counts when its worker is chosen: time, resources, or time=0.7,resources=0.3. Who saves "
        "waits up to half a minute for room where something runs. Else the policy decides.",
    ),
    click.option(
        "-p", "--priority", type=click.IntRange(-(2**31), 2**31 - 1), default=0, help="Higher first."
    ),
)

#: What ends a task that takes too much; where it says nothing, `alb limits` does.
limit_options: Group[Any] = _group(
    click.option(
        "-t", "--time-limit", "--time", type=DURATION, help="Wall-clock limit: 90, 10m, 1h30m, HH:MM:SS."
    ),
    click.option("--grace", type=DURATION, default=5.0, help="Between TERM and KILL at the limit."),
    click.option("--cpu-limit", type=DURATION, help="Of processor time, all its processes together."),
    click.option(
        "--mem-limit", "memory_limit", type=SIZE, help="Of resident memory, all its processes. Else --mem."
    ),
    click.option("--processes", type=click.IntRange(min=1), help="Processes and threads at once."),
    click.option(
        "--open-files", type=click.IntRange(min=limits.BOUND_OPEN_FILES_MIN), help="Of each of its processes."
    ),
    click.option(
        "--output-limit", type=SIZE, help="Kept of each stream, half of it from the head, half from the tail."
    ),
    click.option("--scratch", type=SIZE, help="In its fresh directory."),
)

#: What its process is given.
execution_options: Group[Any] = _group(
    click.option(
        "--env",
        type=SETTING,
        multiple=True,
        callback=_environment,
        help="KEY=VALUE, or KEY to copy it from here.",
    ),
    click.option("-D", "--cwd", help="Directory on the worker. Else a fresh one."),
    click.option(
        "--stdin",
        metavar="FILE",
        help="What it reads: a file here, or - for our standard input to its end. Else nothing.",
    ),
    click.option("--umask", type=UMASK, help="Of its processes, for example 027. Else 022."),
    click.option(
        "--nice",
        type=click.IntRange(-20, 19),
        default=0,
        help="Added to the worker's niceness. Below 0 the worker must be allowed to.",
    ),
    click.option(
        "--run-as", default="", metavar="LOGIN", help="User on the worker; `alb worker --allow-run-as`."
    ),
    click.option("-J", "--name", default="", help="A name for people."),
)

#: What becomes of it when something goes wrong.
failure_options: Group[Any] = _group(
    click.option(
        "--on-lost", type=click.Choice(["rerun", "fail"]), default="rerun", help="If its worker is lost."
    ),
    click.option(
        "--preemptible",
        is_flag=True,
        help="May be ended where others need its memory, at most five times; it runs again later.",
    ),
    click.option(
        "--speculative/--no-speculative",
        default=None,
        help="It may run twice at once: if it lags far behind its likes, a copy of it is started on another "
        "worker, and the first success counts. Else as the cluster is set: no (alb copies).",
    ),
)

#: How often it is tried again when it fails by itself.
retry_options: Group[Any] = _group(
    click.option(
        "--retries",
        type=click.IntRange(0, limits.RETRIES_MAX),
        default=0,
        help="Try again so often after a failure of its own; lost workers count apart.",
    ),
    click.option(
        "--retry-on",
        type=EXIT_CODES,
        default=(),
        help="Only after these exit codes: 1,75. Else after any failure, signals and limits too.",
    ),
    click.option(
        "--retry-delay",
        type=DELAYS,
        help="Before the first retry, then twice as long each time, at most 5m or what follows: 1s:1h.",
    ),
    click.option(
        "--retry-memory",
        type=FACTOR,
        help="After it ran out of memory, try again with so much more: 2x.",
    ),
    click.option(
        "--crash-limit",
        type=click.IntRange(0, limits.RETRIES_MAX),
        help="Attempts that may be lost with their workers. Else as the brokers are set: 5.",
    ),
)

#: What it waits for before it is queued.
start_options: Group[Any] = _group(
    click.option(
        "-d",
        "--dependency",
        "after",
        type=DEPENDENCIES,
        multiple=True,
        help="afterok:ID,ID: when these ended well; afternotok: otherwise; afterany: ended; after: begun.",
    ),
    click.option("--singleton", is_flag=True, help="When no earlier task of its user and name is left."),
    click.option("--hold", is_flag=True, help="Only after `alb release`."),
    click.option(
        "--begin", type=BEGIN, help="Not before: +10m, 08:00 (today or tomorrow) or 2026-12-01T08:00."
    ),
)

#: Which task it is, and whether it was done before.
identity_options: Group[Any] = _group(
    click.option(
        "--id",
        "task_id",
        help="32 hex digits of your own; as long as the table keeps it, the same id is the same task.",
    ),
    click.option(
        "--incremental",
        is_flag=True,
        help="Run only what has no good result yet: same command, environment, directory, files, labels.",
    ),
)

#: Many tasks, or many steps of one.
repetition_options: Group[Any] = _group(
    click.option(
        "--array",
        "indexes",
        metavar="INDEXES",
        help="Run COMMAND once for each index: 1-100, 1,5,8-10, 1-100:2 (every other), 1-100%10 (ten at "
        "once). In COMMAND {#} stands for it, in the environment ALB_INDEX.",
    ),
    click.option(
        "--each-line",
        "lines",
        type=click.File("rb"),
        help="Run COMMAND for each line of this file (-: standard input), which replaces {} or comes last.",
    ),
    click.option(
        "--at-once", type=click.IntRange(min=1), help="Of an array, so many tasks run at once. Else any."
    ),
    click.option(
        "--max-fails",
        type=click.IntRange(min=0),
        help="When more tasks of an array have failed, cancel what is left of it.",
    ),
    click.option("--keep-order", is_flag=True, help="Output in the order of the array, not of ending."),
    click.option(
        "--steps",
        type=click.IntRange(0, limits.STEPS_MAX),
        default=0,
        help="Run COMMAND once for each $ALB_STEP from 1 to this; it goes on after the last one that is "
        "stored.",
    ),
)

#: What it takes along and brings back.
file_options: Group[Any] = _group(
    click.option(
        "--file",
        "files",
        type=FILE,
        multiple=True,
        callback=_by_name,
        help="PATH[:NAME]: ship a file to the task's fresh directory, under its own name or NAME.",
    ),
    click.option(
        "--return",
        "returns",
        metavar="PATTERN",
        multiple=True,
        help="Bring back what matches (quote it: 'out/*.csv', '**/*.log').",
    ),
    click.option(
        "--return-dir", default=".", help="Where that goes; of an array below the index or the line's number."
    ),
    click.option(
        "--checkpoint",
        "checkpoints",
        metavar="PATTERN",
        multiple=True,
        help="Save what matches when it changes; if the worker dies, the next one starts with it (quote it).",
    ),
)

#: What runs it, where that is no command of the worker's.
kind_options: Group[Any] = _group(
    click.option(
        "--binary",
        type=BINARY,
        multiple=True,
        callback=_by_arch,
        help="[ARCH=]PATH: ship a program and run it, COMMAND is its arguments; one for each architecture of "
        "workers (x86_64=./a aarch64=./b). Without ARCH its head tells; a script runs on any.",
    ),
    click.option(
        "--kind",
        default=COMMAND_KIND,
        metavar="NAME",
        help="Have a plug-in of the worker run it; COMMAND is then what is shown (docs/kinds.md).",
    ),
    click.option(
        "--payload",
        type=click.File("rb"),
        callback=_content,
        help="A file (-: standard input) with what that plug-in is to do.",
    ),
)

#: What is seen of it here.
watching_options: Group[Any] = _group(
    click.option("--increments", is_flag=True, help="Tell on stderr what the command reports while it runs."),
    click.option("--detach", is_flag=True, help="Print the id once the task is accepted, and leave."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
)
