"""The report as text."""

from __future__ import annotations

from tests.store_rows import finished

from alb.analysis import text
from alb.analysis.core.advice import advise
from alb.analysis.core.figures import Advice, Figures
from alb.analysis.core.workload import Workload


def test_the_day_as_text(figures: Figures, advice: list[Advice]) -> None:
    """Every section, in lines that a terminal can hold, the advice at the end."""
    lines = list(text.write(figures, advice, str))
    for title in (
        "ARRIVALS",
        "BY USER",
        "BY COMMAND",
        "ASKED FOR",
        "WORKERS",
        "FAILURES",
        "SLOWEST",
        "PLACEMENT",
    ):
        assert any(title in line for line in lines), title
    assert lines.index("ADVICE") == len(lines) - 2 * len(advice) - 1
    before = lines[: lines.index("ADVICE")]
    assert max(map(len, before)) < 180
    (bob,) = [line for line in lines if line.startswith("bob ") and "GiB" in line]
    assert bob.split()[2:4] == ["22", "%"]


def test_nothing_is_a_report_too() -> None:
    """With the sentence that there is too little."""
    figures = Workload().figures("an empty store")
    lines = list(text.write(figures, advise(figures, str), str))
    assert lines[0] == "0 tasks of an empty store"
    assert "too little data" in lines[-2]


def test_names_do_not_move_the_cursor() -> None:
    """A command is what somebody typed: escape sequences are shown as question marks, long ones are cut."""
    workload = Workload()
    workload.add(
        finished("a", command="evil \x1b[2J\r\n" + "x" * 500, user="\x1b]0;title\x07", worker="w\x9b1")
    )
    figures = workload.figures("a test")
    everything = "\n".join(text.write(figures, advise(figures, str), str))
    assert all(character.isprintable() or character == "\n" for character in everything)
    assert max(map(len, everything.splitlines())) < 300
