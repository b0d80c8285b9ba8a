"""Numbers as people read them."""

from __future__ import annotations

import pytest

from alb.analysis.core.words import count, seconds, share, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (0.0042, "4 ms"),
        (0.9999, "1.0 s"),
        (9.94, "9.9 s"),
        (59.6, "1m"),
        (185.0, "3m05s"),
        (7200.0, "2h"),
        (7800.0, "2h10m"),
        (273_600.0, "3d04h"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    """Two units at most."""
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0 %"), (0.0001, "<0.1 %"), (0.012, "1.2 %"), (0.0996, "10 %"), (0.5, "50 %"), (2.0, "200 %")],
)
def test_shares(part: float, text: str) -> None:
    """Small ones have a digit more; of nothing it is nothing."""
    assert share(part) == text
    assert share(1.0, 0.0) == "0 %"


def test_sizes_and_counts() -> None:
    """By 1,024; one thing is one thing."""
    assert [size(value) for value in (512, 1536, 8 << 30, 3 << 40)] == [
        "512 B",
        "1.5 KiB",
        "8.0 GiB",
        "3.0 TiB",
    ]
    assert [count(1, "task"), count(0, "task"), count(12_345, "task")] == [
        "1 task",
        "0 tasks",
        "12,345 tasks",
    ]
