"""Books of what was needed last."""

from __future__ import annotations

from collections import OrderedDict

from alb_broker.core.newest import newest


def test_who_was_not_asked_for_longest_is_forgotten() -> None:
    """An entry that is there is the same again, and young again; the newest is never the one that goes."""
    book: OrderedDict[str, list[int]] = OrderedDict()
    first = newest(book, "a", list, 2)
    newest(book, "b", list, 2)
    assert newest(book, "a", list, 2) is first
    newest(book, "c", list, 2)
    assert list(book) == ["a", "c"]
    assert newest(OrderedDict(), "a", list, 0) == []
