"""What ``docs/operations.md`` tells an operator to look for exists: events, counters, scripts, verbs."""

from __future__ import annotations

import re

import pytest
from tests.source_tree import ROOT, modules

from alb.cli.main import VERBS

PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCE = "\n".join(path.read_text() for path in modules().values())


def _watched() -> tuple[list[str], list[str]]:
    """Return the events and the counters of the tables of "What to watch"."""
    section = PAGE.partition("## What to watch\n")[2].partition("\n## ")[0]
    tables = [part for part in section.split("\n\n") if part.startswith("|")]
    events, counters = (re.findall(r"`([a-z_]+)`", "\n".join(_first_cells(table))) for table in tables)
    return events, counters


def _first_cells(table: str) -> list[str]:
    return [row.split("|")[1] for row in table.splitlines()]


def _shown() -> set[str]:
    """Return the events of the log lines that the page shows."""
    return set(re.findall(r'"event":"([a-z_]+)"', PAGE))


@pytest.mark.parametrize("event", sorted({*_watched()[0], *_shown()}))
def test_an_event_is_logged_by_somebody(event: str) -> None:
    """An event that nobody writes would be waited for in vain."""
    assert f'"{event}"' in SOURCE


@pytest.mark.parametrize("counter", sorted(_watched()[1]))
def test_a_counter_is_counted_by_somebody(counter: str) -> None:
    """So would a counter."""
    assert f'"{counter}"' in SOURCE


def test_the_page_names_scripts_and_verbs_that_are_there() -> None:
    """A command that an operator types at night must exist."""
    assert len(_watched()[0]) > 20
    for script in re.findall(r"deploy/([\w-]+\.sh)", PAGE):
        assert (ROOT / "deploy" / script).exists(), script
    for verb in re.findall(r"`alb ([a-z]+)\b", PAGE):
        assert verb in VERBS, verb
