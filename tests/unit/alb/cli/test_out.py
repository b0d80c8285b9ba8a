"""What is written for people: whatever somebody else put into it, it is text, and a row is one line."""

from __future__ import annotations

import os

import pytest

from alb.cli import out

HOSTILE = "printf \x1b[2J\n\ttrue \u202e\x9b1m\x7f"
#: A command that would clear the terminal of whoever lists it, and take two lines.


def test_what_is_not_text_is_not_shown() -> None:
    """Controls become question marks; the ends of lines stay where there may be several."""
    assert out.legible(HOSTILE) == "printf ?[2J  true ??1m?"
    assert out.legible(HOSTILE, lines=True) == "printf ?[2J\n\ttrue ??1m?"
    assert out.legible("grün \u2026 \U0001f600") == "grün \u2026 \U0001f600"


def test_a_row_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A script of several lines would break the table of everybody who looks."""
    out.emit_table(("ID", "COMMAND", "USER"), [("1", "a\nb", "ann"), ("2", HOSTILE, "bob")], empty="")
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == "1   a b                      ann"
    assert len(lines) == 3
    assert "\x1b" not in lines[2]


def test_the_person_is_told_text(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where it quotes a worker, or a policy."""
    out.say(HOSTILE)
    assert capfd.readouterr().err == "alb: printf ?[2J\n\ttrue ??1m?\n"


def test_a_terminal_gets_text_and_a_program_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Who reads a value from a pipe wants that value."""
    out.echo("a\x1b[31mb")
    assert capfd.readouterr().out == "a\x1b[31mb\n"
    master, terminal = os.openpty()
    kept = os.dup(1)
    try:
        os.dup2(terminal, 1)
        out.echo("a\x1b[31mb")
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, terminal):
            os.close(descriptor)
    with os.fdopen(master, "rb") as seen:
        assert seen.read1(100) == b"a?[31mb\r\n"
