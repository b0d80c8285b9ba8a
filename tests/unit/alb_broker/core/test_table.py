"""The leader's copy of the table: its counts, and who may add more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import make_task, task_id

from alb_broker.core.table import DONE_SLACK, DoneTask, Table
from alb_core.files import FileRef
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState


def table(pending: int = 10, size: int = 1 << 20, done: int = 100) -> Table:
    """Return an empty table."""
    return Table(pending_max=pending, pending_bytes_max=size, done_kept_max=done)


def test_one_user_may_have_as_much_as_is_left() -> None:
    """So nobody fills the table for the others, however few they are."""
    each = table(pending=8)
    admitted = {"ann": 0, "bob": 0}
    for user in ("ann", "bob"):
        for number in range(20):
            if each.admits(user, 1):
                each.add(make_task(number + (100 if user == "bob" else 0), user=user))
                admitted[user] += 1
    assert admitted == {"ann": 4, "bob": 2}
    assert each.admits("cid", 1)


def test_room_comes_back() -> None:
    """When a task ends, its place and its bytes are free again, once."""
    each = table(pending=2, size=600)
    task = make_task(1)
    each.add(task)
    assert not each.admits("ann", 1)
    assert not each.admits("bob", 600)
    each.remove(task)
    each.remove(task)
    assert each.admits("ann", 600)
    assert each.counts[TaskState.QUEUED] == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["add", "run", "remove"])), max_size=60))
def test_the_counts_are_those_of_the_tasks(steps: list[tuple[str, str]]) -> None:
    """Whatever comes and goes."""
    each = table()
    for number, (user, verb) in enumerate(steps):
        mine = [task for task in each.live.values() if task.user == user]
        if verb == "add":
            each.add(make_task(number, user=user))
        elif mine and verb == "remove":
            each.remove(mine[0])
        elif mine:
            before, mine[-1].state = mine[-1].state, TaskState.RUNNING
            each.moved(mine[-1], before)
    for state in (TaskState.QUEUED, TaskState.RUNNING):
        assert each.counts[state] == sum(task.state is state for task in each.live.values())
    assert each._pending_bytes == sum(task.size_bytes for task in each.live.values())
    assert {user: pending.tasks for user, pending in each._pending.items()} == {
        user: count for user in "ab" if (count := sum(task.user == user for task in each.live.values()))
    }


def test_one_user_may_have_as_many_bytes_as_are_left() -> None:
    """Large specifications fill the table like many small ones."""
    each = table(pending=1000, size=10 * make_task(1).size_bytes)
    for number in range(20):
        if each.admits("ann", 1):
            each.add(make_task(number))
    assert len(each.live) == 5
    assert each.admits("bob", 1)


def test_results_that_wait_for_their_clients_take_room() -> None:
    """Beyond what is kept anyway: a table does not grow without bound because nobody fetches."""
    each = table(pending=4, done=2)
    for number in range(2):
        each.finish(DoneTask(task_id(number), 0.0, None, b"c"))
    assert each.admits("ann", 1)
    for number in range(2, 6):
        each.finish(DoneTask(task_id(number), 0.0, None, b"c"))
    assert not each.admits("ann", 1)


def test_the_order_of_finishing_forgets_what_was_removed() -> None:
    """However many tasks come and go, and though the oldest one stays."""
    each = table()
    each.finish(DoneTask(task_id(0), 0.0, None, b"c"))
    for number in range(1, 5 * DONE_SLACK):
        each.finish(DoneTask(task_id(number), 0.0, None, b"c"))
        del each.done[task_id(number)]
    assert len(each.unacknowledged) <= 2 * DONE_SLACK
    assert each.unacknowledged[0] == task_id(0)


def test_depots_keep_every_program_of_a_live_task() -> None:
    """That of each architecture, for nobody knows where its next attempt runs; and none when it is gone."""
    each = table()
    programs = {
        arch: FileRef(name="p", sha256=f"{number:064x}", size_bytes=number)
        for number, arch in enumerate(("x86_64", "aarch64"), 1)
    }
    task = make_task(1, spec=TaskSpec(command=("p",), kind="binary", binaries=programs))
    each.add(task)
    assert each.files.used(()) == {f"{number:064x}": number for number in (1, 2)}
    each.remove(task)
    assert each.files.used(()) == {}
