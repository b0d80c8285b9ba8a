"""The lines that commands write, whatever they write; and what the next attempt is given of them."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb_core import limits
from alb_core.files import FileRef
from alb_core.increments import (
    CHECKPOINT_KEY,
    KEY_LENGTH_MAX,
    LINES_BYTES_MAX,
    LINES_MAX,
    STEP_KEY,
    VALUE_BYTES_MAX,
    Line,
    Resume,
    checkpoint_line,
    checkpoint_of,
    parse_line,
    resume_of,
    shown,
    size_bytes,
    step_of,
    wrong_checkpoint,
)
from alb_core.rows import Increment


def text(line: bytes) -> str:
    """Return the text as which a line was taken."""
    parsed = parse_line(line)
    assert parsed is not None
    assert parsed.key == ""
    return msgspec.json.decode(parsed.value, type=str)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        (b'{"key":"epoch","value":3}', "epoch", "3"),
        (b' {"value": {"a": [1, 2]}, "key": "k"}\r', "k", '{"a": [1, 2]}'),
        (b'{"value":null}', "", "null"),
        (b'{"key":"","value":"x"}', "", '"x"'),
        ('{"key":"Größe","value":"ä"}'.encode(), "Größe", '"ä"'),
        (b'{"key":"a\\u0000b","value":"\\u0000"}', "a\0b", '"\\u0000"'),
        (b"3", "", "3"),
        (b'"x"', "", '"x"'),
        (b"[1, 2]", "", "[1, 2]"),
        (b"done with it", "", '"done with it"'),
    ],
)
def test_a_line_is_an_increment(line: bytes, key: str, value: str) -> None:
    """With a key and a value as JSON; any other line is the value: as JSON where it is that, or a text."""
    assert parse_line(line) == Line(key, value)


@pytest.mark.parametrize(
    "line",
    [b'{"key":"k"}', b'{"value":1,"more":2}', b'{"key":3,"value":1}', b'{"key":null,"value":1}', b"{}"],
)
def test_an_object_of_another_form_is_a_value(line: bytes) -> None:
    """The whole of it, unknown fields and all: nothing is dropped."""
    assert parse_line(line) == Line("", line.decode())


@pytest.mark.parametrize("line", [b"", b" ", b"\r", b"\t \r"])
def test_a_blank_line_is_nothing(line: bytes) -> None:
    """A command may print empty lines."""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b'{"key":"\xff","value":1}',
        b'{"key":"k","value":"\xff"}',
        b'{"key":"\\ud800","value":1}',
        b'{"key":"k","value":"\\ud800"}',
        b'{"key":"k","value":NaN}',
        b'{"key":"k","value":1e999}',
        b'{"key":"k","value":1',
        b"\0\0",
        b"[" * 10_000,
        b"[" * 5_000 + b"]" * 5_000,
        b'{"value":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"9" * 5_000,
        b"-",
        b'{"key":"k","value":1}{"key":"k","value":2}',
    ],
)
def test_what_is_no_json_is_a_text(line: bytes) -> None:
    """Whatever bytes they are: what is kept is valid JSON, which every reader understands."""
    assert text(line) == line.decode(errors="replace")[: VALUE_BYTES_MAX // 6]


@pytest.mark.parametrize(
    "line",
    [
        b'{"key":"' + b"k" * (KEY_LENGTH_MAX + 1) + b'","value":1}',
        b'{"value":"' + b"v" * VALUE_BYTES_MAX + b'"}',
        b'"' + b"v" * VALUE_BYTES_MAX + b'"',
        b"\x01" * (VALUE_BYTES_MAX + 1),
        b"\xff" * (4 * VALUE_BYTES_MAX),
        b"x" * 10_000_000,
    ],
)
def test_what_is_too_long_is_kept_within_the_bounds(line: bytes) -> None:
    """As a text or a value without a key, cut where it must be."""
    parsed = parse_line(line)
    assert parsed is not None
    assert parsed.key == ""
    assert 0 < len(parsed.value.encode()) <= VALUE_BYTES_MAX
    json.loads(parsed.value)


def test_what_is_just_short_enough_is_kept_whole() -> None:
    """The longest key with the longest value."""
    key, value = "k" * KEY_LENGTH_MAX, json.dumps("v" * (VALUE_BYTES_MAX - 2))
    line = b'{"key":"%b","value":%b}' % (key.encode(), value.encode())
    assert parse_line(line) == Line(key, value)
    assert parse_line(value.encode()) == Line("", value)


@given(st.binary() | st.text().map(str.encode) | st.from_regex(rb'\{"key":".*","value":.*\}'))
def test_any_bytes_become_a_bounded_increment_or_none(line: bytes) -> None:
    """Nothing that a command writes makes the worker stumble."""
    parsed = parse_line(line)
    if parsed is not None:
        assert len(parsed.key) <= KEY_LENGTH_MAX
        assert len(parsed.value.encode()) <= VALUE_BYTES_MAX
        json.loads(parsed.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [('"a b"', "a b"), ('"a\\nb"', "a\nb"), ("3", "3"), ("[1, 2]", "[1, 2]"), ("null", "null"), ("{", "{")],
)
def test_values_are_shown_as_a_shell_wants_them(value: str, words: str) -> None:
    """Texts without quotes; whatever else there is as it is."""
    assert shown(value) == words


# --- what the next attempt is given -------------------------------------------------------------------------


def rows(*lines: Line) -> list[Increment]:
    """Return increments with rising numbers, the newest first."""
    made = [
        Increment(task="t", seq=seq, attempt=1, key=line.key, value=line.value, time=0.0)
        for seq, line in enumerate(lines, 1)
    ]
    return made[::-1]


def test_an_attempt_is_given_the_newest_of_each_key() -> None:
    """In the order of their numbers, so that the last is the newest of all."""
    found = rows(
        Line("a", "1"), Line("b", "1"), Line("", "0"), Line("a", "2"), Line("b", "2"), Line("a", "3")
    )
    assert resume_of(found) == Resume(seq=6, lines=(Line("", "0"), Line("b", "2"), Line("a", "3")))
    assert resume_of([]) == Resume()


def test_an_attempt_is_given_a_bounded_number_of_keys() -> None:
    """The newest ones."""
    given_ = resume_of(rows(*(Line(str(number), "1") for number in range(LINES_MAX + 5))))
    assert [line.key for line in given_.lines] == [str(number) for number in range(5, LINES_MAX + 5)]
    assert given_.seq == LINES_MAX + 5


def test_an_attempt_is_given_a_bounded_number_of_bytes() -> None:
    """The newest ones, without a gap, one at least; the number is that of the newest all the same."""
    long = [Line(str(number), "x" * VALUE_BYTES_MAX) for number in range(100)]
    given_ = resume_of(rows(*long))
    assert sum(map(size_bytes, given_.lines)) <= LINES_BYTES_MAX
    assert given_.lines == tuple(long[-len(given_.lines) :])
    assert len(given_.lines) == LINES_BYTES_MAX // size_bytes(long[50])
    assert given_.seq == 100
    one = Line("k", "x" * (LINES_BYTES_MAX + 1))
    assert resume_of(rows(one)).lines == (one,)


STATE = FileRef(name="state", sha256="0" * 64, size_bytes=1)


def test_no_command_can_report_a_checkpoint() -> None:
    """What claims to be one is a value."""
    line = b'{"key":"alb.checkpoint","value":[]}'
    parsed = parse_line(line)
    assert parsed == Line("", line.decode())


def test_a_checkpoint_comes_back_as_it_was() -> None:
    """Under its key; anything else is another increment."""
    line = checkpoint_line((STATE,))
    assert (line.key, checkpoint_of(line)) == (CHECKPOINT_KEY, (STATE,))
    assert checkpoint_of(checkpoint_line(())) == ()
    assert checkpoint_of(Line("state", line.value)) is None
    outside = FileRef(name="../state", sha256="0" * 64, size_bytes=1)
    for value in ("[", "3", '[{"name":"a"}]', checkpoint_line((outside,)).value):
        assert checkpoint_of(Line(CHECKPOINT_KEY, value)) is None


def test_the_files_of_a_checkpoint_fit_into_an_increment() -> None:
    """As many as there may be, with the longest names; more, or what is longer as JSON, is refused."""
    most = limits.CHECKPOINT_FILES_MAX
    files = tuple(
        FileRef(name=f"{number:x>255}", sha256="0" * 64, size_bytes=10**10, executable=True)
        for number in range(most)
    )
    assert wrong_checkpoint(files) is None
    assert len(checkpoint_line(files).value) <= VALUE_BYTES_MAX
    more = (*files, STATE)
    assert f"{most + 1} files match" in (wrong_checkpoint(more) or "")
    quotes = tuple(msgspec.structs.replace(file, name=file.name.replace("x", '"')) for file in files)
    assert "names of the files" in (wrong_checkpoint(quotes) or "")


def test_an_attempt_is_given_the_newest_checkpoint() -> None:
    """However many increments and keys came after it; and never as a line."""
    old = msgspec.structs.replace(STATE, size_bytes=2)
    lines = [checkpoint_line((old,)), checkpoint_line((STATE,))]
    lines += [Line(str(number), '"' + "v" * 5000 + '"') for number in range(LINES_MAX + 9)]
    rows = [
        Increment(task="t", seq=seq, attempt=1, key=line.key, value=line.value, time=0.0)
        for seq, line in enumerate(lines, 1)
    ]
    resume = resume_of(reversed(rows))
    assert (resume.seq, resume.files) == (len(rows), (STATE,))
    assert resume.lines[-1].key == str(LINES_MAX + 8)
    assert CHECKPOINT_KEY not in {line.key for line in resume.lines}
    assert resume_of(rows[:1]) == Resume(seq=1, files=(old,))


def test_the_newest_step_is_found_among_everything() -> None:
    """Whatever else was reported since, and however many keys there are; what is no step counts as none."""
    assert resume_of([]).step == 0
    assert resume_of(rows(Line(STEP_KEY, "3"), Line(STEP_KEY, "4"), Line("loss", "1"))).step == 4
    many = [Line(f"k{number}", "1") for number in range(LINES_MAX + 10)]
    assert resume_of(rows(Line(STEP_KEY, "7"), *many)).step == 7
    assert resume_of(rows(Line(STEP_KEY, "2"), Line(STEP_KEY, '"x"'))).step == 2


@pytest.mark.parametrize(
    "value", ['"4"', "null", "[]", "-3", "4.5", str(limits.STEPS_MAX + 1), "9" * 30, "9" * 4000, "1e30"]
)
def test_what_is_no_step_counts_as_none(value: str) -> None:
    """A command may report anything under this key; the shell could not count beyond its numbers."""
    assert step_of(Line(STEP_KEY, value)) == 0
    assert step_of(Line("other", "4")) == 0
