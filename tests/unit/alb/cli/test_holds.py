"""`alb hold`, `alb release`, and what `alb status` and `alb workers` say of who waits and who is shut."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.alb.cli.test_drains import line
from tests.unit.alb.cli.test_verbs import ZK
from tests.unit.alb.fake_broker import FakeBroker, record_with

from alb.cli.main import run
from alb.cli.statuses import FAILED_STATUS
from alb_core.messages import (
    Done,
    Error,
    HoldTasks,
    Message,
    QueryTask,
    QueryWorkers,
    ReleaseTasks,
    TaskPage,
    WorkersPage,
)
from alb_core.quarantines import Quarantine

ONE, TWO = f"{1:032x}", f"{2:032x}"


def answer(message: Message) -> Sequence[Message]:
    """Answer as a leader that holds what it is asked to, but for task 2."""
    match message:
        case HoldTasks(seq=seq, ids=ids) if TWO in ids:
            return [Error(code="invalid", why=f"task {TWO} runs already", seq=seq)]
        case HoldTasks(seq=seq) | ReleaseTasks(seq=seq):
            return [Done(seq=seq)]
        case QueryTask(seq=seq, id=task):
            return [TaskPage(seq=seq, task=record_with(task, None), why=f"it waits for afterok:{TWO}")]
        case QueryWorkers(seq=seq):
            shut = Quarantine(until=1.0, why="3 tasks (sim) failed at once on it")
            workers = (msgspec.structs.replace(line(0, drained=False), quarantine=shut),)
            return [WorkersPage(seq=seq, workers=workers)]
    return []


def test_hold_and_release_tell_what_they_did(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """One request each, for all tasks; a line for each of them."""
    broker.answer = answer
    assert run(["hold", *ZK, ONE, ONE]) == 0
    assert run(["release", *ZK, ONE, TWO, "--json"]) == 0
    said, _, told = capfd.readouterr().out.partition("\n")
    assert said == f"{ONE} held"
    assert json.loads(told) == [{"id": ONE}, {"id": TWO}]
    assert [each.ids for each in broker.received if isinstance(each, HoldTasks)] == [(ONE,)]


def test_what_cannot_be_held_is_said(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """The leader's sentence, and the status of wrong usage."""
    broker.answer = answer
    assert run(["hold", *ZK, TWO]) == FAILED_STATUS
    assert f"task {TWO} runs already" in capfd.readouterr().err


def test_status_and_workers_tell_what_is_waited_for(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """What keeps a task, and why a worker is given nothing."""
    broker.answer = answer
    assert run(["status", *ZK, ONE]) == 0
    assert f"waits     it waits for afterok:{TWO}\n" in capfd.readouterr().out
    assert run(["workers", *ZK]) == 0
    said = capfd.readouterr()
    assert "quarantine" in said.out
    assert "3 tasks (sim) failed at once on it" in said.err
