"""Demotion: which mechanism is taken, on a drawn tree. What each is worth the integration test measures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alb_worker.runner import demotion
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.demotion import AUTOGROUP, CPU_SHARES, CPU_WEIGHT, NICE, Demotion
from alb_worker.runner.groups import CGROUP2, SAMPLING, AttemptGroup
from alb_worker.runner.hierarchies import Place


class _Group(AttemptGroup):
    """A group of version 2 that can, or cannot, be weakened."""

    def __init__(self, *, can: bool) -> None:
        self._can = can

    def weaken(self) -> bool:
        return self._can


def running(group: AttemptGroup | None = None) -> RunningAttempt:
    """Return an attempt of which only its group matters."""
    attempt = RunningAttempt.__new__(RunningAttempt)
    attempt.group = group
    return attempt


@pytest.fixture(autouse=True)
def niced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let nobody really be made nice, and tell who would have been."""
    made: list[int] = []
    monkeypatch.setattr(demotion, "_make_nice", made.append)
    monkeypatch.setattr(demotion, "AUTOGROUP_ENABLED", Path("/nowhere"))
    return made


def draw_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let there be a cpu hierarchy of version 1; returns the group that will be made in it."""
    monkeypatch.setattr(
        demotion, "own_places", lambda **_: [Place(1, frozenset({"cpu"}), str(tmp_path / "cpu"))]
    )
    group = tmp_path / "cpu" / "alb-test"
    group.mkdir(parents=True)
    (group / "cgroup.procs").touch()
    return group


def test_the_own_groups_weight_is_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is touched then."""
    group = draw_cpu(tmp_path, monkeypatch)
    assert Demotion("alb-test").apply(running(_Group(can=True)), [7]) == CPU_WEIGHT
    assert not (group / "cpu.shares").exists()


def test_without_it_all_share_one_group_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, with the least shares, and goes with the runner."""
    group = draw_cpu(tmp_path, monkeypatch)
    demote = Demotion("alb-test")
    assert demote.apply(running(_Group(can=False)), [7]) == CPU_SHARES
    assert demote.apply(running(), [7]) == CPU_SHARES
    assert (group / "cpu.shares").read_text() == "2"
    assert (group / "cgroup.procs").read_text() == "7"
    for file in group.iterdir():
        file.unlink()
    demote.leave()
    assert not group.exists()


def test_without_groups_everybody_is_made_nice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, niced: list[int]
) -> None:
    """Where none may be used, although there are some."""
    draw_cpu(tmp_path, monkeypatch)
    assert Demotion("alb-test", SAMPLING).apply(running(_Group(can=True)), [7, 8]) == NICE
    assert niced == [7, 8]


def test_groups_of_one_version_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants version 2 gets no group of version 1."""
    group = draw_cpu(tmp_path, monkeypatch)
    assert Demotion("alb-test", CGROUP2).apply(running(), []) == NICE
    assert not (group / "cpu.shares").exists()


def test_sessions_come_before_niceness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel groups by session, and lets us."""
    enabled = tmp_path / "enabled"
    enabled.write_text("1\n")
    monkeypatch.setattr(demotion, "AUTOGROUP_ENABLED", enabled)
    asked: list[list[int]] = []
    monkeypatch.setattr(demotion, "_weaken_sessions", lambda pids: not asked.append(pids))
    assert Demotion("alb-test", SAMPLING).apply(running(), [os.getpid()]) == AUTOGROUP
    assert asked == [[os.getpid()]]
