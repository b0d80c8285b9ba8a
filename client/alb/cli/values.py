"""What people write on the command line, as numbers: durations, sizes, bandwidths."""

from __future__ import annotations

import math
import os
import re
import time
from pathlib import Path
from typing import Any, Final

import click

from alb_core import limits
from alb_core.resources import BYTES_MAX

_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?\Z")
_CLOCK: Final = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d)(?::([0-5]?\d(?:\.\d+)?))?\Z")
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(I?)(B|BIT|BPS)?\Z")
_PREFIXES: Final = " KMGTP"


def parse_duration(text: str) -> float:
    """Return a duration in seconds: ``90``, ``1.5s``, ``10m``, ``1h30m``, ``2d``, ``MM:SS``, ``HH:MM:SS``.

    Raises:
        ValueError: It is none of these.
    """
    text = text.strip().lower()
    clock = _CLOCK.match(text)
    if clock is not None:
        days, first, second, third = clock.groups()
        if third is None and days is None:
            return int(first) * 60 + float(second)
        return int(days or 0) * 86_400 + int(first) * 3600 + int(second) * 60 + float(third or 0)
    parts = _DURATION.match(text)
    if parts is None or not any(parts.groups()):
        raise ValueError(f"{text!r} is no duration; write 90 (seconds), 10m, 1h30m or HH:MM:SS")
    days, hours, minutes, seconds = parts.groups()
    return int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


def parse_size(text: str) -> int:
    """Return a size in bytes: ``4096``, ``512M``, ``4G``, ``1.5GiB``; each step is 1,024.

    Raises:
        ValueError: It is none of these.
    """
    number, prefix, _ = _parse_amount(text, "size", "512M or 4G", ("", "B"))
    return _bounded(number * 1024.0 ** _PREFIXES.index(prefix or " "), text, "size")


def parse_bandwidth(text: str) -> int:
    """Return a bandwidth in bits per second: ``100M``, ``2.5G``, ``1Gbit``; each step is 1,000.

    Raises:
        ValueError: It is none of these.
    """
    number, prefix, binary = _parse_amount(text, "bandwidth", "100M or 1G", ("", "BIT", "BPS"))
    if binary:
        raise ValueError(f"{text!r} is no bandwidth; its steps are of 1,000: write 100M or 1G")
    return _bounded(number * 1000.0 ** _PREFIXES.index(prefix or " "), text, "bandwidth")


def _bounded(amount: float, text: str, what: str) -> int:
    if amount >= BYTES_MAX:
        raise ValueError(f"{text[:40]!r} is no {what} that any machine has; write for example 4G")
    return round(amount)


def _parse_amount(text: str, what: str, example: str, units: tuple[str, ...]) -> tuple[float, str, bool]:
    found = _AMOUNT.match(text.strip().upper())
    if found is None or (found[4] or "") not in units or (found[3] and not found[2]):
        raise ValueError(f"{text!r} is no {what}; write for example {example}")
    return float(found[1]), found[2], bool(found[3])


def format_duration(seconds: float) -> str:
    """Return a duration for people: ``0.9 s``, ``12 s``, ``3m05s``, ``2h10m``, ``3d4h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def format_clock(seconds: float) -> str:
    """Return cluster time for people, in their time zone; as it is where no clock will ever show it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):  # somebody wrote it into a node by hand
        return f"{seconds:g} s after 1970"


def format_size(size_bytes: float) -> str:
    """Return a size for people: ``512 B``, ``1.5 GiB``."""
    for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
        if size_bytes < 1024 or prefix == "Ti":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {prefix}B" if not prefix or size_bytes >= 100 else f"{size_bytes:.1f} {prefix}B"


class Number(click.FloatRange):
    """A number within bounds; neither infinite nor none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail with what is wrong."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is no number to reckon with", param, ctx)
        return number


class Duration(click.ParamType["float"]):
    """A duration on the command line, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail with what is wrong."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType["int"]):
    """A size on the command line, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail with what is wrong."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Bandwidth(click.ParamType["int"]):
    """A bandwidth on the command line, in bits per second."""

    name = "bandwidth"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail with what is wrong."""
        if isinstance(value, int):
            return value
        try:
            return parse_bandwidth(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class CountArgument(click.ParamType["int"]):
    """A number of things that cannot be shared, on the command line."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail with what is wrong."""
        text = str(value)
        if re.fullmatch(r"\d*\.\d+", text):
            self.fail(
                f"{text} cannot be given: a task has whole ones, which no other task shares", param, ctx
            )
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) > limits.GPUS_MAX:
            self.fail(f"{text[:40]!r} is no number from 0 to {limits.GPUS_MAX}", param, ctx)
        return int(text)


class Setting(click.ParamType["tuple[str, str | None]"]):
    """An environment variable for the task: ``KEY=VALUE``, or ``KEY`` for the value that it has here."""

    name = "key[=value]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | None]:
        """Split it; the value is None where this environment's is meant."""
        key, equals, text = str(value).partition("=")
        if not key:
            self.fail(f"{value!r} has no name before the '='; write KEY=VALUE", param, ctx)
        return key, text if equals else None


class Umask(click.ParamType["int"]):
    """A file mode creation mask, in octal digits as in a shell."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail with what is wrong."""
        if isinstance(value, int):
            return value
        if not re.fullmatch("0?[0-7]{1,3}", value):
            self.fail(f"{value!r} is no umask; write octal digits, for example 027", param, ctx)
        return int(value, 8)


class FileArgument(click.ParamType["tuple[str, str]"]):
    """A file to ship: its path, or its path, a colon and its name at the task."""

    name = "path[:name]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it; a path that exists as it stands is one, whatever colons it has."""
        text = str(value)
        path, colon, name = text.rpartition(":")
        if not colon or Path(text).exists():
            path, name = text, Path(text).name
        if not path or not name:
            self.fail(f"{value!r} has no path or no name; write PATH or PATH:NAME", param, ctx)
        return path, name


class ReportFile(click.Path):
    """A file that is written when long work is done: what stands in its way is told before that."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Take the path, or fail with why it cannot be written."""
        path = super().convert(value, param, ctx)
        place = Path(os.fsdecode(path))
        if not place.name:
            self.fail(f"{value!r} names no file", param, ctx)
        if not place.parent.is_dir():
            self.fail(f"{str(place)!r} cannot be written: there is no directory {place.parent}", param, ctx)
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            self.fail(f"{str(place)!r} cannot be written: you may not write there", param, ctx)
        return path


class BinaryArgument(click.ParamType["tuple[str, str]"]):
    """A program to ship: its path, whose head tells what it is for; or an architecture, ``=``, and it."""

    name = "[arch=]path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it, or look at the program."""
        from alb.api.binaries import arch_of  # noqa: PLC0415 (only who ships a program pays)
        from alb_core.errors import InvalidTask  # noqa: PLC0415
        from alb_core.kinds import is_arch  # noqa: PLC0415

        arch, equals, path = str(value).partition("=")
        try:
            if equals and is_arch(arch):
                arch_of(Path(path), arch)
                return arch, path
            return arch_of(Path(str(value))), str(value)
        except InvalidTask as error:
            self.fail(str(error), param, ctx)


AT_MOST: Final = click.IntRange(1, 10**9)
#: So many of a list are shown, or replayed.
BINARY: Final = BinaryArgument()
DURATION: Final = Duration()
SIZE: Final = Size()
BANDWIDTH: Final = Bandwidth()
COUNT: Final = CountArgument()
SETTING: Final = Setting()
UMASK: Final = Umask()
FILE: Final = FileArgument()
REPORT: Final = ReportFile()
