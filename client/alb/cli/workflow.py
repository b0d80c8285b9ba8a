"""How people write, on the command line, what a task waits for and when it is tried again."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from alb.api.starting import split_dependency
from alb.cli.short_ids import resolve
from alb.cli.values import parse_duration

if TYPE_CHECKING:
    from alb.api.client import Client

AHEAD_MAX: Final = dt.timedelta(days=366)
#: A task begins within a year; who writes a later date mistyped it.


class ExitCodes(click.ParamType["tuple[int, ...]"]):
    """Exit codes: ``1,75``."""

    name = "codes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse them, or fail with what is wrong."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(re.fullmatch("[0-9]{1,3}", part) and 1 <= int(part) <= 255 for part in parts):
            self.fail(f"{value!r} are no exit codes: write numbers from 1 to 255, like 1,75", param, ctx)
        return tuple(map(int, parts))


class Delays(click.ParamType["tuple[float, float] | float"]):
    """How long to wait before the first retry, and at most: ``1s``, ``1s:5m``."""

    name = "delay[:most]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float] | float:
        """Parse them, or fail with what is wrong."""
        if isinstance(value, tuple | float):
            return value
        first, colon, last = str(value).partition(":")
        try:
            return (parse_duration(first), parse_duration(last)) if colon else parse_duration(first)
        except ValueError as error:
            self.fail(f"{error}; for example 1s, or 1s:5m", param, ctx)


class Factor(click.ParamType["float"]):
    """A factor: ``2x``."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail with what is wrong."""
        try:
            factor = float(str(value).removesuffix("x"))
        except ValueError:
            factor = 0.0
        if not 1 <= factor <= 16:
            self.fail(f"{value!r} is no factor between 1 and 16: write for example 2x", param, ctx)
        return factor


class Dependencies(click.ParamType["str"]):
    """Tasks to wait for: ``afterok:ID,ID``."""

    name = "kind:id,id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, or fail with what is wrong."""
        try:
            split_dependency(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Begin(click.ParamType["dt.datetime | dt.timedelta"]):
    """A time to begin: ``+10m``, ``08:00`` (the next one), ``2026-12-01T08:00``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime | dt.timedelta:
        """Parse it, or fail with what is wrong."""
        if isinstance(value, dt.datetime | dt.timedelta):
            return value
        try:
            return parse_begin(str(value), dt.datetime.now().astimezone())
        except ValueError as error:
            self.fail(f"{error}; write +10m, 08:00 or 2026-12-01T08:00", param, ctx)


def parse_begin(text: str, now: dt.datetime) -> dt.datetime | dt.timedelta:
    """Read when a task is to begin.

    Args:
        text: See `Begin`.
        now: In the time zone of this machine, in which people mean it.

    Raises:
        ValueError: It is no time.
    """
    if text.startswith("+"):
        return dt.timedelta(seconds=parse_duration(text[1:]))
    try:
        time = dt.time.fromisoformat(text)
    except ValueError:
        pass
    else:
        return _next(time, now)
    try:
        begin = dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):  # the year 1 is no time in every zone
        raise ValueError(f"{text[:40]!r} is no time") from None
    if begin - now > AHEAD_MAX:
        raise ValueError(f"{text[:40]!r} is more than a year from now")
    return begin


def _next(time: dt.time, now: dt.datetime) -> dt.datetime:
    today = dt.datetime.combine(now.date(), time).astimezone()
    if today > now:
        return today
    return dt.datetime.combine(now.date() + dt.timedelta(days=1), time).astimezone()


def resolved(client: Client, dependencies: Sequence[str]) -> list[str]:
    """Return dependencies with whole ids in the place of what begins them."""
    whole = []
    for text in dependencies:
        kind, ids = split_dependency(text)
        whole += [f"{kind.value}:{resolve(client, each)}" for each in ids]
    return whole


EXIT_CODES: Final = ExitCodes()
DELAYS: Final = Delays()
FACTOR: Final = Factor()
DEPENDENCIES: Final = Dependencies()
BEGIN: Final = Begin()
