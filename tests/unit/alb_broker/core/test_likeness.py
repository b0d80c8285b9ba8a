"""Which tasks are alike, by each of the four questions."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import make_task, request

from alb_broker.core.likeness import (
    alike_in_failing,
    alike_in_progress,
    alike_in_work,
    alike_in_yielding,
    program_of,
)
from alb_core.spec import TaskSpec

ARRAY = "0" * 31 + "a"
PLAIN = TaskSpec(command="sim --seed 7")
OTHER = TaskSpec(command="sim --seed 8")
CALL = TaskSpec(command="f", kind="python", payload=b"1")
OTHER_CALL = msgspec.structs.replace(CALL, payload=b"2")
NOTE = msgspec.structs.replace(CALL, kind="notebook")


def test_the_array_comes_first() -> None:
    """Whatever its tasks do, to each question."""
    tasks = [make_task(0, id=f"{ARRAY}.{n}", spec=spec) for n, spec in enumerate((PLAIN, CALL), start=1)]
    assert len({alike_in_yielding(task) for task in tasks}) == 1
    assert len({alike_in_failing(task.array, "ann", task.spec) for task in tasks}) == 1
    assert len({alike_in_work(task.array, "ann", task.spec, request()) for task in tasks}) == 1
    assert len({alike_in_progress(task.id, "ann", task.spec) for task in tasks}) == 1


def test_a_program_has_many_commands() -> None:
    """It yields, and fails, as a program; what its run takes depends on the arguments."""
    one, two = (make_task(number, spec=spec) for number, spec in enumerate((PLAIN, OTHER)))
    assert alike_in_yielding(one) == alike_in_yielding(two) == "sim"
    words = TaskSpec(command=("sim", "8"))
    assert {alike_in_failing("", "ann", spec) for spec in (PLAIN, OTHER, words)} == {("ann", "sim")}
    assert alike_in_failing("", "ann", TaskSpec(command=" ")) == ("ann", "")
    assert alike_in_work("", "ann", PLAIN, request()) != alike_in_work("", "ann", OTHER, request())
    assert alike_in_progress("1" * 32, "ann", PLAIN) != alike_in_progress("2" * 32, "ann", OTHER)


def test_the_same_command_is_alike_for_one_user() -> None:
    """Others may mean something else by it."""
    assert alike_in_work("", "ann", PLAIN, request()) == alike_in_work("", "ann", PLAIN, request())
    assert alike_in_work("", "ann", PLAIN, request()) != alike_in_work("", "bob", PLAIN, request())
    assert alike_in_progress("1" * 32, "ann", PLAIN) == alike_in_progress("2" * 32, "ann", PLAIN)
    assert alike_in_progress("1" * 32, "ann", PLAIN) != alike_in_progress("1" * 32, "bob", PLAIN)


@pytest.mark.parametrize("other", [OTHER_CALL, NOTE])
def test_the_command_of_another_kind_is_only_a_title(other: TaskSpec) -> None:
    """Calls of one name are alike where they are of one kind and payload."""
    again = msgspec.structs.replace(CALL)
    assert alike_in_work("", "ann", CALL, request()) == alike_in_work("", "ann", again, request())
    assert alike_in_work("", "ann", CALL, request()) != alike_in_work("", "ann", other, request())
    assert alike_in_progress("1" * 32, "ann", CALL) != alike_in_progress("1" * 32, "ann", other)


def test_run_times_are_compared_where_tasks_had_the_same_to_run_with() -> None:
    """Processors; what is reserved of memory changes nothing."""
    assert alike_in_work("", "ann", PLAIN, request(1, 5)) == alike_in_work("", "ann", PLAIN, request(1))
    assert alike_in_work("", "ann", PLAIN, request(1)) != alike_in_work("", "ann", PLAIN, request(2))


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("while :; do :; done", "while"),
        (("/bin/sh", "-c", "while :; do :; done"), "while"),
        (("bash", "script", "x"), "bash"),
        (("python", "-c", "pass"), "python"),
        ("", ""),
        (("sh", "-c", ""), ""),
    ],
)
def test_a_shell_is_not_the_program(command: str | tuple[str, ...], program: str) -> None:
    """What it is to do is."""
    assert program_of(TaskSpec(command=command)) == program
