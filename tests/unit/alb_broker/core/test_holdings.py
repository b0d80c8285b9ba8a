"""What each worker runs and holds, as lists show it."""

from __future__ import annotations

import pytest
from tests.broker_parts import C1, Desks, attempt, register, submit, to_client, worker_node

from alb_broker.core import holdings
from alb_core.messages import AttemptExited, HeldLine, Holding, QueryWorkers, WorkersPage
from alb_core.resources import Request
from alb_core.spec import TaskSpec


def loaded() -> Desks:
    """Return a leader whose worker w1 runs task 1 and holds 2 ahead; w2 has nothing."""
    each = Desks()
    each.greet("ann")
    each.join()
    each.run(1)
    worker = each.state.workers.by_name["w1"]
    worker.allowance, worker.turned = 9, Request(cpus=1.0)
    each.state.workers.grew(worker)
    each.client(submit(2, TaskSpec(command="echo " + "x" * 200, name="long")))
    each.turn()
    each.join("w2", peer=b"worker-2")
    return each


def page(each: Desks, *names: str, tasks: bool = True) -> WorkersPage:
    """Ask for workers."""
    each.client(QueryWorkers(seq=7, names=names, tasks=tasks))
    (told,) = [m for m in to_client(C1, each.commit()) if isinstance(m, WorkersPage)]
    return told


def held(each: Desks) -> list[tuple[int, Holding, str]]:
    """Return what w1 holds: the task, how, and whose it is."""
    return [(int(line.id, 16), line.holding, line.user) for line in page(each, "w1").workers[0].tasks or ()]


def test_what_runs_stands_before_what_waits() -> None:
    """Each with what it reserves, and with the beginning of its command."""
    each = loaded()
    (first, second) = page(each).workers
    assert first.tasks is not None
    runs, waits = first.tasks
    assert (runs.holding, runs.cpus, runs.command) == (Holding.RUNS, 1.0, "/bin/true")
    assert (waits.holding, waits.name, len(waits.command)) == (Holding.AHEAD, "long", holdings.COMMAND_SHOWN)
    assert runs.placed == each.task(1).attempts[0].placed
    assert second.tasks == ()


def test_who_does_not_ask_is_told_nothing_of_tasks() -> None:
    """A list of workers stays short."""
    each = loaded()
    assert [line.tasks for line in page(each, tasks=False).workers] == [None, None]


def test_what_is_over_and_what_is_nobodys_is_shown_too() -> None:
    """Its output is not stored yet; it is told to end, and the table does not know it."""
    each = loaded()
    each.worker(AttemptExited(attempt=attempt(1)))
    each.worker(register("w1", attempt(1), attempt(2), attempt(9)))
    each.answer_reads(each.state.take_out(), {"w1": worker_node()})
    assert held(each) == [(2, Holding.RUNS, "ann"), (1, Holding.STORING, "ann"), (9, Holding.FOREIGN, "")]
    foreign = (page(each, "w1").workers[0].tasks or ())[-1]
    assert foreign == HeldLine(
        id=attempt(9).task, attempt=1, holding=Holding.FOREIGN, asked_back=False, ends=True
    )


def test_what_is_asked_back_says_so() -> None:
    """Until the worker has answered."""
    each = loaded()
    each.at(10.0).workers.revocations.end_turn()
    each.commit()
    assert [line.asked_back for line in page(each, "w1").workers[0].tasks or ()] == [False, True]


def test_what_gave_way_says_so() -> None:
    """Else it reserves nothing, and nobody sees why."""
    each = loaded()
    each.state.workers.by_name["w1"].burden.add(attempt(1), "ann", 1.0)
    assert [line.demoted for line in page(each, "w1").workers[0].tasks or ()] == [True, False]


def test_a_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left off is counted."""
    each = loaded()
    monkeypatch.setattr(holdings, "HELD_MAX", 1)
    told = page(each)
    assert ([len(line.tasks or ()) for line in told.workers], told.left_off) == ([1, 0], 1)
