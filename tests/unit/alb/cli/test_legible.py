"""What is written for people: whatever somebody else put into it, it is text, and a row is one line."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from alb.cli import out
from alb.cli.legible import legible

HOSTILE = "printf \x1b[2J\n\ttrue \u202e\x9b1m\x7f"
#: A command that would clear the terminal of whoever lists it, and take two lines.


def test_what_is_not_text_is_not_shown() -> None:
    """Controls become question marks; the ends of lines stay where there may be several."""
    assert legible(HOSTILE) == "printf ?[2J  true ??1m?"
    assert legible(HOSTILE, lines=True) == "printf ?[2J\n\ttrue ??1m?"
    assert legible("grün \u2026 \U0001f600") == "grün \u2026 \U0001f600"


def test_a_row_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A script of several lines would break the table of everybody who looks."""
    out.emit_table(("ID", "COMMAND", "USER"), [("1", "a\nb", "ann"), ("2", HOSTILE, "bob")], empty="")
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == "1   a b                      ann"
    assert len(lines) == 3
    assert "\x1b" not in lines[2]


def test_a_terminal_gets_text_and_a_program_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Who reads a value from a pipe wants that value, and a name of a file as it is."""
    out.echo("a\x1b[31mb")
    out.say("a\x1b[31mb")
    assert capfd.readouterr() == ("a\x1b[31mb\n", "alb: a\x1b[31mb\n")
    assert shown_by_terminal(1, lambda: out.echo("a\x1b[31mb\nc")) == b"a?[31mb\r\nc\r\n"
    assert shown_by_terminal(2, lambda: out.say("a\x1b[31mb")) == b"alb: a?[31mb\r\n"


def shown_by_terminal(descriptor: int, write: Callable[[], None]) -> bytes:
    """Return what a terminal gets that stands in the place of one of our streams."""
    master, terminal = os.openpty()
    kept = os.dup(descriptor)
    try:
        os.dup2(terminal, descriptor)
        write()
    finally:
        os.dup2(kept, descriptor)
        for each in (kept, terminal):
            os.close(each)
    with os.fdopen(master, "rb") as seen:
        return seen.read1(1000)
