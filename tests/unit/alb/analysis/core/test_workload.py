"""The analysis of hand-made rows, whose figures are known."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store_rows import attempt, finished, load, output

from alb.analysis.core import workload as module
from alb.analysis.core.figures import Figures
from alb.analysis.core.workload import Workload
from alb_core.rows import FinishedTask, Row

BEGIN = 1_795_305_600.0
GIB = 1 << 30


def task(
    number: int, at: float = 0.0, wait_s: float = 0.0, run_s: float = 10.0, **fields: Any
) -> FinishedTask:
    """Return a task that was submitted so long after the beginning."""
    ended = BEGIN + at + wait_s + run_s
    times = {"submitted": BEGIN + at, "finished": ended, "wall_s": run_s, "cpu_s": run_s, "cpus": 1.0}
    return finished(f"{number:032x}", **(times | fields))


def figures(*rows: Row, since: float = 0.0) -> Figures:
    """Return what is found in rows."""
    made = Workload(since)
    for row in rows:
        made.add(row)
    return made.figures("a test")


def test_of_nothing_there_are_figures_too() -> None:
    """An empty store, or one where nothing ended in time, is no error."""
    found = figures()
    assert (found.all.tasks, found.users, found.workers, found.overloads) == (0, [], [], [])


def test_tasks_by_state_user_and_command() -> None:
    """The group with the most run time comes first; waits are what was not the run that delivered."""
    found = figures(
        task(1, wait_s=5.0),
        task(2, run_s=30.0, user="bob", command="make all"),
        task(3, state="FAILED", exit_code=3, command="/bin/false 17"),
        task(4, state="CANCELLED", exit_code=None, attempt=0, run_s=0.0, wait_s=7.0),
    )
    assert found.states == {"SUCCEEDED": 2, "FAILED": 1, "CANCELLED": 1}
    assert [(group.name, group.tasks, group.failed) for group in found.users] == [
        ("bob", 1, 0),
        ("ann", 3, 1),
    ]
    assert [group.name for group in found.commands] == ["make all", "true", "false N"]
    ann = found.users[1]
    assert (ann.cancelled, ann.failed_share, ann.run_s, ann.causes) == (1, 0.5, 20.0, {"exit 3": 1})
    assert (ann.wait.max, ann.run.count) == (7.0, 2)
    assert (found.all.tasks, found.all.run_s, found.begin) == (4, 50.0, BEGIN)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"state": "FAILED", "exit_code": 3}, "exit 3"),
        ({"state": "FAILED", "exit_code": 127}, "exit 127 (not found)"),
        ({"state": "FAILED", "exit_code": None, "signal": 11}, "signal 11"),
        ({"state": "FAILED", "exit_code": None}, "no status"),
        ({"state": "TIMEOUT", "signal": 9}, "time limit"),
        ({"state": "OOM", "signal": 9}, "out of memory"),
        ({"state": "LOST", "exit_code": None}, "workers lost"),
    ],
)
def test_failures_have_a_cause(fields: dict[str, Any], cause: str) -> None:
    """One that many tasks share, for all, for the user, the command and the worker."""
    found = figures(task(1, **fields), task(2))
    assert found.causes == found.users[0].causes == found.commands[0].causes == {cause: 1}
    assert found.workers[0].causes == {cause: 1}


def test_what_was_asked_for_and_what_was_used() -> None:
    """Weighted by run time; what did not run says nothing."""
    found = figures(
        task(1, run_s=100.0, cpus=4.0, cpu_s=100.0, request_memory_bytes=4 * GIB, memory_bytes=GIB),
        task(2, run_s=100.0, cpus=1.0, cpu_s=150.0, request_memory_bytes=GIB, memory_bytes=2 * GIB),
        task(3, run_s=50.0, spec='{"command":"x","time_limit_s":500.0}', memory_bytes=0),
        task(4, run_s=0.0, attempt=0, state="CANCELLED", cpus=64.0),
    )
    asked = found.all.asked
    assert (asked.cpu_asked_s, asked.cpu_used_s, asked.cpu_over) == (550.0, 300.0, 1)
    assert (asked.memory_asking, asked.memory_over) == (2, 1)
    assert (asked.memory_asked_gib_s, asked.memory_used_gib_s) == (500.0, 300.0)
    assert asked.memory_share == 0.6
    assert (asked.limited, asked.limit_use.max) == (1, 0.1)


def test_a_specification_that_cannot_be_read_has_no_limit() -> None:
    """Whoever wrote it: the rest of the row counts."""
    assert figures(task(1, spec='{"time_limit_s": broken')).all.asked.limited == 0


def test_times_are_counted_in_slices() -> None:
    """Submitted, started, ended, failed, and how many wait at the end of a slice."""
    found = figures(
        task(1, at=0.0, wait_s=130.0, run_s=20.0),
        task(2, at=70.0, run_s=10.0, state="FAILED", exit_code=1),
        task(3, at=200.0, run_s=1.0),
    )
    assert found.slice_s == 60.0
    assert found.submitted_series == [1, 1, 0, 1]
    assert found.started_series == [0, 1, 1, 1]
    assert found.finished_series == [0, 1, 1, 1]
    assert found.failed_series == [0, 1, 0, 0]
    assert found.waiting_series == [1, 1, 0, 0]
    assert found.wait_series == [130.0, 0.0, 0.0, 0.0]


def test_an_overload_is_found_with_what_the_machines_did() -> None:
    """Where most wait, far longer than usual; one task that waits long is none."""
    calm = [task(number, at=60.0 * number) for number in range(100)]
    busy = [task(1000 + number, at=3000.0 + number, wait_s=300.0) for number in range(200)]
    lonely = task(5000, at=60.0, wait_s=900.0)
    loads = [load("w1", BEGIN + 10.0 * number) for number in range(650)]
    found = figures(*calm, *busy, lonely, *loads)
    (overload,) = found.overloads
    assert (overload.begin, overload.end) == (BEGIN + 3000.0, BEGIN + 3240.0)
    assert (overload.submitted, overload.waiting_max) == (204, 200)
    assert overload.mean_wait_s == pytest.approx(300.0, rel=0.05)
    assert (overload.reserved, overload.cpu) == (pytest.approx(0.75), pytest.approx(0.1))


def test_workers_are_measured_over_time() -> None:
    """Means over the samples; a slice without one is marked."""
    found = figures(
        task(1, worker="w1"),
        task(2, at=290.0, worker="w2", state="FAILED", exit_code=1),
        load("w1", BEGIN + 1.0),
        load("w1", BEGIN + 130.0),
    )
    first, second = found.workers
    assert (first.worker, first.samples, first.capacity_cpus, first.tasks, first.failed) == (
        "w1",
        2,
        2.0,
        1,
        0,
    )
    assert (first.cpu, first.reserved, first.memory) == (pytest.approx(0.1), 0.75, pytest.approx(0.2))
    assert first.reserved_series == [0.75, -1.0, 0.75, -1.0, -1.0, -1.0]
    assert (second.samples, second.failed_share, set(second.cpu_series)) == (0, 1.0, {-1.0})


def test_attempts_tell_of_placement_crashes_and_reruns() -> None:
    """By policy and by worker; time in vain is that of attempts that broke off."""
    found = figures(
        task(1, crashes=2),
        attempt("a", 1, cause="lost", placed=100.0, ended=160.0, worker="w1", candidates=1),
        attempt("a", 2, cause="interrupted", placed=200.0, ended=210.0, worker="w2", ahead=False),
        attempt("a", 3, worker="w2", policy="uniform", waited_s=8.0),
        attempt("b", 1, cause="given_back"),
        attempt("c", 1, cause="outrun", placed=100.0, ended=130.0, worker="w1", policy="copies"),
    )
    assert (found.attempts, found.rerun_tasks, found.crashes, found.lost_s) == (5, 1, 2, 70.0)
    assert found.outrun_s == 30.0
    ends = {"lost": 1, "interrupted": 1, "exited": 1, "given_back": 1, "outrun": 1}
    assert found.attempt_causes == ends
    least, uniform = (policy for policy in found.policies if policy.policy != "copies")
    assert (least.policy, least.attempts, least.single, least.ahead, least.given_back) == (
        "least-loaded",
        3,
        1,
        2,
        1,
    )
    assert least.candidates == pytest.approx(7 / 3)
    assert (uniform.policy, uniform.waited.max) == ("uniform", 8.0)
    assert [(w.worker, w.broken, w.broken_s) for w in found.workers] == [("w1", 1, 60.0), ("w2", 1, 10.0)]


def test_the_slowest_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By run and by wait, the worst first."""
    monkeypatch.setattr(module, "SLOWEST", 2)
    found = figures(*(task(number, run_s=float(number), wait_s=10.0 - number) for number in range(1, 6)))
    assert [slow.run_s for slow in found.slowest] == [5.0, 4.0]
    assert [slow.wait_s for slow in found.longest_waits] == [9.0, 8.0]


