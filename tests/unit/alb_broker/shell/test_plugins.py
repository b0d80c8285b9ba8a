"""The installed policies are found, and a broken installation says so."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from alb_broker.policies import least_loaded, summary, uniform, wishes
from alb_broker.shell import plugins
from alb_core import __version__
from alb_core.errors import ConfigError

NAMES = {
    *("best-fit", "fastest", "least-loaded", "power-of-two", "random", "round-robin", "spread", "uniform"),
    "weighted",
}


def test_the_policies_of_the_distribution_are_installed() -> None:
    """Under the names that `/config/policy` uses, each with a line for people, and where it came from."""
    found = plugins.find_policies()
    assert found.policies["least-loaded"] is least_loaded.choose
    assert found.policies["uniform"] is uniform.choose
    assert found.policies.keys() >= NAMES
    assert all(summary(found.policies[name]) for name in NAMES)
    assert {found.sources[name] for name in NAMES} == {f"alb {__version__}"}
    assert plugins.load_policies() == found.policies


def point(name: str, value: object) -> SimpleNamespace:
    """Return an entry point."""

    def load() -> object:
        if isinstance(value, Exception):
            raise value
        return value

    return SimpleNamespace(name=name, value="x:y", load=load)


@wishes(candidates=1000)
def greedy(*_: object) -> None:
    """Want too much."""


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("mine", ImportError("no module named x"), "cannot be loaded: ImportError.*no module named x"),
        ("mine", "choose", "cannot be called"),
        ("mine", greedy, "wants 1000 candidates, and gets 1 to 16"),
        ("not a name", least_loaded.choose, "name is not usable"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_left_out(
    name: str, value: object, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reason, and the others are there: somebody else's mistake keeps no broker from starting."""
    points = [point(name, value), point("least-loaded", least_loaded.choose)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else [])
    found = plugins.find_policies()
    assert set(found.policies) == {"least-loaded"}
    (note,) = found.notes
    assert re.search(part, note.fields["why"])


def test_without_the_default_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation is broken: that is said at the start, not at the first placement."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: [] if group == plugins.GROUP else None)
    with pytest.raises(ConfigError, match="least-loaded is not installed"):
        plugins.load_policies()
