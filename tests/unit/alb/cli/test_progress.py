"""How far an array is: a bar on a terminal, a sentence now and then elsewhere."""

from __future__ import annotations

import pytest

from alb.cli.progress import CLEAR, Progress, state_words
from alb_core.arrays import ArrayLine, Counts
from alb_core.tasks import TaskState


def line_of(succeeded: int, failed: int = 0, **fields: int | bool | str) -> ArrayLine:
    """Return how an array of a hundred is."""
    counts = Counts(succeeded=succeeded, failed=failed)
    known = {"total": 100, "counts": counts} | fields
    return ArrayLine(id="a" * 32, user="u", state=TaskState.RUNNING, **known)  # type: ignore[arg-type]


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_sentence_every_few_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    """With rate and estimate from the second one on; not again where nothing has changed."""
    clock = Clock()
    progress = Progress(wanted=True, terminal=False, now=clock)
    progress.update(line_of(0))
    clock.now = 4.9
    progress.update(line_of(9))
    assert capfd.readouterr().err == ""
    clock.now = 5.0
    progress.update(line_of(9, 1, running=4))
    assert capfd.readouterr().err == "alb: 10 of 100 ended, 1 failed, 4 running, 2/s, about 45 s left\n"
    clock.now = 30.0
    progress.update(line_of(9, 1, running=3))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_who_waits_for_nothing_hears_it(capfd: pytest.CaptureFixture[str], *, terminal: bool) -> None:
    """Once a reason, when that has lasted for a moment; not while something runs."""
    clock, why = Clock(), "no worker has the label ssd"
    progress = Progress(wanted=True, terminal=terminal, now=clock)
    told = f"alb: none of its tasks runs: {why}\n"
    for now, line, times in (
        (0.4, line_of(0, why=why), 0),
        (3.0, line_of(0, why=why, running=1), 0),
        (3.1, line_of(0, why=why), 1),
        (3.2, line_of(0, why=why), 0),
        (3.3, line_of(0), 0),
    ):
        clock.now = now
        progress.update(line)
        assert capfd.readouterr().err.count(told) == times, now


def test_a_bar_is_one_line_that_makes_way(capfd: pytest.CaptureFixture[str]) -> None:
    """It is cleared before anything else is written, and at the end; a short array has none."""
    clock = Clock()
    progress = Progress(wanted=True, terminal=True, now=clock)
    progress.update(line_of(1))
    assert capfd.readouterr().err == ""
    clock.now = 1.0
    progress.update(line_of(50, 2, running=3))
    drawn = capfd.readouterr().err
    assert "52/100" in drawn
    assert "3 running 2 failed" in drawn
    assert "\n" not in drawn
    progress.say("hello")
    assert capfd.readouterr().err == f"{CLEAR.decode()}alb: hello\n"
    clock.now = 2.0
    progress.update(line_of(60))
    capfd.readouterr()
    progress.write(1, b"output\n")
    told = capfd.readouterr()
    assert (told.out, told.err) == ("output\n", CLEAR.decode())
    progress.close()
    assert capfd.readouterr().err == ""


def test_nothing_is_told_where_nobody_wants_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Nor before anything was heard."""
    clock = Clock()
    clock.now = 100.0
    Progress(wanted=False, terminal=False, now=clock).update(line_of(9))
    Progress(wanted=True, terminal=False, now=clock).update(None)
    assert capfd.readouterr().err == ""


def test_an_array_whose_inputs_still_come_says_so() -> None:
    """Its total is not known yet."""
    assert state_words(line_of(1, whole=False)) == "1 of 100 so far ended"