def test_what_ended_before_does_not_count() -> None:
    """Of tasks, attempts and samples; what else is in a store is passed over."""
    since = BEGIN + 100.0
    found = figures(
        task(1, at=0.0),
        task(2, at=95.0),
        attempt("a", placed=1.0, ended=2.0),
        load("w1", BEGIN),
        load("w1", since),
        output("a"),
        since=since,
    )
    assert (found.all.tasks, found.attempts, found.samples) == (1, 0, 1)
    assert found.begin == since // 60 * 60


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond, a command counts with its program, and the rest together; nothing is lost from the sums."""
    monkeypatch.setattr(module, "GROUPS_MAX", 3)
    names = ["tar", "tar a", "zip", "tar b", "tar c", "new", "newer"]
    rows = [task(number, command=name, user=f"u{number}") for number, name in enumerate(names)]
    found = figures(*rows, *(load(f"w{number}", BEGIN) for number in range(9)))
    assert {group.name: group.tasks for group in found.commands} == {
        "tar": 3,
        "tar a": 1,
        "zip": 1,
        "(others)": 2,
    }
    assert (found.commands_left_out, found.users_left_out) == (2, 4)
    assert sum(group.tasks for group in found.users) == 7
    assert len(found.workers) == 4


def test_a_dumps_tasks_count_as_unfinished() -> None:
    """They wait or run so far, and neither fail nor say what they use."""
    found = figures(
        task(1, wait_s=50.0, run_s=0.0, state="QUEUED", attempt=0, worker=""),
        task(2, run_s=40.0, state="RUNNING", cpu_s=0.0, memory_bytes=0),
    )
    assert (found.all.unfinished, found.all.failed, found.all.wait.max, found.all.run.max) == (
        2,
        0,
        50.0,
        40.0,
    )
    assert (found.all.asked.cpu_asked_s, found.all.asked.memory.count) == (0.0, 0)
    assert (sum(found.started_series), sum(found.finished_series)) == (1, 0)
