"""Advice: each rule speaks where its data is, with the figure behind it, and is silent where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.store_rows import attempt, finished, load

from alb.analysis.core.advice import TASKS_MIN, advise
from alb.analysis.core.figures import Advice
from alb.analysis.core.workload import Workload
from alb_core.rows import FinishedTask, Row

BEGIN = 1_795_305_600.0
GIB = 1 << 30


def task(number: int, wait_s: float = 0.0, **fields: Any) -> FinishedTask:
    """Return a task of a day's work: ten seconds on one processor, once a minute."""
    at = BEGIN + 60.0 * number
    standard = {
        "submitted": at,
        "finished": at + wait_s + 10.0,
        "wall_s": 10.0,
        "cpu_s": 9.5,
        "cpus": 1.0,
        "memory_bytes": 100 << 20,
        "worker": f"w{number % 4}",
    }
    return finished(f"{number:032x}", **(standard | fields))


def advice(*rows: Row) -> list[Advice]:
    """Return what follows from rows."""
    workload = Workload()
    for row in rows:
        workload.add(row)
    return advise(workload.figures("a test"), lambda at: f"{(at - BEGIN) / 60:.0f}")


def calm(count: int = 200, **fields: Any) -> list[FinishedTask]:
    """Return work in which nothing stands out."""
    return [task(number, **fields) for number in range(count)]


def about(topic: str, rows: Iterable[Row]) -> Advice:
    """Return the one piece of advice on a topic."""
    (found,) = [each for each in advice(*rows) if each.topic == topic]
    return found


def test_too_little_data_is_said() -> None:
    """Nothing follows from a handful of tasks, however bad they look."""
    (only,) = advice(*calm(TASKS_MIN - 1, state="FAILED", exit_code=1))
    assert only.topic == "data"
    assert (only.text.startswith("There is too little data"), f"{TASKS_MIN - 1} tasks" in only.evidence) == (
        True,
        True,
    )


def test_where_nothing_stands_out_nothing_is_advised() -> None:
    """One sentence that says so."""
    loads = [load(f"w{number % 4}", BEGIN + number) for number in range(200)]
    (only,) = advice(*calm(), *loads, *(attempt(f"{number}") for number in range(200)))
    assert (only.topic, only.text.startswith("Nothing stands out")) == ("data", True)


@pytest.mark.parametrize(
    ("reserved", "cpu", "reason"),
    [
        (1.9, 0.95, "the machines were full"),
        (1.9, 0.3, "reserved, but not all used"),
        (0.5, 0.2, "although processors were free"),
        (None, 0.0, "no load samples"),
    ],
)
def test_an_overload_has_a_reason(reserved: float | None, cpu: float, reason: str) -> None:
    """From what the workers' processors were: reserved or not, busy or not."""
    busy = [
        task(1000 + n, wait_s=300.0, submitted=BEGIN + 6000.0 + n, finished=BEGIN + 6310.0 + n)
        for n in range(120)
    ]
    loads = []
    if reserved is not None:
        samples = (load("w1", BEGIN + 6000.0 + 10 * number) for number in range(30))
        loads = [type(each)(**{**fields(each), "reserved_cpus": reserved, "cpu": cpu}) for each in samples]
    found = about("overload", [*calm(100), *busy, *loads])
    assert reason in found.text
    assert found.text.startswith("From 100 to 102 ")
    assert "120 tasks submitted then waited 5m on average, up to 120 at once" in found.evidence


def fields(row: Row) -> dict[str, Any]:
    """Return a row's fields."""
    return {name: getattr(row, name) for name in row.__struct_fields__}


def test_who_reserves_more_processors_than_he_uses_is_named_once() -> None:
    """The user, and not the one command of his again; with a number that would do."""
    greedy = [task(500 + number, user="bob", command="render 1", cpus=4.0) for number in range(50)]
    found = about("cpus", [*calm(), *greedy])
    assert (
        found.text
        == "User bob reserves more processors than it uses: ask for about 1.2 a task instead of 4.0."
    )
    assert found.evidence.startswith("24 % of 0.6 reserved cpu-hours used; the idle rest is 38 % of all")


def test_what_uses_more_processors_than_it_reserves_is_named() -> None:
    """It slows its neighbours."""
    wide = [task(500 + number, command="crunch", cpu_s=40.0) for number in range(50)]
    found = about("cpus", [*calm(), *wide])
    assert "Command crunch uses more processors than it reserves" in found.text
    assert "about 4.0" in found.text


