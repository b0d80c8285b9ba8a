"""Books of what was needed last: bounded, and whatever was not asked for longest is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def newest(book: OrderedDict[K, V], key: K, make: Callable[[], V], most: int) -> V:
    """Return an entry, which is the newest from now on, and forget the oldest beyond a bound.

    Args:
        book: The entries, the oldest first.
        key: Of the one that is asked for.
        make: Makes it where there is none.
        most: How many are kept.
    """
    entry = book.get(key)
    if entry is None:
        entry = book[key] = make()
        if len(book) > most:
            book.popitem(last=False)
    else:
        book.move_to_end(key)
    return entry
