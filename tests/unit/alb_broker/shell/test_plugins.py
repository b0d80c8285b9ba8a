"""The installed policies are found, and a broken installation says so."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from alb_broker.policies import Context, check_parameters, least_loaded, summary, uniform, wishes
from alb_broker.shell import plugins
from alb_core import __version__
from alb_core.draws import Draws
from alb_core.errors import ConfigError
from alb_core.spec import TaskSpec

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
        if isinstance(value, BaseException):
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
        ("mine", SystemExit("no licence"), "cannot be loaded: SystemExit.*no licence"),
        ("least-loaded", uniform.choose, "name is taken"),
        ("mine", "choose", "cannot be called"),
        ("mine", greedy, "wants 1000 candidates, and gets 1 to 16"),
        ("not a name", least_loaded.choose, "name is not usable"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_left_out(
    name: str, value: object, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reason, and the others are there: somebody else's mistake keeps no broker from starting."""
    own = point("least-loaded", least_loaded.choose)
    own.dist = SimpleNamespace(name="alb", version="1")
    points = [point(name, value), own]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else [])
    found = plugins.find_policies()
    assert found.policies == {"least-loaded": least_loaded.choose}
    (note,) = found.notes
    assert re.search(part, note.fields["why"])


class Mute(Exception):
    """An exception that fails once more when it is told."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(3), "^SystemExit: 3$"),
        (GeneratorExit(), "^GeneratorExit$"),
        (Mute(), r"^Mute: \(it cannot say itself\)$"),
    ],
)
def test_a_policy_of_others_cannot_end_the_broker(
    raised: BaseException, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would end the process, or fails when it is told, is an ordinary failure; of its check, too."""

    def leave(*_: object) -> None:
        """Leave."""
        raise raised

    mine = wishes(parameters={"n": 1.0}, check=leave)(leave)
    points = [point("mine", mine), point("least-loaded", least_loaded.choose)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else [])
    policy = plugins.load_policies()["mine"]
    with pytest.raises(plugins.PolicyBroke, match=told):
        policy(TaskSpec(command="x"), [], Context(0.0, Draws(1)))
    refused = check_parameters(policy, {"n": 2.0})
    assert refused is not None
    assert "PolicyBroke" in refused
    assert summary(policy) == "Leave."


def test_without_the_default_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation is broken: that is said at the start, not at the first placement."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: [] if group == plugins.GROUP else None)
    with pytest.raises(ConfigError, match="least-loaded is not installed"):
        plugins.load_policies()
