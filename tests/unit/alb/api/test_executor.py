"""The executor, held to what the standard library documents of one; its calls run in threads of this process.

Written in the style of CPython's own tests of `concurrent.futures`. ``test_standard_suite.py`` runs those
themselves where they are installed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest
from tests.unit.alb.calling_broker import SLOTS, CallingBroker, Gate
from tests.unit.alb.fake_broker import FakeBroker

import alb
from alb.api.executor import CallFuture
from alb_core.calls import PYTHON_LABEL
from alb_core.errors import CallFailed, ClientClosed, InvalidTask

NameLeader = Callable[[FakeBroker | None], None]


@pytest.fixture
def broker(name_leader: NameLeader) -> Iterator[CallingBroker]:
    """A leader that does calls."""
    with CallingBroker() as leader:
        name_leader(leader)
        yield leader


@pytest.fixture
def executor(broker: CallingBroker) -> Iterator[alb.Executor]:
    """An executor on it."""
    assert broker
    with alb.Executor(zk="zk:2181") as made:
        yield made


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A call that lasts until it is opened; at the test's end it is."""
    made = Gate(request.node.name)
    yield made
    made.opened.set()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, at most twenty seconds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def fill(executor: alb.Executor, gate: Gate) -> list[CallFuture[str]]:
    """Occupy every slot of the cluster, and wait until the futures say so."""
    running = [executor.submit(gate) for _ in range(SLOTS)]
    wait_for(lambda: all(future.running() for future in running))
    return running


# --- submit -------------------------------------------------------------------------------------------------


