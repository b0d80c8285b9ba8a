"""Arrays from Python, over real sockets, against a leader of a script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.unit.alb.remembering_broker import RememberingBroker

import alb
from alb.api.array import ArrayFuture
from alb_core.arrays import Stride
from alb_core.errors import OutputLost
from alb_core.messages import Cancel
from alb_core.tasks import TaskState


@pytest.fixture
def client(rememberer: RememberingBroker) -> Iterator[alb.Client]:
    """A client of it."""
    assert rememberer
    with alb.Client("zk:2181", user="u", timeout=60) as made:
        yield made


def test_an_array_yields_its_tasks_as_they_end(client: alb.Client) -> None:
    """Each with index, state, status and result; in the end its counts."""
    array = client.array("make {#}", indexes="1-5:2%2", cpus=0.5)
    tasks = {task.index: task for task in array}
    assert sorted(tasks) == [1, 3, 5]
    assert tasks[3].result().stdout == b"make 3\n"
    assert (tasks[3].state, tasks[3].exit_status, tasks[3].id) == (TaskState.SUCCEEDED, 0, f"{array.id}.3")
    assert (array.result(5).state, array.counts.succeeded) == (TaskState.SUCCEEDED, 3)
    assert array.spec.task.request.cpus == 0.5
    assert not array.cancel()


@pytest.mark.parametrize("kind", [list, iter])
def test_inputs_are_sent_as_they_come(
    client: alb.Client, rememberer: RememberingBroker, kind: Callable[[list[str]], list[str]]
) -> None:
    """Many of them, in order; of a list the first ones go with the submission."""
    lines = [f"n{number}" for number in range(3000)]
    array = client.array("make", inputs=kind(lines), ordered=True)
    assert [task.index for task in array] == list(range(1, 3001))
    assert rememberer.arrays[array.id].inputs == lines


def test_map_of_a_template_is_an_array(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Results in the order of the inputs; what has no outcome raises its error."""
    results = list(client.map("make {}", inputs=["a", "false", "b"]))
    assert [result.exit_status for result in results] == [0, 3, 0]
    assert [model.spec.at_once for model in rememberer.arrays.values()] == [1000]
    with pytest.raises(alb.TaskLost):
        list(client.map("make", inputs=["lost"]))
    with pytest.raises(alb.InvalidTask, match="one command as a text"):
        client.map(["a", "b"], inputs=["c"])


def test_waiting_drops_results_and_asyncio_waits_too(client: alb.Client) -> None:
    """Whoever only waits is content with the end; asking for results later is refused."""
    array = client.array("make {#}", indexes=range(1, 600))
    assert array.wait(60).counts.succeeded == 599
    with pytest.raises(alb.InvalidTask, match="without results"):
        array.next_task()

    async def main() -> int:
        return (await client.array("make {#}", indexes=[1, 2, 9])).counts.succeeded

    assert asyncio.run(main()) == 3


def test_parts_and_the_whole_can_be_cancelled(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Cancelled tasks have no outcome of their own."""
    array = client.array("sleep {#}", indexes="1-9", ordered=True)
    client_knows(array)
    client.cancel(array.id, "2-3,7")
    assert Cancel(id=array.id, strides=(Stride(2, 3), Stride(7, 7))) in rememberer.received
    assert array.cancel([5])
    assert array.cancel()
    states = [task.state for task in array]
    assert states == [TaskState.CANCELLED] * 9
    with pytest.raises(alb.InvalidTask, match="names a bound"):
        client.cancel(array.id, "1%2")


def client_knows(array: ArrayFuture) -> None:
    """Wait until the array is accepted."""
    assert array.wait_given(5)


def test_who_attaches_gets_what_is_kept(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Results where there are records, else how each ended; of an unknown id an error."""
    array = client.array("make", inputs=["a", "false"])
    assert len(list(array)) == 2
    again = {task.index: task for task in client.attach_array(array.id)}
    assert again[1].result().stdout == b"make a\n"
    rememberer.arrays[array.id].gone = True
    told = {task.index: task for task in client.attach_array(array.id, ordered=True)}
    assert (told[2].state, told[2].exit_status, told[2].future) == (TaskState.FAILED, 3, None)
    with pytest.raises(OutputLost, match="FAILED with exit status 3"):
        told[2].result()
    with pytest.raises(alb.TaskGone):
        client.attach_array("f" * 32)


def test_what_failed_is_tried_again(client: alb.Client, rememberer: RememberingBroker) -> None:
    """As a new array with the same indexes and inputs; and a single task as a new task."""
    array = client.array("make", inputs=["a", "false", "lost", "b"])
    array.wait(60)
    (again,) = client.retry_array(array.id)
    again.wait(60)
    assert rememberer.arrays[again.id].inputs == ["false", "lost"]
    assert client.retry_array(array.id, states=[TaskState.CANCELLED]) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "needs indexes, or inputs"),
        ({"indexes": "5-1"}, "is empty"),
        ({"indexes": []}, "at least one index"),
        ({"indexes": [1, 1]}, "named twice"),
        ({"inputs": "abc"}, "one text"),
        ({"inputs": ["a\0"]}, "NUL"),
        ({"inputs": [7]}, "an input is text"),
        ({"indexes": "1-3", "max_fails": -1}, "negative"),
    ],
)
def test_what_can_be_no_array_is_refused_at_once(
    client: alb.Client, arguments: dict[str, object], why: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(alb.InvalidTask, match=why):
        client.array("make", **arguments)  # type: ignore[arg-type]


def test_an_iterable_that_fails_ends_the_array_with_its_error(client: alb.Client) -> None:
    """What it gave before runs to its end."""

    def lines() -> Iterator[str]:
        yield "a"
        raise RuntimeError("the source is dry")

    array = client.array("make", inputs=lines())
    assert next(iter(array)).index == 1
    with pytest.raises(RuntimeError, match="the source is dry"):
        array.result(5)


def test_a_task_of_an_array_is_not_followed_twice(client: alb.Client) -> None:
    """Its result goes to the array; and closing the client ends its future and its thread."""
    going = threading.Event()

    def lines() -> Iterator[str]:
        yield "sleep"
        going.wait(5)

    array = client.array("make", inputs=lines())
    with pytest.raises(ValueError, match="one of an array"):
        client.attach(f"{array.id}.1")
    with pytest.raises(ValueError, match="under way"):
        client.array("make", indexes="1", id=array.id)
    client.close()
    going.set()
    with pytest.raises(alb.ClientClosed):
        array.result(5)
