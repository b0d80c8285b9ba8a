"""When a task begins and when it is tried again: what the keywords of `Client.submit` for that become."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from alb.api.array import ArrayFuture
from alb.api.future import TaskFuture
from alb.api.standard import with_fields
from alb_core.errors import InvalidTask
from alb_core.spec import After, Dependency, Retry, Start, TaskSpec

Awaited = str | TaskFuture | ArrayFuture
"""``afterok:ID,ID`` and the like, an id, or a future of a task or an array: of those, that they end well."""

_KINDS: Final = {kind.value: kind for kind in After}
_STANDARD: Final = TaskSpec(command="")
_NO_RETRY: Final = _STANDARD.retry
_AT_ONCE: Final = _STANDARD.start
_ONLY_WITH_RETRIES: Final = ("retry_on", "retry_delay", "retry_memory")


def retry_of(options: Mapping[str, Any]) -> Retry:
    """Return when a task is tried again.

    Raises:
        InvalidTask: A keyword makes no sense.
    """
    if not options.get("retries"):
        for name in _ONLY_WITH_RETRIES:
            if options.get(name):
                flag = name.replace("_", "-")
                why = f"{name} (--{flag}) means nothing without retries (--retries): say how often"
                raise InvalidTask("", why)
    delay = options.get("retry_delay")
    if delay is None:
        first, last = _NO_RETRY.delay_s, _NO_RETRY.delay_s_max
    elif isinstance(delay, int | float):
        first, last = delay, max(delay, _NO_RETRY.delay_s_max)
    else:
        first, last = delay
    fields = {
        "times": options.get("retries", 0),
        "exit_codes": tuple(options.get("retry_on", ())),
        "delay_s": first,
        "delay_s_max": last,
        "memory_factor": options.get("retry_memory") or _NO_RETRY.memory_factor,
        "crash_limit": options.get("crash_limit"),
    }
    return with_fields(_NO_RETRY, fields)


def start_of(options: Mapping[str, Any]) -> Start:
    """Return what a task waits for; raises as `retry_of`."""
    begin, delay_s = _begin(options.get("begin"))
    fields = {
        "dependencies": tuple(_dependencies(options.get("after", ()))),
        "singleton": options.get("singleton", False),
        "hold": options.get("hold", False),
        "begin": begin,
        "delay_s": delay_s,
    }
    return with_fields(_AT_ONCE, fields)


def split_dependency(text: str) -> tuple[After, list[str]]:
    """Split ``afterok:ID,ID`` into its kind and its ids; without a kind it is ``afterok``.

    Raises:
        ValueError: The text is no such thing.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise ValueError(f"{kind!r} is no kind of dependency: use one of {known}")
    ids = [part.strip() for part in (rest if colon else text).split(",")]
    if not all(ids):
        raise ValueError(f"{text!r} names no task: write for example afterok:ID,ID")
    return _KINDS[kind] if colon else After.SUCCEEDED, ids


def _dependencies(awaited: Sequence[Awaited] | Awaited) -> Iterable[Dependency]:
    for each in (awaited,) if isinstance(awaited, Awaited) else awaited:
        if isinstance(each, TaskFuture | ArrayFuture):
            yield Dependency(After.SUCCEEDED, each.id)
            continue
        try:
            kind, ids = split_dependency(each)
        except (ValueError, AttributeError) as error:
            raise InvalidTask("", f"after: {error}") from None
        yield from (Dependency(kind, task_id) for task_id in ids)


def _begin(begin: float | dt.datetime | dt.timedelta | None) -> tuple[float, float]:
    """Return the earliest moment, and how long after acceptance; 0: it does not matter."""
    match begin:
        case None:
            return 0.0, 0.0
        case dt.timedelta():
            return 0.0, begin.total_seconds()
        case dt.datetime():
            return begin.timestamp(), 0.0
        case _:
            return float(begin), 0.0
