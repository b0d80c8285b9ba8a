"""The installed policies are found, and a broken installation says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from alb_broker.policies import least_loaded, uniform
from alb_broker.shell import plugins
from alb_core.errors import ConfigError


def test_the_policies_of_the_distribution_are_installed() -> None:
    """Under the names that `/config/policy` uses."""
    found = plugins.load_policies()
    assert found["least-loaded"] is least_loaded.choose
    assert found["uniform"] is uniform.choose


def _broken() -> object:
    raise ImportError("no module named x")


@pytest.mark.parametrize(
    ("points", "part"),
    [
        ([], "least-loaded is not installed"),
        ([SimpleNamespace(name="mine", value="x:y", load=_broken)], "mine .* no module named x"),
    ],
)
def test_a_broken_installation_is_an_error_with_a_reason(
    points: list[object], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not at the first placement."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else None)
    with pytest.raises(ConfigError, match=part):
        plugins.load_policies()
