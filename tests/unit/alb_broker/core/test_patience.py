"""Who saves waits a while for room where something runs: only where some is to come, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.broker_parts import CLAIMED_S, attempt, make_task, make_worker, request

from alb_broker.core.patience import AHEAD_S, LOOK_EVERY_S, Patience
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_core.spec import TaskSpec
from alb_core.vectors import PATIENCE_S, Vector, parse_vector

THRIFTY = parse_vector("resources")
GIB = 1 << 30


def host(name: str = "host", cpus: float = 4, **fields: Any) -> Worker:
    """Return a worker that runs something, and is full."""
    worker = make_worker(name, cpus, **fields)
    worker.reserve(attempt(99), request(cpus))
    return worker


def cluster(*each: Worker) -> Workers:
    """Return these workers."""
    workers = Workers()
    for worker in each:
        workers.add(worker)
    return workers


def task(**fields: Any) -> Task:
    """Return a task that waits from `CLAIMED_S` on."""
    return make_task(1, spec=TaskSpec(command="x", request=request(**fields)), submitted=CLAIMED_S)


def spares(
    *others: Worker, idle: Worker | None = None, vector: Vector = THRIFTY, waited: float = 0.0, **fields: Any
) -> bool:
    """Tell whether a task waits that could wake a worker, for one of the others."""
    woken = idle or make_worker("idle", 4)
    workers = cluster(woken, *others)
    return Patience().spares(task(**fields), woken, vector, workers, CLAIMED_S + waited)


def test_a_task_that_saves_waits_for_room_where_something_runs() -> None:
    """And wakes nobody meanwhile; where nothing runs there is nothing to wait for."""
    assert spares(host())
    assert not spares()
    assert not spares(make_worker("another idle one", 4))


@pytest.mark.parametrize(
    ("text", "patience_s"),
    [("resources", PATIENCE_S), ("resources=0.75", PATIENCE_S / 2), ("resources=0.5", 0), ("time", 0)],
)
def test_it_waits_as_long_as_its_vector_says(text: str, patience_s: float) -> None:
    """The longer, the more resources outweigh time; then any worker will do."""
    vector = parse_vector(text)
    assert not patience_s or spares(host(), vector=vector, waited=patience_s - 0.1)
    assert not spares(host(), vector=vector, waited=patience_s)
    assert spares(host(), vector=vector, waited=-1e-6) == bool(patience_s), "stamped a little ahead"
    assert not spares(host(), vector=vector, waited=-AHEAD_S - 0.1), "the clock went back: nobody waits"


def drained(worker: Worker) -> Worker:
    """Take it out of service."""
    worker.leaving = True
    return worker


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda: host(cpus=2), {"cpus": 3}),
        (lambda: host(cpus=4), {"cpus": 4}),
        (lambda: host(memory_bytes=GIB), {"memory_bytes": GIB}),
        (host, {"labels": ("ssd",)}),
        (lambda: host(speed=0.4), {}),
        (lambda: drained(host()), {}),
    ],
    ids=["too small", "all processors", "all memory", "other labels", "too slow", "drained"],
)
def test_it_does_not_wait_for_what_would_not_help(make: Callable[[], Worker], fields: dict[str, Any]) -> None:
    """Who takes a whole worker finds it empty or not at all; on a slow one a task holds its room too long."""
    assert not spares(make(), **fields)


def test_what_it_prefers_counts_more() -> None:
    """The idle worker carries it, the busy one does not."""
    liked = make_worker("liked", 4, labels=("zone=a",))
    assert not spares(host(), idle=liked, prefers=("zone=a",))
    assert spares(host(), idle=liked)


def test_who_was_just_woken_is_waited_for() -> None:
    """Though all workers are looked at once a second only; and who fell asleep again is not."""
    first, second = make_worker("w1", 4), make_worker("w2", 4)
    workers, patience = cluster(first, second), Patience()
    assert not patience.spares(task(), first, THRIFTY, workers, CLAIMED_S)
    first.reserve(attempt(1), request(4))
    assert patience.spares(task(), second, THRIFTY, workers, CLAIMED_S)
    first.release(attempt(1))
    assert not patience.spares(task(), second, THRIFTY, workers, CLAIMED_S)


def test_who_others_woke_is_seen_at_the_next_look() -> None:
    """A second later at most."""
    first, second = make_worker("w1", 4), make_worker("w2", 4)
    workers, patience = cluster(first, second), Patience()
    assert not patience.spares(task(), second, THRIFTY, workers, CLAIMED_S)
    first.reserve(attempt(1), request(4))
    assert not patience.spares(task(), second, THRIFTY, workers, CLAIMED_S)
    assert patience.spares(task(), second, THRIFTY, workers, CLAIMED_S + LOOK_EVERY_S)
