"""Who is looked at when, what is found, and when an attempt gets a group of its own."""

from __future__ import annotations

import time

import pytest

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.messages import AttemptId
from alb_worker.runner import census, watch
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.command import Spawned
from alb_worker.runner.demotion import Demotion
from alb_worker.runner.groups import SAMPLING, AttemptGroup, RunnerGroups
from alb_worker.runner.messages import Start
from alb_worker.runner.timers import Timers
from alb_worker.runner.verdicts import Breach
from alb_worker.runner.watch import Watch

MIB = 1024**2


class Bench:
    """A watch on its own, with the kernel's answers set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timers = Timers()
        self.stopped: list[tuple[RunningAttempt, Breach]] = []
        self.groups = RunnerGroups("alb-test", SAMPLING)
        self.watch = Watch(
            self.timers,
            self.groups,
            lambda *stopped: self.stopped.append(stopped),
            Demotion("alb-test", SAMPLING),
        )
        self.members: dict[int, list[int]] = {}
        self.total = census.Sum(1, MIB, 0.0)
        self.own = MIB
        self.scans = 0
        monkeypatch.setattr(census, "marked", self._marked)
        monkeypatch.setattr(census, "count", lambda _: self.total)
        monkeypatch.setattr(census, "own_bytes", lambda _: self.own)

    def _marked(self) -> dict[int, list[int]]:
        self.scans += 1
        return self.members

    def attempt(self, bounds: Bounds) -> RunningAttempt:
        """Make an attempt that started now."""
        start = Start(
            attempt=AttemptId("0" * 32, 1),
            command="true",
            env={},
            cwd="/",
            time_limit_s=None,
            grace_s=5.0,
            cpus=1.0,
            memory_bytes=0,
            marks={},
            bounds=bounds,
        )
        attempt = RunningAttempt(start, Spawned(2**22 + 1, 5, -1, -1), None, time.monotonic())
        self.watch.add(attempt, attempt.started)
        return attempt

    def round(self) -> None:
        """Have the next round, once it is due: before that, the watch would find nobody to look at."""
        when = self.timers.next() or 0.0
        time.sleep(max(0.0, when - time.monotonic()))
        self.timers.fire(when)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(watch, "SHARE", 0)
    return Bench(monkeypatch)


def test_a_bounded_attempt_is_looked_at_soon_and_often(bench: Bench) -> None:
    """The first look is at once, the others follow quickly, and who is over is not looked at."""
    attempt = bench.attempt(Bounds(memory_bytes=10 * MIB))
    assert (bench.timers.next() or 0) <= time.monotonic()
    for _ in range(2):
        bench.round()
        assert 0 < (bench.timers.next() or 0) - time.monotonic() <= watch.FAST_S
    assert (bench.scans, attempt.mechanism, attempt.peak_bytes) == (2, SAMPLING, MIB)
    bench.watch.remove(attempt)
    bench.round()
    assert bench.timers.next() is None


def test_an_unbounded_attempt_is_looked_at_late(bench: Bench) -> None:
    """Nothing is to be found out about it but its peak of memory."""
    bench.attempt(NO_BOUNDS)
    assert (bench.timers.next() or 0) - time.monotonic() > watch.ADOPT_S / 2


def test_what_is_shared_is_not_held_against_an_attempt(bench: Bench) -> None:
    """Resident memory beyond the bound is looked at closely before it counts."""
    attempt = bench.attempt(Bounds(memory_bytes=10 * MIB))
    bench.total, bench.own = census.Sum(5, 50 * MIB, 0.0), 9 * MIB
    bench.round()
    assert not bench.stopped
    bench.own = 11 * MIB
    bench.round()
    ((stopped, found),) = bench.stopped
    assert (stopped, found.limit) == (attempt, "memory_bytes")
    assert attempt.peak_bytes == 11 * MIB


def test_time_of_the_reaped_and_of_the_living_adds_up(bench: Bench) -> None:
    """Neither alone would break the bound."""
    attempt = bench.attempt(Bounds(cpu_s=1.0))
    attempt.cpu_s = 0.6
    bench.total = census.Sum(1, 0, 0.6)
    bench.round()
    assert [found.limit for _, found in bench.stopped] == ["cpu_s"]


def test_who_is_being_killed_is_not_judged_again(bench: Bench) -> None:
    """The end of an attempt has one reason."""
    attempt = bench.attempt(Bounds(processes=1))
    attempt.killing = True
    bench.total = census.Sum(100, 0, 0.0)
    bench.round()
    assert not bench.stopped


def test_where_there_are_no_groups_nobody_is_asked_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that grows up without a group stays with the sampling."""
    monkeypatch.setattr(watch, "ADOPT_BOUNDED_S", 0.0)
    attempt = bench.attempt(Bounds(processes=5))
    bench.round()
    assert (attempt.group, attempt.ungrouped) == (None, True)


def test_a_grown_up_moves_with_all_of_its_tree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is moved until no new process appears; then the group tells who its members are."""
    monkeypatch.setattr(watch, "ADOPT_BOUNDED_S", 0.0)
    moved: list[int] = []

    class Drawn(AttemptGroup):
        def add(self, pid: int) -> None:
            moved.append(pid)
            if pid == 101:
                bench.members[5].append(102)  # born while its parent was moved

        def members(self) -> list[int]:
            return moved

    monkeypatch.setattr(bench.groups, "make", lambda bounds: Drawn(1, [], bounds))
    attempt = bench.attempt(Bounds(processes=5))
    bench.members = {5: [attempt.pid, 101]}
    bench.round()
    assert sorted(moved) == [101, 102, attempt.pid]
    assert attempt.group is not None
    assert attempt.adopted is not None


def test_a_tree_that_grows_faster_than_it_is_moved_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no group then, and what was moved of it is remembered for the kill."""
    monkeypatch.setattr(watch, "ADOPT_BOUNDED_S", 0.0)

    class Endless(AttemptGroup):
        def add(self, pid: int) -> None:
            bench.members[5].append(pid + 1)

        def members(self) -> list[int]:
            return []

    monkeypatch.setattr(bench.groups, "make", lambda bounds: Endless(1, [], bounds))
    attempt = bench.attempt(Bounds(processes=5))
    bench.members = {5: [100]}
    bench.round()
    assert attempt.group is None
    assert attempt.half_group is not None
    assert attempt.ungrouped


def test_what_an_attempt_uses_is_told_now_and_then(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processor time as a rate since it was told last, and its memory; not with every look."""
    clock = time.monotonic()
    attempt = bench.attempt(NO_BOUNDS)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    bench.total = census.Sum(1, MIB, 3.0)
    clock = attempt.started + watch.TELL_S - 0.1
    bench.watch.measure(attempt, [])
    assert bench.watch.take_uses() == ()
    clock = attempt.started + 2 * watch.TELL_S
    bench.watch.measure(attempt, [])
    bench.watch.measure(attempt, [])
    (first,) = bench.watch.take_uses()
    assert (first.attempt, first.cpus, first.memory_bytes, first.cpu_s) == (attempt.id, 0.75, MIB, 3.0)
    assert bench.watch.take_uses() == ()
    bench.total = census.Sum(1, MIB, 5.0)
    clock += watch.TELL_S
    bench.watch.measure(attempt, [])
    assert [use.cpus for use in bench.watch.take_uses()] == [1.0]
