"""What is written, and what happens where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.unit.alb.remembering_broker import RememberingBroker

from alb.cli import out
from alb.cli.main import run
from alb_core.messages import Submit, SubmitArray

ZK = ("--zk", "zk:2181", "--user", "u")


@contextmanager
def standard_output(path: str) -> Iterator[None]:
    """Have standard output be this file, for the time of a block."""
    saved, other = os.dup(1), os.open(path, os.O_WRONLY)
    os.dup2(other, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(other)


def test_a_name_that_is_no_text_comes_out_as_it_came_in(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Files have such names; half of a character, which none has, does no harm."""
    name = os.fsdecode(b"a\xffb")
    out.say(f"wrote {name}")
    out.echo(name)
    out.say("\ud800")
    assert capfdbinary.readouterr() == (b"a\xffb\n", b"alb: wrote a\xffb\nalb: ?\n")


def test_what_has_no_room_is_named() -> None:
    """The reason, and that it is the output, not a file of the task."""
    with standard_output("/dev/full"), pytest.raises(OSError, match="No space left") as caught:
        out.echo("x")
    assert caught.value.filename == "standard output"


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(("kind", "what"), [("task", ["true"]), ("array", ["--array", "1-2", "true"])])
def test_an_id_that_cannot_be_written_is_said(
    kind: str,
    what: list[str],
    form: list[str],
    rememberer: RememberingBroker,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It was accepted and goes on: nobody would know which one it is."""
    with standard_output("/dev/full"):
        assert run(["submit", *ZK, *form, "--detach", *what]) == 125
    (submitted,) = {each.id for each in rememberer.received if isinstance(each, Submit | SubmitArray)}
    assert capfd.readouterr().err.splitlines() == [
        f"alb: {kind} {submitted} was accepted, and goes on",
        "alb: No space left on device: standard output",
    ]