def test_memory_that_was_asked_for_and_not_used() -> None:
    """By the peak of 99 of 100, with room to spare."""
    greedy = [task(500 + n, user="bob", command="x", request_memory_bytes=8 * GIB) for n in range(50)]
    found = about("memory", [*calm(), *greedy])
    assert found.text == "User bob reserves more memory than it uses: 125 MiB a task would do."
    assert "asked 8.0 GiB (p50)" in found.evidence


def test_memory_that_was_not_enough() -> None:
    """Used more, or killed for it."""
    fields = {"request_memory_bytes": GIB, "memory_bytes": 2 * GIB, "state": "OOM", "command": "join"}
    found = about("memory", [*calm(), *(task(500 + n, **fields) for n in range(30))])
    assert found.text.startswith("Command join needs more memory than it asks for: ask for 2.5 GiB")
    assert "30 of 30 tasks" in found.evidence
    assert "30 were killed" in found.evidence


def test_memory_that_nobody_reserved() -> None:
    """Nothing keeps such tasks from filling a machine."""
    found = about(
        "memory", [*calm(), *(task(500 + n, command="hog", memory_bytes=4 * GIB) for n in range(30))]
    )
    assert found.text.startswith("Command hog reserves no memory and uses much")


def test_a_command_that_fails_often() -> None:
    """With its most frequent cause."""
    failing = [task(500 + n, command="import 7", state="FAILED", exit_code=3) for n in range(40)]
    found = about("failures", [*calm(), *(task(600 + n, command="import 9") for n in range(40)), *failing])
    assert found.text.startswith("Command import N fails often")
    assert found.evidence == "40 of 80 tasks failed (50 %), 40 by exit 3"


def test_a_worker_on_which_things_fail_that_work_elsewhere() -> None:
    """Also beside a command that fails everywhere."""
    rows = calm(800)
    bad = [task(2000 + n, worker="bad", state="FAILED", exit_code=1) for n in range(30)]
    bad += [task(3000 + n, worker="bad") for n in range(120)]
    found = about("failures", [*rows, *bad])
    assert found.text.startswith("Tasks fail by exit 1 on worker bad far more often than elsewhere")
    assert found.evidence == "30 of its 150 tasks (20 %), 0 % elsewhere"


def test_attempts_lost_with_their_worker() -> None:
    """More than one in a hundred; with what was done in vain."""
    attempts = [attempt(f"{n}") for n in range(200)]
    lost = [attempt(f"l{n}", cause="lost", worker="w9", placed=0.0, ended=60.0) for n in range(10)]
    found = about("reruns", [*calm(), *attempts, *lost])
    assert "most on w9" in found.text
    assert found.evidence.startswith("10 of 210 attempts (10 on w9); 10m of run time in vain")


def test_time_limits_that_end_much_or_nothing() -> None:
    """Work thrown away, or a limit that is none."""
    hit = [task(500 + n, command="long", state="TIMEOUT", exit_code=None) for n in range(10)]
    assert "Command long is often ended by its time limit" in about("time limits", [*calm(), *hit]).text
    loose = '{"time_limit_s":86400}'
    found = about("time limits", calm(150, spec=loose))
    assert "so wide" in found.text
    assert "150 tasks with a limit" in found.evidence


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"cause": "given_back"}, "given back"), ({"candidates": 1}, "mostly had no choice")],
)
def test_placement_that_was_in_vain_or_no_choice(changes: dict[str, Any], said: str) -> None:
    """A share of the decisions of a policy."""
    attempts = [attempt(f"{n}", worker=f"w{n % 4}", **changes) for n in range(150)]
    found = about("placement", [*calm(), *attempts])
    assert said in found.text
    assert "150 decisions" in found.evidence


def test_workers_that_are_used_unevenly() -> None:
    """And a policy that would even it out, where another one placed."""
    loads = []
    for worker, reserved in (("w1", 1.8), ("w2", 0.2)):
        for number in range(30):
            sample = load(worker, BEGIN + number)
            loads.append(type(sample)(**{**fields(sample), "reserved_cpus": reserved}))
    attempts = [attempt(f"{n}", policy="uniform") for n in range(150)]
    found = about("placement", [*calm(), *loads, *attempts])
    assert found.text.startswith("Workers are used unevenly, w1 far more than w2")
    assert "policy least-loaded" in found.text
    assert found.evidence == "reserved on average: 90 % of w1, 10 % of w2"
