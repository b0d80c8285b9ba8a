"""Answers to questions: lists, pages, the cluster, the dump."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.broker_parts import C1, C2, Desks, attempt, ended, submit, task_id, to_client

from alb_broker.core import answers
from alb_core.messages import (
    AttemptUse,
    Beat,
    Cancel,
    ClusterPage,
    DumpPage,
    Error,
    Message,
    QueryCluster,
    QueryDump,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    TaskPage,
    TasksPage,
    WorkersPage,
)
from alb_core.resources import Load
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState


def desks(*numbers: int) -> Desks:
    """Return a leader with two clients, a worker of one processor, and tasks of ann."""
    each = Desks()
    each.greet("ann", "bob")
    each.join()
    each.run(*numbers)
    return each


def ask(each: Desks, question: Message) -> Any:
    """Return the one answer to a question."""
    assert to_client(C1, each.client(question)) == [], "said before the commit"
    (answer,) = to_client(C1, each.commit())
    return answer


def numbers(page: TasksPage) -> list[int]:
    """Return which tasks are on a page."""
    return [int(line.id, 16) for line in page.tasks]


def test_tasks_are_listed_page_by_page() -> None:
    """In the order of their ids, live and finished ones together, each once."""
    each = desks(*range(1, 8))
    each.worker(ended(1))
    each.turn()
    found, cursor = [], ""
    while True:
        page = ask(each, QueryTasks(seq=1, cursor=cursor, limit=3))
        found.append(numbers(page))
        cursor = page.cursor
        if not cursor:
            break
    assert found == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_long_list_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages after the first cost what is on them, and show tasks as they are by then."""
    each = desks(*range(1, 8))
    made: list[QueryTasks] = []
    matching = each.answers._matching
    monkeypatch.setattr(each.answers, "_matching", lambda query: made.append(query) or matching(query))
    waiting = QueryTasks(seq=1, states=(TaskState.QUEUED,), limit=2)
    page = ask(each, waiting)
    each.client(Cancel(id=task_id(4)))
    each.commit()
    page = ask(each, msgspec.structs.replace(waiting, cursor=page.cursor))
    assert (numbers(page), len(made)) == ([5, 6], 1)
    other = ask(each, QueryTasks(seq=2, cursor=page.cursor))
    assert (numbers(other), len(made)) == ([7], 2)


def test_an_unfinished_list_is_forgotten() -> None:
    """It holds ids of tasks that may be long gone."""
    each = desks(*range(1, 8))
    page = ask(each, QueryTasks(seq=1, limit=2))
    assert page.cursor
    assert len(each.answers._listings) == 1
    each.state.at += answers.LISTING_KEPT_S + 1
    each.answers.tick()
    assert each.answers._listings == {}
    assert numbers(ask(each, QueryTasks(seq=1, limit=2, cursor=page.cursor))) == [3, 4]


def test_a_full_last_page_ends_the_list() -> None:
    """There is no empty page behind it."""
    page = ask(desks(1, 2), QueryTasks(seq=1, limit=2))
    assert (numbers(page), page.cursor) == ([1, 2], "")


def test_tasks_are_filtered() -> None:
    """By state, user, id, and the beginning of the id."""
    each = desks(1, 2, 20)
    assert numbers(ask(each, QueryTasks(seq=1, states=(TaskState.RUNNING,)))) == [1]
    assert numbers(ask(each, QueryTasks(seq=1, user="bob"))) == []
    assert numbers(ask(each, QueryTasks(seq=1, ids=(task_id(2), task_id(9))))) == [2]
    assert numbers(ask(each, QueryTasks(seq=1, prefix=task_id(20)[:31]))) == [20]


def test_a_page_is_bounded_whatever_is_asked() -> None:
    """A client cannot make the leader send everything at once, nor nothing for ever."""
    each = desks()
    for number in range(answers.PAGE_MAX + 1):
        each.client(submit(number))
    each.commit()
    assert len(ask(each, QueryTasks(seq=1, limit=10**9)).tasks) == answers.PAGE_MAX
    assert len(ask(each, QueryTasks(seq=1, limit=-1)).tasks) == 1


def test_a_line_tells_what_a_list_shows() -> None:
    """The command shortened, the worker, and once it is over how it ended."""
    each = desks()
    each.client(submit(1, TaskSpec(command=("echo", "x" * 500), name="long")))
    each.turn()
    (line,) = ask(each, QueryTasks(seq=1)).tasks
    assert (line.name, line.worker, line.attempt, line.exit_status) == ("long", "w1", 1, None)
    assert line.command == ("echo " + "x" * 500)[: answers.COMMAND_SHOWN]
    assert "finished" not in msgspec.to_builtins(line)
    each.worker(ended(1, exit_code=4))
    each.commit()
    (line,) = ask(each, QueryTasks(seq=1)).tasks
    assert (line.state, line.exit_status) == (TaskState.FAILED, 4)