def test_submit(executor: alb.Executor) -> None:
    """Positional and keyword arguments, whatever they are called."""

    def capture(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    assert executor.submit(pow, 2, 8).result(20) == 256
    assert executor.submit(capture, 1, self=2, fn=3).result(20) == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        executor.submit(fn=capture)  # type: ignore[call-arg]


def test_a_call_is_a_task_of_the_kind_python(executor: alb.Executor, broker: CallingBroker) -> None:
    """Named after its function, and led to workers that have the kind and this Python."""
    future = executor.submit(pow, 2, 8)
    future.result(20)
    spec = broker.specs[future.id]
    assert (spec.kind, spec.command, spec.name) == ("python", "builtins.pow", "builtins.pow")
    assert set(spec.request.labels) == {"kind=python", PYTHON_LABEL}


def test_options_are_those_of_tasks(broker: CallingBroker) -> None:
    """Of every call of the executor."""
    options: Any = {"cpus": 0.5, "time_limit": 9, "name": "mine", "labels": ["gpu"], "env": {"A": "b"}}
    with alb.Executor(zk="zk:2181", **options) as made:
        future = made.submit(pow, 2, 8)
        assert future.result(20) == 256
    spec = broker.specs[future.id]
    assert (spec.request.cpus, spec.time_limit_s, spec.name, spec.env) == (0.5, 9, "mine", {"A": "b"})
    assert set(spec.request.labels) == {"gpu", "kind=python", PYTHON_LABEL}


def test_options_that_are_its_own_are_refused(broker: CallingBroker) -> None:
    """As is a number of workers that makes no sense."""
    assert broker
    for options in ({"kind": "x"}, {"steps": 2}, {"payload": b""}):
        with pytest.raises(ValueError, match="are its own"):
            alb.Executor(zk="zk:2181", **options)  # type: ignore[arg-type]
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            alb.Executor(number)


def test_what_cannot_be_sent_is_the_futures_exception(executor: alb.Executor) -> None:
    """Not the caller's: a loop over many calls goes on."""
    assert isinstance(executor.submit(len, (x for x in "a")).exception(20), TypeError)  # type: ignore[arg-type]
    with alb.Executor(client=executor.client, cpus=-1) as wrong:
        assert isinstance(wrong.submit(pow, 2, 2).exception(20), InvalidTask)
    assert executor.submit(pow, 2, 2).result(20) == 4


# --- exceptions ---------------------------------------------------------------------------------------------


def test_an_exception_has_the_remote_traceback_as_its_cause(executor: alb.Executor) -> None:
    """And a traceback that is printed shows both."""

    def fail() -> None:
        raise RuntimeError(123)

    error = executor.submit(fail).exception(20)
    assert isinstance(error, RuntimeError)
    assert error.args == (123,)
    shown = "".join(traceback.format_exception(error))
    assert "in fail\n" in shown
    assert "calls.py" not in shown
    assert "direct cause" in shown


def test_a_value_that_cannot_travel_is_an_error(executor: alb.Executor) -> None:
    """Of this call alone."""
    assert isinstance(executor.submit(lambda: threading.Lock()).exception(20), CallFailed)  # noqa: PLW0108


def test_a_client_that_is_closed_fails_what_is_under_way(broker: CallingBroker, gate: Gate) -> None:
    """Nobody waits for ever."""
    assert broker
    client = alb.Client("zk:2181")
    with alb.Executor(client=client) as made:
        future = made.submit(gate)
        wait_for(future.running)
        client.close()
        assert isinstance(future.exception(20), ClientClosed)
        assert isinstance(made.submit(pow, 1, 1).exception(20), ClientClosed)


# --- map ----------------------------------------------------------------------------------------------------


def test_map(executor: alb.Executor, broker: CallingBroker) -> None:
    """In order; in chunks there are fewer tasks and the same values."""
    expected = list(map(pow, range(20), range(20)))
    assert list(executor.map(pow, range(20), range(20))) == expected
    for chunksize, tasks in ((6, 4), (20, 1), (50, 1)):
        before = len(broker.specs)
        assert list(executor.map(pow, range(20), range(20), chunksize=chunksize)) == expected
        assert len(broker.specs) - before == tasks
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(pow, [1], [1], chunksize=-1)


def test_map_raises_where_a_call_did(executor: alb.Executor) -> None:
    """The values before it are yielded."""
    found = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert (next(found), next(found)) == ((0, 1), (0, 1))
    with pytest.raises(ZeroDivisionError):
        next(found)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_gives_up_in_time(executor: alb.Executor, gate: Gate, chunksize: int) -> None:
    """What is there is yielded; the rest is cancelled."""

    def work(call: Any) -> str:
        return call() if callable(call) else "done"

    values = executor.map(work, ["a", "b", gate], timeout=2, chunksize=chunksize)
    assert (next(values), next(values)) == ("done", "done")
    with pytest.raises(TimeoutError):
        next(values)


def test_map_submits_before_it_is_iterated(executor: alb.Executor) -> None:
    """All of it."""
    gates = [Gate(f"map submits {number}") for number in range(3)]
    executor.map(lambda call: call(), gates)
    for gate in gates:
        assert gate.started.wait(60)
        gate.opened.set()


# --- states -------------------------------------------------------------------------------------------------


def test_a_call_goes_from_pending_to_running_to_finished(executor: alb.Executor, gate: Gate) -> None:
    """As the cluster places it."""
    running = fill(executor, gate)
    waiting = executor.submit(pow, 2, 2)
    assert not waiting.running()
    assert not waiting.done()
    gate.opened.set()
    assert waiting.result(20) == 4
    assert waiting.done()
    assert not waiting.running()
    assert {future.result(20) for future in running} == {gate.name}


def test_a_call_that_waits_can_be_cancelled(
    executor: alb.Executor, broker: CallingBroker, gate: Gate
) -> None:
    """At once; its task is cancelled, and it never runs."""
    fill(executor, gate)
    waiting = executor.submit(pow, 2, 2)
    told: list[bool] = []
    waiting.add_done_callback(lambda future: told.append(future.cancelled()))
    assert waiting.cancel()
    assert waiting.cancel()
    assert (waiting.cancelled(), waiting.done(), waiting.running()) == (True, True, False)
    assert told == [True]
    with pytest.raises(futures.CancelledError):
        waiting.result(0)
    assert futures.wait([waiting], timeout=0).done == {waiting}
    wait_for(lambda: broker.cancelled == [waiting.id])


def test_a_call_that_runs_or_has_ended_cannot(executor: alb.Executor, gate: Gate) -> None:
    """It goes on, and its value comes."""
    running = executor.submit(gate)
    wait_for(running.running)
    assert not running.cancel()
    assert not running.cancelled()
    gate.opened.set()
    assert running.result(20) == gate.name
    assert not running.cancel()


def test_a_bound_keeps_calls_here(broker: CallingBroker, gate: Gate) -> None:
    """They are handed over as others end; one that is cancelled before never is."""
    with alb.Executor(2, zk="zk:2181") as made:
        first = [made.submit(gate) for _ in range(2)]
        wait_for(lambda: len(broker.specs) == 2)
        later = [made.submit(pow, 2, number) for number in range(4)]
        assert [future.cancel() for future in later[:2]] == [True, True]
        assert len(broker.specs) == 2
        gate.opened.set()
        assert [future.result(20) for future in (*first, *later[2:])] == [gate.name, gate.name, 4, 8]
    assert len(broker.specs) == 4
    assert broker.cancelled == []


def test_a_call_that_no_worker_can_run_says_why_once(
    executor: alb.Executor, broker: CallingBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """To the log of the program: nothing else would show that it waits in vain."""
    broker.waits = "no worker has the label kind=python"

    def said() -> list[str]:
        return [message for message in caplog.messages if message.startswith("a call")]

    with caplog.at_level(logging.WARNING, "alb"):
        waiting = [executor.submit(pow, 2, 2) for _ in range(3)]
        wait_for(said)
        assert all(future.cancel() for future in waiting)
    assert said() == ["a call of the executor waits: no worker has the label kind=python"]


# --- wait, as_completed, callbacks --------------------------------------------------------------------------


def test_wait(executor: alb.Executor, gate: Gate) -> None:
    """For the first, for the first that raised, for all, and not longer than told."""
    slow, quick, wrong = executor.submit(gate), executor.submit(pow, 2, 2), executor.submit(divmod, 1, 0)
    assert slow not in futures.wait([slow, quick, quick], 20, futures.FIRST_COMPLETED).done
    done = futures.wait([slow, wrong], 20, futures.FIRST_EXCEPTION)
    assert done == ({wrong}, {slow})
    assert futures.wait([slow], timeout=0).not_done == {slow}
    gate.opened.set()
    assert futures.wait([slow, quick, wrong], 20).not_done == set()


def test_as_completed(executor: alb.Executor, gate: Gate) -> None:
    """In the order of their ends, each once; without time only those that are there."""
    slow, quick = executor.submit(gate), executor.submit(pow, 2, 2)
    quick.result(20)
    with pytest.raises(TimeoutError, match="1 \\(of 2\\) futures unfinished"):
        assert list(futures.as_completed([slow, quick, slow], timeout=0)) == [quick]
    gate.opened.set()
    assert set(futures.as_completed([slow, quick, slow], timeout=20)) == {slow, quick}


def test_callbacks_are_called_once_and_may_do_anything(executor: alb.Executor) -> None:
    """Also wait for other calls, and raise what nobody expects: the executor lives on."""
    told: list[Any] = []

    def hear(future: CallFuture[int]) -> None:
        told.append(future.result())
        raise SystemExit

    future = executor.submit(pow, 2, 2)
    future.add_done_callback(hear)
    assert future.result(20) == 4
    wait_for(lambda: told)
    assert executor.submit(pow, 2, 3).result(20) == 8
    assert told == [4]


def test_a_callback_may_submit_and_shut_down(broker: CallingBroker) -> None:
    """From the thread that brings values back; nothing hangs."""
    assert broker
    made = alb.Executor(zk="zk:2181")
    over = threading.Event()
    followed: list[CallFuture[int]] = []

    def follow(_: object) -> None:
        followed.append(made.submit(pow, 3, 2))
        made.shutdown()
        over.set()

    made.submit(pow, 2, 2).add_done_callback(follow)
    assert over.wait(60)
    assert followed[0].result(20) == 9


# --- shutdown -----------------------------------------------------------------------------------------------


def test_nothing_is_taken_after_shutdown(executor: alb.Executor) -> None:
    """As the standard library words it."""
    executor.shutdown()
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 5)
    with pytest.raises(RuntimeError):
        executor.map(pow, [1], [1])


def test_shutdown_waits_for_everything(broker: CallingBroker) -> None:
    """And closes the client that it made."""
    assert broker
    made = alb.Executor(3, zk="zk:2181")
    some = [made.submit(time.sleep, 0.01) for _ in range(20)]
    made.shutdown()
    assert all(future.done() for future in some)
    with pytest.raises(ClientClosed):
        made.client.cluster()


def test_shutdown_can_leave_calls_alone(broker: CallingBroker, gate: Gate) -> None:
    """They end all the same, and then the client is closed."""
    assert broker
    made = alb.Executor(1, zk="zk:2181")
    first, second = made.submit(gate), made.submit(pow, 2, 2)
    made.shutdown(wait=False)
    assert not first.done()
    gate.opened.set()
    assert (first.result(20), second.result(20)) == (gate.name, 4)


def test_shutdown_can_cancel_what_does_not_run(broker: CallingBroker, gate: Gate) -> None:
    """What runs, goes on; what waits, here or in the cluster, is cancelled."""
    assert broker
    made = alb.Executor(SLOTS + 2, zk="zk:2181")
    running = fill(made, gate)
    waiting = [made.submit(pow, 2, 2) for _ in range(10)]
    made.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.opened.set()
    made.shutdown()
    assert [future.result(0) for future in running] == [gate.name] * SLOTS


def test_a_client_that_was_given_stays_open(broker: CallingBroker) -> None:
    """Several executors may share it."""
    assert broker
    with alb.Client("zk:2181") as client:
        for cpus in (0.5, 1.0):
            with alb.Executor(client=client, cpus=cpus) as made:
                assert made.submit(pow, 2, 2).result(20) == 4


def test_an_executor_that_is_forgotten_ends_its_calls(broker: CallingBroker, gate: Gate) -> None:
    """And then nothing is left of it: no thread, no client."""
    assert broker
    made = alb.Executor(zk="zk:2181")
    future = made.submit(gate)
    forgotten, client = weakref.ref(made), weakref.ref(made.client)
    wait_for(future.running)
    del made
    gc.collect()
    assert forgotten() is None
    gate.opened.set()
    assert future.result(20) == gate.name

    def gone() -> bool:
        gc.collect()
        return client() is None

    wait_for(gone)


def test_nothing_of_a_call_is_kept(executor: alb.Executor) -> None:
    """Neither its arguments nor its value, once their owner lets go of them."""

    class Thing:
        """Something that can be referred to weakly."""

    thing = Thing()
    argument = weakref.ref(thing)
    future = executor.submit(lambda _: Thing(), thing)
    del thing
    value = weakref.ref(future.result(20))
    del future
    wait_for(lambda: argument() is None)
    wait_for(lambda: value() is None)


# --- asyncio ------------------------------------------------------------------------------------------------


def test_asyncio(executor: alb.Executor, gate: Gate) -> None:
    """The loop's own ways to use an executor."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, pow, 2, 8) == 256
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        fill(executor, gate)
        waiting = executor.submit(pow, 2, 2)
        wrapped = asyncio.wrap_future(waiting)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        await asyncio.sleep(0)  # the loop passes it on in its next turn
        assert waiting.cancelled()

    asyncio.run(main())
