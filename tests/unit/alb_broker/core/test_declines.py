"""What a policy lets wait, and for how long already."""

from __future__ import annotations

from tests.broker_parts import make_task

from alb_broker.core.declines import DECLINES_S, KEPT_MAX, Declines
from alb_broker.core.task import Task
from alb_core.tasks import TaskState


def in_passes(declines: Declines, task: Task, *times: float) -> list[float | None]:
    """Decline a task in a pass at each of these times."""
    found = []
    for at in times:
        declines.begin()
        found.append(declines.note(task, at))
    return found


def test_a_task_is_given_up_after_a_while() -> None:
    """Its time runs from the first refusal, also where passes are rare."""
    declines, task = Declines(), make_task(1)
    assert in_passes(declines, task, 5.0, 20.0, 34.9, 35.0) == [None, None, None, 5.0]
    assert in_passes(Declines(), task, 5.0, 500.0) == [None, 5.0]


def test_what_found_no_room_for_long_begins_anew() -> None:
    """What is left out of a few passes does not: small tasks that come and go are no help to a policy."""
    declines, task = Declines(), make_task(1)
    in_passes(declines, task, 0.0)
    declines.begin()
    assert in_passes(declines, task, 20.0, 29.0, DECLINES_S) == [None, None, 0.0]
    declines.begin()
    assert in_passes(declines, task, 61.0, 90.0, 91.0) == [None, None, 61.0]


def test_what_waits_is_counted() -> None:
    """What was placed, left the queue, or has no room now does not wait for the policy."""
    declines, tasks = Declines(), [make_task(number) for number in range(1, 6)]
    assert declines.waiting(0.0) == (0, 0.0)
    for at in (1.0, 2.0):
        declines.begin()
        for task in tasks:
            declines.note(task, at)
    declines.end(tasks[1])
    tasks[2].state = TaskState.CANCELLED
    assert declines.waiting(10.0) == (3, 9.0)
    for at in (20.0, 21.0):
        declines.begin()
        declines.note(tasks[0], at)
    assert declines.waiting(21.0) == (1, 20.0)
    declines.clear()
    assert not declines


def test_what_left_is_forgotten() -> None:
    """However many tasks come and are cancelled: only those that wait are kept."""
    declines = Declines()
    for number in range(3 * KEPT_MAX):
        task = make_task(number)
        declines.note(task, 0.0)
        task.state = TaskState.CANCELLED
    assert len(declines._declined) <= KEPT_MAX