def test_words_of_a_command_are_told_apart() -> None:
    """A vector is shown as one would type it: two words are not three."""
    each = desks()
    each.client(submit(1, TaskSpec(command=("echo", "a b"))))
    each.turn()
    (line,) = ask(each, QueryTasks(seq=1)).tasks
    assert line.command == "echo 'a b'"


def test_one_task_is_told_whole() -> None:
    """As the table holds it, with what it was seen to use; an unknown one is gone."""
    each = desks(1)
    assert ask(each, QueryTask(seq=5, id=task_id(1))) == TaskPage(seq=5, task=each.task(1).record())
    use = AttemptUse(attempt=attempt(1), cpus=0.5, memory_bytes=9)
    each.worker(Beat(load=Load(), uses=(use,)))
    assert ask(each, QueryTask(seq=5, id=task_id(1))).uses == (use,)
    gone = ask(each, QueryTask(seq=6, id=task_id(9)))
    assert isinstance(gone, Error)
    assert (gone.code, gone.seq) == ("gone", 6)


def test_workers_are_listed_with_what_is_reserved() -> None:
    """By name."""
    page = ask(desks(1), QueryWorkers(seq=1))
    assert isinstance(page, WorkersPage)
    (line,) = page.workers
    assert (line.worker, line.session, line.link, line.reserved_cpus, line.running) == (
        "w1",
        True,
        True,
        1.0,
        1,
    )
    assert page.now >= page.since > 0


def test_the_cluster_is_told() -> None:
    """Who leads since when, how many tasks there are, and what was set aside."""
    each = desks(1, 2)
    each.state.set_aside("/tasks/00/x", "garbage")
    page = ask(each, QueryCluster(seq=1))
    assert isinstance(page, ClusterPage)
    assert (page.broker, page.epoch, page.policy) == ("b1", 1, "least-loaded")
    assert page.counts == {"HELD": 0, "QUEUED": 1, "RUNNING": 1, "done": 0}
    assert page.set_aside == ("/alb/tasks/00/x: garbage",)
    assert page.counters["tasks_placed"] == 1


def test_the_dump_comes_in_pieces_of_one_moment() -> None:
    """What changes while a client reads does not get into it; the next reading is another."""
    each = desks()
    for number in range(3):
        each.client(submit(number, TaskSpec(command="x" * 60_000)))
    each.turn()
    before, answers.DUMP_PAGE_BYTES = answers.DUMP_PAGE_BYTES, 100_000  # type: ignore[misc]
    try:
        data, cursor = b"", 0
        while True:
            page = ask(each, QueryDump(seq=1, cursor=cursor))
            assert isinstance(page, DumpPage)
            data += page.data
            each.worker(ended(0))
            each.commit()
            cursor = page.cursor
            if not cursor:
                break
    finally:
        answers.DUMP_PAGE_BYTES = before  # type: ignore[misc]
    document = json.loads(data)
    assert (document["broker"], document["epoch"]) == ("b1", 1)
    assert [len(document[key]) for key in ("queue", "running", "workers", "clients")] == [2, 1, 1, 2]
    each.at(answers.DUMP_AGAIN_S + 1.0)
    assert json.loads(ask(each, QueryDump(seq=2)).data)["done"] == 1


def test_a_dump_is_kept_for_a_while() -> None:
    """Asking at once again costs nothing; a reader who is too slow is told to begin again."""
    each = desks()
    first = ask(each, QueryDump(seq=1))
    each.client(submit(1))
    each.commit()
    assert ask(each, QueryDump(seq=2)).data == first.data
    each.state.at = answers.DUMP_KEPT_S + 1.0
    each.clients._answers.tick()
    late = ask(each, QueryDump(seq=3, cursor=10))
    assert isinstance(late, Error)
    assert late.code == "gone"


def test_a_list_waits_for_finished_tasks_after_a_takeover() -> None:
    """Right after a failover finished tasks are known by their ids only: no list leaves them out."""
    each = desks()
    each.state.recollected = False
    each.client(QueryTasks(seq=1))
    each.client(QueryTasks(seq=2, states=(TaskState.QUEUED,)), peer=C2)
    told = each.commit()
    assert to_client(C1, told) == []
    assert [type(message) for message in to_client(C2, told)] == [TasksPage]
    each.state.recollected = True
    each.answers.tick()
    (page,) = to_client(C1, each.commit())
    assert isinstance(page, TasksPage)
    assert page.seq == 1
