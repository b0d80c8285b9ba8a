"""A tail is the last bytes of what came, whatever the pieces, in memory or in a file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from alb_worker.shell import tails
from alb_worker.shell.tails import Tail


@pytest.mark.parametrize("memory", [True, False])
def test_a_tail_is_the_last_bytes_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, memory: bool
) -> None:
    """For any pieces and any bound the tail equals the end of the whole, and tells what is missing."""
    monkeypatch.setattr(tails, "MEMORY_BYTES", 10**6 if memory else -1)
    monkeypatch.setattr(tails, "PIECE_BYTES", 7)
    chance = random.Random(11)
    for _ in range(200):
        bound = chance.randrange(1, 50)
        tail, whole = Tail(str(tmp_path / "tail"), bound), b""
        for _ in range(chance.randrange(1, 12)):
            piece = chance.randbytes(chance.randrange(0, 60))
            tail.append(piece)
            whole += piece
        assert b"".join(tail.pieces()) == whole[-bound:]
        assert (tail.total, tail.left_out) == (len(whole), max(0, len(whole) - bound))
        tail.close()
    assert not list(tmp_path.iterdir())


def test_a_bound_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    """Everything is counted and nothing kept."""
    tail = Tail(str(tmp_path / "tail"), 0)
    tail.append(b"abc")
    assert (list(tail.pieces()), tail.left_out) == ([], 3)


def test_a_full_disk_breaks_a_tail_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring with a hole is worth nothing: it is marked, gives nothing, and still counts."""

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tails, "MEMORY_BYTES", -1)
    tail = Tail(str(tmp_path / "tail"), 10)
    tail.append(b"abc")
    monkeypatch.setattr(os, "pwrite", refuse)
    tail.append(b"def")
    assert (tail.broken, tail.total, list(tail.pieces())) == (True, 6, [])
    tail.close()


def test_the_marker_tells_how_much_is_missing() -> None:
    """It stands on a line of its own."""
    assert tails.marker(42).startswith(b"\n[alb: 42 bytes")
    assert tails.marker(42).endswith(b"]\n")
