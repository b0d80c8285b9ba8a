"""Amounts as people read them in sentences."""

from __future__ import annotations


def size(size_bytes: int) -> str:
    """Return a size: ``100 bytes``, ``118.4 MiB``."""
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << exponent:
            return f"{size_bytes / (1 << exponent):.4g} {unit}"
    return f"{size_bytes} bytes"


def listed(words: list[str]) -> str:
    """Return words as people list them: ``a, b and c``."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)
