"""How a command is to be run, as Python says it, and the specification that becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from alb.api.starting import retry_of, start_of
from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.codec import SPECS_KEPT, encode_spec
from alb_core.errors import InvalidTask
from alb_core.kinds import BUILT_IN, COMMAND_KIND, label_of
from alb_core.resources import GPUS, Count, Request, counts_of
from alb_core.spec import OnLost, TaskSpec, check_spec
from alb_core.speeds import Strain
from alb_core.vectors import Vector, parse_vector

if TYPE_CHECKING:
    import datetime as dt

    from alb.api.binaries import BinariesWanted
    from alb.api.files import FilesWanted
    from alb.api.starting import Awaited
    from alb.api.stdin import Input

Command = str | Sequence[str]
T = TypeVar("T")
E = TypeVar("E")

_BOUNDS: Final = {
    "cpu_limit": "cpu_s",
    "memory_limit": "memory_bytes",
    "processes": "processes",
    "open_files": "open_files",
    "output_limit": "output_bytes",
    "scratch": "scratch_bytes",
}
#: Keyword: what `Bounds` calls it.
_NUMBERS: Final = frozenset(
    (
        *("cpus", "memory", "net", "time_limit", "grace", "priority", "steps", "nice", "umask"),
        *("cpu_limit", "memory_limit", "processes", "open_files", "output_limit", "scratch"),
        *("retries", "retry_memory", "crash_limit"),
    )
)
_TEXTS: Final = frozenset(("cwd", "name", "run_as", "kind"))
#: Options by what they are; the others are looked at one by one.
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
#: Types of option values that are what they look like: equal ones mean the same, and none can change.


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
    gpus: int
    #: Whole ones, of which no other attempt has any meanwhile; their indexes are in ``ALB_GPUS``.
    resources: Mapping[str, int]
    #: Of what workers have in whole units, by name.
    require: Sequence[str]
    #: Labels that the worker must carry, each ``key``, ``key=value`` or ``key!=value``; every worker has
    #: ``arch``, ``host`` and ``kernel``.
    labels: Sequence[str]
    #: An older name of `require`; both hold.
    prefer: Sequence[str]
    #: Labels that it had better carry: one that does is taken where it has room, else another.
    measured: bool
    #: Only where measured CPU, memory and network leave room for it, not just reservations.
    work: str | Strain | None
    #: What it mostly strains, ``integer``, ``memory`` or ``float``: who chooses a fast worker goes by that.
    optimize: str | Vector | None
    #: What counts when its worker is chosen: ``time``, ``resources`` or ``time=0.7,resources=0.3``; None: the
    #: policy decides.
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
    preemptible: bool
    #: It may be ended, to run again later, where a task that comes first needs its memory.
    speculative: bool | None
    #: It may run twice at once: when it lags behind its likes, a copy is started elsewhere, and the first
    #: success counts. None: as the cluster is set.
    retries: int
    #: How often it is tried again after a failure of its own.
    retry_on: Sequence[int]
    #: Only after these exit codes; empty: after any, a signal or a broken limit too.
    retry_delay: float | tuple[float, float]
    #: Seconds before the first retry, each further one waits twice as long; and at most so many.
    retry_memory: float
    #: After it ran out of memory the next attempt is given so many times as much.
    crash_limit: int | None
    #: Attempts that the infrastructure may lose; None: as many as the cluster allows.
    after: Sequence[Awaited] | Awaited
    #: What must have happened to others: ``afterok:ID,ID``, ``after:``, ``afterany:``, ``afternotok:``; an id
    #: or a future alone must end well.
    singleton: bool
    #: It waits until no earlier task of its user and name is left.
    hold: bool
    #: It waits for `Client.release`.
    begin: float | dt.datetime | dt.timedelta | None
    #: Not before this moment (a number: seconds since 1970), or so long after it was accepted.
    name: str
    steps: int
    #: Run the command once for each step from 1 to this, which it finds in ``ALB_STEP``.
    files: FilesWanted
    #: Paths here, or a mapping of names in the task's fresh directory to paths; there when it starts.
    returns: Sequence[str]
    #: Globs, relative to that directory: what they match at the end waits for `TaskFuture.fetch`.
    checkpoints: Sequence[str]
    #: Globs, relative to that directory: what they match is saved, and there again where the task goes on.
    kind: str
    #: Which plug-in of the worker runs it; the command is then what people are shown.
    payload: bytes
    #: What only its kind understands.
    binary: BinariesWanted
    #: A program that comes along, or one for each architecture; the command is then its arguments.


def specified(command: Command, options: Mapping[str, Any]) -> tuple[TaskSpec, bytes]:
    """Return the checked specification of a command that takes nothing along, and how it travels.

    Who submits thousands of tasks submits the same again and again: the newest ones are kept.

    Raises:
        InvalidTask: An option has the wrong type, is none, or the specification cannot be.
    """
    if all(type(value) in _PLAIN for value in options.values()) and (
        type(command) is str
        or (isinstance(command, list | tuple) and all(type(word) is str for word in command))
    ):
        return _kept(command if isinstance(command, str) else tuple(command), **options)
    spec = make_spec(command, options)
    return spec, spec_encoded(spec)


@lru_cache(maxsize=SPECS_KEPT, typed=True)  # typed: what asks for True is told that it is no number
def _kept(command: str | tuple[str, ...], /, **options: Any) -> tuple[TaskSpec, bytes]:
    spec = make_spec(command, options)
    return spec, spec_encoded(spec)


def spec_encoded(spec: TaskSpec) -> bytes:
    """Return a specification as it travels; raises as `encoded`."""
    return encoded(spec, encode_spec, lambda spec, wire: check_spec(spec, len(wire)))


def make_spec(command: Command, options: Mapping[str, Any]) -> TaskSpec:
    """Make the specification of a command.

    Raises:
        InvalidTask: An option has the wrong type, or is none.
    """
    _check_types(options)
    kind = options.get("kind", COMMAND_KIND)
    request = Request(
        options.get("cpus", 1.0),
        options.get("memory", 0),
        options.get("net", 0),
        _required(kind, options),
        counts=_counts(options),
        prefers=_texts("prefer", options.get("prefer", ()), "labels"),
        measured=options.get("measured", False),
        strain=_strain(options.get("work")),
        optimize=_vector(options.get("optimize")),
    )
    unknown = options.keys() - TaskOptions.__annotations__.keys()
    if unknown:
        raise InvalidTask("", f"there is no option {min(unknown)!r}")
    try:
        on_lost = OnLost(options.get("on_lost", OnLost.RERUN))
    except ValueError:
        raise InvalidTask("", f"on_lost is {options['on_lost']!r}; use 'rerun' or 'fail'") from None
    return TaskSpec(
        command=_words(command),
        env=_environment(options.get("env") or {}),
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
        preemptible=options.get("preemptible", False),
        speculative=options.get("speculative"),
        retry=retry_of(options),
        start=start_of(options),
        name=options.get("name", ""),
        steps=options.get("steps", 0),
        returns=_texts("returns", options.get("returns", ()), "patterns"),
        checkpoints=_texts("checkpoints", options.get("checkpoints", ()), "patterns"),
        kind=kind,
    )


def _check_types(options: Mapping[str, Any]) -> None:
    for names, kind, wanted in ((_NUMBERS, int | float, "a number"), (_TEXTS, str, "a string")):
        for name in sorted(names & options.keys()):
            value = options[name]
            if value is not None and not isinstance(value, kind):
                raise InvalidTask("", f"{name} is {value!r:.40}; give {wanted}, not {_a(value)}")
    files = options.get("files", ())
    if files is not None and not isinstance(files, Iterable):
        raise InvalidTask("", f"files is {_a(files)}; give a list of paths, or a mapping of names to paths")


def _words(command: Command) -> str | tuple[str, ...]:
    """Return a command as a specification has it."""
    if isinstance(command, str):
        return command
    if isinstance(command, bytes | Mapping) or not isinstance(command, Iterable):
        raise InvalidTask("", f"a command is a string or a list of strings; this is {_a(command)}")
    words = tuple(command)
    for place, word in enumerate(words, 1):
        if not isinstance(word, str):
            raise InvalidTask("", f"a command is a string or a list of strings; word {place} is {_a(word)}")
    return words


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise InvalidTask("", f"env is a mapping of names to strings; this is {_a(env)}")
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidTask("", f"env is a mapping of names to strings; {name!r:.40} has {_a(value)}")
    return dict(env)


def _a(value: object) -> str:
    """Name the type of a value with its article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _required(kind: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels that a task requires: a kind leads it to workers that have it."""
    asked = [
        label for name in ("require", "labels") for label in _texts(name, options.get(name, ()), "labels")
    ]
    return tuple(dict.fromkeys(asked if kind in BUILT_IN else (*asked, label_of(kind))))


def _counts(options: Mapping[str, Any]) -> tuple[Count, ...]:
    """Return what is asked for in whole units."""
    amounts, gpus = options.get("resources") or {}, options.get("gpus") or 0
    if not amounts and not gpus:
        return ()
    if not isinstance(amounts, Mapping):
        raise InvalidTask("", f"resources is {amounts!r:.80}; give a mapping of names to counts")
    for name, amount in (*amounts.items(), (GPUS, gpus)):
        if not isinstance(name, str) or not isinstance(amount, int):
            raise InvalidTask("", f"{name}={amount!r:.40} is no count: these are given in whole units")
    if gpus and amounts.get(GPUS, gpus) != gpus:
        raise InvalidTask("", f"gpus is {gpus}, and resources says {amounts[GPUS]}; give one of them")
    return counts_of({**amounts, GPUS: gpus} if gpus else amounts)


def _strain(work: str | Strain | None) -> Strain | None:
    """Return what a task strains."""
    try:
        return None if work is None else Strain(work)
    except ValueError:
        words = ", ".join(each.value for each in Strain)
        raise InvalidTask("", f"work is {work!r:.40}; use one of {words}") from None


def _vector(optimize: str | Vector | None) -> Vector | None:
    """Return what is to be optimised."""
    if optimize is None or isinstance(optimize, Vector):
        return optimize
    if not isinstance(optimize, str):
        raise InvalidTask("", f"optimize is {optimize!r:.40}; use a text like 'time=0.7,resources=0.3'")
    try:
        return parse_vector(optimize)
    except ValueError as error:
        raise InvalidTask("", f"optimize: {error}") from None


def _bounds(options: Mapping[str, Any]) -> Bounds:
    bounds = {field: options[name] for name, field in _BOUNDS.items() if options.get(name) is not None}
    return Bounds(**bounds) if bounds else NO_BOUNDS


def _texts(name: str, texts: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise InvalidTask("", f"{name} is one text; give a list of {what}")
    if not isinstance(texts, Iterable):
        raise InvalidTask("", f"{name} is {_a(texts)}; give a list of {what}")
    return tuple(texts)


def encoded(value: T, encode: Callable[[T], E], check: Callable[[T, Any], str | None]) -> E:
    """Return a value as it travels.

    It is encoded here, in the caller's own thread: what cannot be is told to him, and harms nobody else.

    Args:
        value: A specification, or a request.
        encode: Does it.
        check: Tells what is wrong with it, as a sentence, or None; is given the value and what `encode` said.

    Raises:
        InvalidTask: It cannot travel, or something is wrong with it.
    """
    try:
        wire = encode(value)
        why = check(value, wire)
    except TypeError as error:
        raise InvalidTask("", f"the command or an option has the wrong type: {error}") from error
    except UnicodeEncodeError as error:
        shown = f"{error.object[:80]!r}"
        raise InvalidTask("", f"the command or an option is not valid text (UTF-8): {shown}") from error
    except OverflowError as error:
        raise InvalidTask("", "an option is a number beyond all bounds") from error
    if why is not None:
        raise InvalidTask("", why)
    return wire
