"""``docs/tour.md`` does what it says: every command is typed, in order; the last ones by ``test_stop``."""

from __future__ import annotations

import pytest
from tests.compose.console import STOP, TOUR, Block, Step, matches, perform, read_blocks
from tests.source_tree import ROOT


def test_blocks_of_a_page_are_found() -> None:
    """Commands, their further lines, what they show and the second terminal are told apart."""
    page = "```console\n$ a \\\n> b\nshown\n$ c\n```\n```python\n$ d\n```\n```console second\n$ e\n```\n"
    assert read_blocks(page) == [
        Block(second=False, steps=[Step("a \\\nb", ["shown"]), Step("c")]),
        Block(second=True, steps=[Step("e")]),
    ]


@pytest.mark.parametrize(
    ("shows", "output", "matching"),
    [
        (["line 1", "...", "line 9"], "line 1\nx\ny\nline 9\n", True),
        (["line 1", "...", "line 9"], "line 1\nline 9\n", True),
        (["b... lost (1)"], "b2 lost (1)\n", True),
        (["line 1"], "line 1\nline 2\n", False),
        (["x", "alb: y"], "alb: y\nx\n", True),
        (["x"], "alb: y\nx\n", False),
        (["...", "x"], "alb: y\nx\n", True),
        (["..."], "", True),
        ([], "chatter\n", False),
        ([], "alb: looking for the leader\n", True),
    ],
)
def test_output_is_compared_loosely(shows: list[str], output: str, *, matching: bool) -> None:
    """Dots stand for anything; everything else must be there, and nothing more."""
    assert matches(shows, output) is matching


@pytest.mark.usefixtures("stack")
def test_tour() -> None:
    """A newcomer who types what the tour says, from its start to before its end, sees what it shows."""
    perform(read_blocks(TOUR.read_text().partition(STOP)[0]), ROOT)
