"""Amounts as people read them."""

from __future__ import annotations

from alb_core.amounts import listed, size


def test_sizes_are_for_people() -> None:
    """Bytes where there are few, else rounded to a unit."""
    assert [size(each) for each in (12, 2048, 5 << 20, 3 << 29)] == ["12 bytes", "2 KiB", "5 MiB", "1.5 GiB"]


def test_things_are_listed_as_people_do() -> None:
    """Commas, and an "and" before the last."""
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
