"""What ``docs/operations.md`` tells an operator to look for exists: events, counters, scripts, verbs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

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


def _alarming() -> set[str]:
    """Return the events that brokers and workers log as warnings or errors, wherever they do."""
    found: set[str] = set()
    for name, path in modules().items():
        if name.split(".")[0] in ("alb_core", "alb_broker", "alb_worker"):
            tree = ast.parse(path.read_text())
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.update(_alarms_of(function, tree))
    return found


def _alarms_of(function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> Iterator[str]:
    for call in _calls(function):
        called = _name(call.func)
        alarming = called in ("warning", "error", "critical", "exception")
        noted = called in ("Note", "note") and re.search(r"Level\.(WARNING|ERROR)", ast.unparse(call))
        if called == "log" and len(call.args) > 1:  # what a library says, with its own level
            yield from _texts(call.args[1])
        elif (alarming or noted) and call.args:
            yield from _texts(call.args[0]) or _meant(call.args[0], function, module)


def _meant(event: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> set[str]:
    """Return what a name may stand for: what is assigned to it, or handed in by those who call."""
    name = ast.unparse(event)
    places = [argument.arg for argument in function.args.args if argument.arg != "self"]
    meant: set[str] = set()
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and name in map(ast.unparse, each.targets):
            meant |= _texts(each.value)
    if name in places:
        for call in _calls(module):
            if _name(call.func) == function.name and len(call.args) > places.index(name):
                meant |= _texts(call.args[places.index(name)])
    assert meant, f"{function.name} logs {name}: which events can that be?"
    return meant


def _calls(within: ast.AST) -> Iterator[ast.Call]:
    return (each for each in ast.walk(within) if isinstance(each, ast.Call))


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)


def _texts(expression: ast.expr) -> set[str]:
    if isinstance(expression, ast.IfExp):
        return _texts(expression.body) | _texts(expression.orelse)
    constant = isinstance(expression, ast.Constant) and isinstance(expression.value, str)
    return {str(expression.value)} if constant and isinstance(expression, ast.Constant) else set()


@pytest.mark.parametrize("event", sorted(_alarming()))
def test_whatever_alarms_is_explained(event: str) -> None:
    """A line that makes an operator look the word up must find it: what it means, and what there is to do."""
    assert event in _watched()[0]


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
