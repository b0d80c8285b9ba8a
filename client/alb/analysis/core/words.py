"""Numbers as people read them, for advice and reports."""

from __future__ import annotations


def share(part: float, whole: float = 1.0) -> str:
    """Return a share as a percentage: ``37 %``; small ones with a digit more."""
    percent = 100.0 * part / whole if whole else 0.0
    if 0 < percent < 0.05:
        return "<0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def seconds(value: float) -> str:
    """Return a duration: ``4 ms``, ``1.5 s``, ``3m05s``, ``2h``, ``3d04h``."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value >= 0.0005 else "0 s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "m", whole % 60, "s")
    if whole < 86_400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "m")
    return _two(whole // 86_400, "d", whole % 86_400 // 3600, "h")


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large}{unit}{small:02}{smaller}" if small else f"{large}{unit}"


def size(value: float) -> str:
    """Return a size: ``512 B``, ``1.5 GiB``."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if value < 1024:
            return f"{value:.0f} {prefix}B" if not prefix or value >= 100 else f"{value:.1f} {prefix}B"
        value /= 1024
    return f"{value:.1f} TiB"


def count(value: int, noun: str) -> str:
    """Return a number of things: ``1 task``, ``12,345 tasks``."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"
