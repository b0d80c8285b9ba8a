"""Who is looked at when something happens."""

from __future__ import annotations

from tests.broker_parts import make_task, task_id

from alb_broker.core.holds import Holds
from alb_broker.core.task import Task
from alb_core.spec import After, Dependency, Start, TaskSpec
from alb_core.tasks import TaskState


def named(number: int, submitted: float = 0.0, *, singleton: bool = True) -> Task:
    """Return a held task of a name."""
    spec = TaskSpec(command="x", name="nightly", start=Start(singleton=singleton))
    return make_task(number, spec=spec, state=TaskState.HELD, submitted=submitted or float(number))


def waiting(number: int, *others: int) -> Task:
    """Return a held task that waits for others."""
    dependencies = tuple(Dependency(After.SUCCEEDED, task_id(other)) for other in others)
    spec = TaskSpec(command="x", start=Start(dependencies=dependencies))
    return make_task(number, spec=spec, state=TaskState.HELD)


def woken(holds: Holds) -> list[str]:
    """Return who is to be looked at, once."""
    names = list(holds.woken)
    holds.woken.clear()
    return names


def test_who_waits_is_looked_at_when_the_other_moves() -> None:
    """Only those that wait for it, and not once they are not held any more."""
    holds = Holds()
    two, three = waiting(2, 1), waiting(3, 1, 2)
    holds.watch(two)
    holds.watch(three)
    assert woken(holds) == [task_id(2), task_id(3)]
    holds.moved(task_id(1))
    assert woken(holds) == [task_id(2), task_id(3)]
    holds.settle(task_id(3), task_id(1))
    holds.moved(task_id(1))
    assert woken(holds) == [task_id(2)]
    holds.forget(two)
    holds.ended(two.id)
    assert woken(holds) == [task_id(3)]
    assert not holds.is_awaited(task_id(1))


def test_the_next_of_its_name_is_looked_at_when_the_first_is_gone() -> None:
    """Singletons go one after the other, in the order in which they came."""
    holds = Holds()
    tasks = [named(number) for number in (1, 2, 3)]
    for task in tasks:
        holds.know(task)
        holds.watch(task)
    woken(holds)
    assert [holds.earlier(task.id, "ann", "nightly") for task in tasks] == ["", task_id(1), task_id(1)]
    holds.forget(tasks[1])
    holds.ended(task_id(2))
    assert woken(holds) == []
    holds.forget(tasks[0])
    assert woken(holds) == []
    holds.ended(task_id(1))
    assert woken(holds) == [task_id(3)]
    assert holds.earlier(task_id(3), "ann", "nightly") == ""
    holds.ended(task_id(3))
    assert holds._named == holds._names == {}


def test_no_two_tasks_of_a_name_are_submitted_at_once() -> None:
    """Whoever leads next has the same order: the table says which came first."""
    holds = Holds()
    assert holds.moment("ann", "nightly", 5.0) == 5.0
    holds.know(named(1, 5.0))
    assert holds.moment("ann", "nightly", 5.0) == 5.000001
    assert holds.moment("bob", "nightly", 5.0) == 5.0
    assert holds.moment("ann", "nightly", 6.0) == 6.0


def test_a_repaired_task_takes_its_place() -> None:
    """One that comes late, but was submitted early, is before the others."""
    holds = Holds()
    holds.know(named(2))
    holds.know(named(1))
    assert holds.earlier(task_id(2), "ann", "nightly") == task_id(1)
