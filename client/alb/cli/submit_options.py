"""The options of ``alb submit``, in groups: each is a decorator that gives the verb its options.

An option has the name of the keyword of `Client.submit` that it becomes, and its value is what that takes:
the verb hands on what it does not need itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from alb.cli.values import BANDWIDTH, DURATION, FILE, SETTING, SIZE, UMASK
from alb_core import limits

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


#: What a task reserves, and where it may run.
resource_options: Group[Any] = _group(
    click.option(
        "-c",
        "--cpus",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        help="Processors; may be a fraction.",
    ),
    click.option("--mem", "memory", type=SIZE, default=0, help="Memory to reserve and to use at most: 4G."),
    click.option(
        "--net", type=BANDWIDTH, default=0, help="Bandwidth to reserve, for example 100M (bits per second)."
    ),
    click.option("--label", "labels", multiple=True, help="The worker must carry it: KEY or KEY=VALUE."),
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
        "--each-line",
        "lines",
        type=click.File("rb"),
        help="Run COMMAND for each line of this file (-: standard input), which replaces {} or comes last.",
    ),
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
        "--return-dir", default=".", help="Where that goes; with --each-line below the line's number."
    ),
    click.option(
        "--checkpoint",
        "checkpoints",
        metavar="PATTERN",
        multiple=True,
        help="Save what matches when it changes; if the worker dies, the next one starts with it (quote it).",
    ),
)

#: What is seen of it here.
watching_options: Group[Any] = _group(
    click.option("--increments", is_flag=True, help="Tell on stderr what the command reports while it runs."),
    click.option("--detach", is_flag=True, help="Print the id once the task is accepted, and leave."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
)
