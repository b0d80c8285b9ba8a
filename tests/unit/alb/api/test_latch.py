"""Where threads wait for a future."""

from __future__ import annotations

import threading
from concurrent.futures import Future, as_completed, wait
from pathlib import Path

from alb.api.future import TaskFuture
from alb.api.latch import Latch
from alb.api.result import TaskResult
from alb_core.tasks import Result, TaskState

PATIENCE_S = 10.0


def future(name: str = "t") -> TaskFuture:
    """Make the future of a task that nobody runs."""
    return TaskFuture(name, lambda _: None, 1024, lambda *_: [Path()])


def result(name: str) -> TaskResult:
    """Make a result."""
    return TaskResult(id=name, record=Result(state=TaskState.SUCCEEDED, exit_code=0))


def test_the_standard_library_waits_at_the_latch() -> None:
    """It is no other condition that a future uses: else ours would do nothing but take room."""
    waited = future()
    assert isinstance(waited._condition, Latch)
    assert vars(Future()).keys() <= vars(waited).keys()


def test_who_waits_is_woken() -> None:
    """Several threads that wait for one future all get its result."""
    waited = future()
    got: list[TaskResult] = []
    threads = [threading.Thread(target=lambda: got.append(waited.result(PATIENCE_S))) for _ in range(3)]
    for thread in threads:
        thread.start()
    waited.set_result(result("t"))
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [each.id for each in got] == ["t"] * 3


def test_a_wait_ends_in_time() -> None:
    """`wait` tells that nobody notified, and has the lock again: only who has it may give it back."""
    latch = Latch()
    with latch:
        assert not latch.wait(0.001)
    latch.acquire()
    latch.release()


def test_the_standard_library_s_functions_know_the_future() -> None:
    """`wait` and `as_completed` take the locks of several futures at once."""
    futures = [future(f"t{number}") for number in range(3)]
    for each in futures:
        each.set_result(result(each.id))
    assert wait(futures, PATIENCE_S).done == set(futures)
    assert set(as_completed(futures, PATIENCE_S)) == set(futures)
