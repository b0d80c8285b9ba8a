"""The installed kinds are found; one that cannot be used is left out, and the worker starts all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from alb_core.calls import PYTHON_LABEL
from alb_worker.kinds.interface import Attempt, Kind, Launch
from alb_worker.kinds.python import Python
from alb_worker.shell import plugins


class Mine(Kind):
    """A kind."""

    labels = ("mine=1",)

    def prepare(self, attempt: Attempt) -> Launch:
        """Do nothing."""
        return Launch(command=attempt.spec.command)


class Loud(Mine):
    """A kind with a label that is none."""

    labels = ("x" * 100,)


def point(name: str, load: Any) -> SimpleNamespace:
    """Return an entry point."""
    return SimpleNamespace(name=name, value="m:C", load=load)


def _broken() -> Any:
    raise ImportError("no module named x")


def test_the_kinds_of_the_distribution_are_installed() -> None:
    """The built-in ones and python; only the latter is a label that tasks ask for."""
    kinds, notes = plugins.load_kinds()
    assert isinstance(kinds["python"], Python)
    assert {"command", "binary"} <= set(kinds)
    assert [note.event for note in notes] == ["kinds_loaded"]
    assert plugins.labels_of({"command": kinds["command"], "python": kinds["python"], "a": Mine()}) == (
        *("kind=a", "mine=1"),
        *("kind=python", PYTHON_LABEL),
    )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (point("mine", _broken), "no module named x"),
        (point("mine", lambda: object), "is no alb_worker.kinds.interface.Kind"),
        (point("mine", lambda: Kind), "abstract"),
        (point("mine", lambda: Loud), "a label of it"),
        (point("command", lambda: Mine), "its name is taken"),
        (point("Mine!", lambda: Mine), "its name is taken, or none"),
    ],
)
def test_a_kind_that_cannot_be_used_is_left_out(
    found: SimpleNamespace, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning that names it; the others are there."""
    points = [found, point("good", lambda: Mine)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else None)
    kinds, notes = plugins.load_kinds()
    assert sorted(kinds) == ["binary", "command", "good"]
    assert (notes[0].event, notes[0].fields["kind"]) == ("kind_unusable", found.name)
    assert says in notes[0].fields["error"]
