"""Incremental submissions: what has a good result is not run again, through real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.alb.remembering_broker import RememberingBroker

import alb
from alb.local.daemons import wait_until
from alb_core.errors import InvalidTask, TaskError
from alb_core.messages import QueryWorks
from alb_core.tasks import TaskState


@pytest.fixture
def client(rememberer: RememberingBroker) -> Iterator[alb.Client]:
    """A client of that leader."""
    assert rememberer
    with alb.Client("zk:2181", user="u", timeout=60) as made:
        yield made


def test_a_good_result_is_not_made_again(client: alb.Client, rememberer: RememberingBroker) -> None:
    """The future is the earlier task's, with its output; what differs in patience only is the same work."""
    first = client.submit("make a", incremental=True)
    assert (first.result(5).stdout, first.earlier) == (b"make a\n", None)
    again = client.submit("make a", incremental=True, priority=7, name="again", time_limit=5)
    assert (again.id, again.result(5).stdout) == (first.id, b"make a\n")
    assert again.earlier is not None
    assert again.earlier.state is TaskState.SUCCEEDED
    other = client.submit("make a", incremental=True, env={"A": "b"})
    assert other.result(5)
    assert rememberer.submitted() == ["make a", "make a"]


def test_a_bad_result_is(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Only success is good."""
    for _ in range(2):
        assert client.submit("false", incremental=True).result(5).exit_status == 3
    assert rememberer.submitted() == ["false", "false"]


def test_without_the_keyword_everything_runs(client: alb.Client, rememberer: RememberingBroker) -> None:
    """And counts for those that ask later."""
    client.submit("make a").result(5)
    client.submit("make a").result(5)
    assert len(rememberer.submitted()) == 2
    assert client.submit("make a", incremental=True).earlier is not None


def test_what_is_under_way_is_not_begun_again(client: alb.Client, rememberer: RememberingBroker) -> None:
    """In this client it is the same future, whether the leader knows it yet or not."""
    first = client.submit("sleep 1", incremental=True)
    assert client.submit("sleep 1", incremental=True) is first
    plain = client.submit("sleep 2")
    wait = client.find_earlier(["sleep 2", "sleep 3"])
    assert [line and line.id for line in wait] == [plain.id, None]
    assert client.submit("sleep 2", incremental=True) is plain
    assert len(rememberer.submitted()) == 2


def test_a_task_of_another_client_is_followed(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Its end is this future's."""
    with alb.Client("zk:2181", user="u", timeout=60) as other:
        theirs = other.submit("sleep 1", incremental=True)
        assert wait_until(rememberer.submitted, 5.0)
        ours = client.submit("sleep 1", incremental=True)
        assert (ours.id, ours.earlier and ours.earlier.state) == (theirs.id, TaskState.QUEUED)
        client.cancel(ours.id)
        with pytest.raises(alb.TaskCancelled):
            ours.result(5)
    assert rememberer.submitted() == ["sleep 1"]


def test_map_asks_for_many_at_once(client: alb.Client, rememberer: RememberingBroker) -> None:
    """Results come in the order of the commands, doubles run once, and questions are few."""
    commands = [f"make {number % 450}" for number in range(500)]
    results = list(client.map(commands, incremental=True))
    assert [each.stdout.decode() for each in results] == [f"{command}\n" for command in commands]
    assert len(rememberer.submitted()) == 450
    again = list(client.map(commands, incremental=True, window=100))
    assert [each.id for each in again] == [each.id for each in results]
    assert len(rememberer.submitted()) == 450
    questions = [len(message.works) for message in rememberer.received if isinstance(message, QueryWorks)]
    assert len(questions) <= 3 + 5
    assert max(questions) <= 200


def test_errors_come_at_once(client: alb.Client, rememberer: RememberingBroker) -> None:
    """A wrong command, and a store that does not answer: nothing is submitted."""
    with pytest.raises(InvalidTask):
        client.submit("", incremental=True)
    rememberer.trouble = ["the results store does not answer: locked"]
    with pytest.raises(TaskError, match="locked"):
        client.submit("make a", incremental=True)
    assert rememberer.submitted() == []
