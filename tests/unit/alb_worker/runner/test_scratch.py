"""How much a directory holds is found in bounded steps, and found again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alb_worker.runner import scratch
from alb_worker.runner.scratch import ScratchWalk


def test_everything_below_counts_once(tmp_path: Path) -> None:
    """Files in folders count with what they take on the disk; a second name of one adds nothing."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    file = tmp_path / "deep" / "er" / "file"
    file.write_bytes(b"x" * 1_000_000)
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 10**9)
    walk = ScratchWalk(str(tmp_path))
    found = walk.step()
    assert 1_000_000 <= found < 1_200_000
    os.link(file, tmp_path / "again")
    assert abs(walk.step() - found) < 10_000
    file.unlink()
    (tmp_path / "again").unlink()
    assert walk.step() < 100_000


def test_a_step_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of many files takes several steps; a round that is not over tells what it found so far."""
    monkeypatch.setattr(scratch, "ENTRIES_A_STEP", 3)
    for number in range(7):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    walk = ScratchWalk(str(tmp_path))
    assert [walk.step() // 4096 for _ in range(3)] == [3, 6, 7]
    (tmp_path / "0").unlink()
    assert walk.step() // 4096 == 7, "the last whole round counts until the next one is whole"


def test_what_is_gone_holds_nothing(tmp_path: Path) -> None:
    """A command may remove its own directory."""
    assert ScratchWalk(str(tmp_path / "gone")).step() == 0
