"""Arrays as values: their indexes, what an index and an input make of a command, and what they may be."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.array_parts import array_spec, record

from alb_core import limits
from alb_core.arrays import (
    Counts,
    Stride,
    check_array,
    check_input,
    child_bytes_max,
    child_id,
    child_spec,
    command_for,
    index_at,
    indexes,
    parse_indexes,
    position_of,
    state_of,
    total_of,
)
from alb_core.codec import encode_spec
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

STRIDES = st.lists(
    st.builds(lambda first, count, step: Stride(first, first + (count - 1) * step, step),
              st.integers(0, 300), st.integers(1, 30), st.integers(1, 7)),
    min_size=1, max_size=5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "strides", "at_once"),
    [
        ("7", (Stride(7, 7),), 0),
        ("1-10", (Stride(1, 10),), 0),
        ("1-10:3", (Stride(1, 10, 3),), 0),
        ("1-100000:2%50", (Stride(1, 99_999, 2),), 50),
        ("1, 5 ,8-10", (Stride(1, 1), Stride(5, 5), Stride(8, 10)), 0),
    ],
)
def test_indexes_are_read_as_people_write_them(text: str, strides: Any, at_once: int) -> None:
    """A range ends at its last index, whatever was written."""
    assert parse_indexes(text) == (strides, at_once)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-5:0", "1-5%", "1-5%0", "1-5%x", "1,,2", "-3"])
def test_what_is_no_index_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_indexes(text)


@given(STRIDES)
def test_positions_and_indexes_are_each_others_inverse(strides: list[Stride]) -> None:
    """And nothing is at a position beyond the last."""
    whole = tuple(strides)
    listed = list(indexes(whole))
    assert total_of(whole) == len(listed)
    assert [index_at(whole, position) for position in range(len(listed))] == listed
    for index in listed:
        found = position_of(whole, index)
        assert found == listed.index(index)
    with pytest.raises(IndexError):
        index_at(whole, len(listed))


@given(STRIDES)
def test_an_array_names_each_index_once(strides: list[Stride]) -> None:
    """However its ranges are laid into each other."""
    listed = list(indexes(strides))
    why = check_array(array_spec(*strides), 100)
    assert (why is not None) is (len(set(listed)) < len(listed)), why


def test_without_ranges_indexes_count_from_one() -> None:
    """As many as there are inputs."""
    assert [index_at((), position) for position in range(3)] == [1, 2, 3]
    assert (position_of((), 1), position_of((), 0)) == (0, None)


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (("echo",), "a b", ("echo", "a b")),
        (("echo", "{}", "x{}y"), "a", ("echo", "a", "xay")),
        (("echo", "{#}"), "a", ("echo", "7", "a")),
        (("echo", "{#}", "{}"), None, ("echo", "7", "{}")),
        ("echo", "it's", "echo 'it'\"'\"'s'"),
        ("echo {} > {#}", "a b", "echo 'a b' > 7"),
        ("echo {#}", None, "echo 7"),
        (("echo", "{}"), "{#}", ("echo", "{#}")),
        ("echo {}", "{}", "echo '{}'"),
    ],
)
def test_an_index_and_an_input_make_a_command(command: Any, text: str | None, expected: Any) -> None:
    """What is filled in is not looked at again, and a shell gets it quoted."""
    assert command_for(command, 7, text) == expected


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30))
def test_a_shell_sees_the_input_as_it_is(text: str) -> None:
    """Whatever characters it has."""
    command = command_for("printf %s {}", 1, text)
    assert isinstance(command, str)
    assert shlex.split(command)[2] == text


def test_a_real_shell_agrees() -> None:
    """With quotes, dollars and newlines."""
    text = "a'b\"$HOME`id`\n{#}\\"
    command = command_for("printf %s", 1, text)
    assert isinstance(command, str)
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout == text.encode()


def test_tasks_share_a_specification_where_nothing_is_filled_in() -> None:
    """And have their input in the environment where there is one."""
    spec = TaskSpec(command=("/bin/true",), env={"A": "1"})
    assert child_spec(spec, 3, None) is spec
    assert child_spec(spec, 3, "x").env == {"A": "1", "ALB_INPUT": "x"}


@given(st.text(max_size=40).filter(lambda text: "\0" not in text), st.booleans())
def test_a_tasks_specification_is_no_larger_than_is_reckoned(text: str, as_words: bool) -> None:  # noqa: FBT001
    """So that no array is accepted whose tasks cannot be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    spec = TaskSpec(command=("echo", "{}-{}", "{#}") if as_words else "echo {} {} {#}")
    most = child_bytes_max(spec, len(encode_spec(spec)), text)
    assert len(encode_spec(child_spec(spec, 999_999_999, text))) <= most


@pytest.mark.parametrize(
    ("text", "word"),
    [("x" * (limits.ARRAY_INPUT_BYTES_MAX + 1), "longer"), ("a\0b", "NUL"), ("x" * 16_000, "fewer places")],
)
def test_an_input_that_cannot_be_is_refused(text: str, word: str) -> None:
    """With what to do about it."""
    spec = TaskSpec(command=("echo", *["{}"] * 5))
    why = check_input(spec, 100, text)
    assert why is not None
    assert word in why


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (array_spec(*[Stride(n, n) for n in range(limits.ARRAY_STRIDES_MAX + 1)]), "ranges"),
        (array_spec(Stride(5, 1)), "empty"),
        (array_spec(Stride(0, limits.ARRAY_TASKS_MAX)), "tasks, more than"),
        (array_spec(Stride(1, 5), at_once=-1), "negative"),
        (array_spec(Stride(1, 5), max_fails=-1), "negative"),
        (array_spec(Stride(1, 5), task=TaskSpec(command=())), "command is empty"),
    ],
)
def test_an_array_that_cannot_be_is_refused(spec: Any, word: str) -> None:
    """With a sentence."""
    why = check_array(spec, 100)
    assert why is not None
    assert word in why


@pytest.mark.parametrize(
    ("fields", "running", "state"),
    [
        ({}, 0, TaskState.QUEUED),
        ({}, 2, TaskState.RUNNING),
        ({"held_by": "ann"}, 2, TaskState.HELD),
        ({"counts": Counts(succeeded=1)}, 0, TaskState.RUNNING),
        ({"finished": 1.0, "counts": Counts(succeeded=5)}, 0, TaskState.SUCCEEDED),
        ({"finished": 1.0, "counts": Counts(succeeded=4, failed=1)}, 0, TaskState.FAILED),
        ({"finished": 1.0, "counts": Counts(failed=3, cancelled=2), "cancel": True}, 0, TaskState.FAILED),
        ({"finished": 1.0, "counts": Counts(failed=1, cancelled=4), "cancel": True}, 0, TaskState.CANCELLED),
        ({"finished": 1.0, "counts": Counts(succeeded=4, cancelled=1)}, 0, TaskState.CANCELLED),
        ({"finished": 1.0, "counts": Counts(succeeded=5), "why": "its client left"}, 0, TaskState.FAILED),
    ],
)
def test_an_array_stands_where_its_tasks_are(fields: Any, running: int, state: TaskState) -> None:
    """Too many failures count more than the cancellation that they led to."""
    assert state_of(record(array_spec(Stride(1, 5), max_fails=2), **fields), running) is state


def test_a_task_of_an_array_is_named_after_its_index() -> None:
    """So everybody knows whose it is."""
    assert child_id("a" * 32, 17) == "a" * 32 + ".17"
