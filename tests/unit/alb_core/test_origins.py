"""Errors in settings: where it stood, what it was, what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from alb_core.config import BrokerConfig, WorkerConfig, load
from alb_core.errors import ConfigError

FILE = """\
zk = "zk:1"
# stuck_s = 1
name = "b1"
"""


def told(more: str = "", environ: dict[str, str] | None = None, **flags: Any) -> str:
    """Return what is said of a broker's settings that cannot be."""
    with pytest.raises(ConfigError) as raised:
        load(BrokerConfig, file=FILE + more, environ=environ or {}, flags=flags, path="/etc/alb/broker.toml")
    return str(raised.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("stuck = 5", "line 4: there is no setting 'stuck'; did you mean stuck_s? There are: zk, name,"),
        ("nonsense = 5", "line 4: there is no setting 'nonsense'; There are: zk, name,"),
        ("\n  [broker]\nbind = 'x'", "line 5: there is no section [broker]; settings stand in the file"),
        ("broker.bind = 'x'", "line 4: there is no section [broker]"),
        ("stuck_s = 'abc'", "line 4: stuck_s cannot be 'abc': it is a number of seconds"),
        ("'stuck_s' = 'abc'", "line 4: stuck_s cannot be 'abc'"),
        ("store_bytes = 'x'", "line 4: store_bytes cannot be 'x': it is a whole number of bytes"),
        ("ports = [1, 2, 'x', 4]", "line 4: ports cannot be [1, 2, 'x', 4]: each of it is a whole number"),
        ("bind = 5", "line 4: bind cannot be 5: it is a text"),
        ("bind =", " is not TOML: Invalid value (at "),
    ],
)
def test_a_mistake_in_the_file_is_found(more: str, says: str) -> None:
    """The file, the line, and what to write there."""
    text = told(more)
    assert text.startswith("/etc/alb/broker.toml")
    assert says in text


def test_the_place_is_that_of_the_value_that_counts() -> None:
    """Of several sources the last one is to be corrected."""
    environ = {"ALB_STUCK_S": "soon"}
    said = told("stuck_s = 'abc'", environ)
    assert said.startswith("ALB_STUCK_S in the environment: stuck_s cannot be 'soon'")
    assert told("stuck_s = 'abc'", environ, stuck_s="x").startswith("--stuck-s: stuck_s cannot be 'x'")


def test_what_is_missing_can_be_given_in_three_ways() -> None:
    """All are named."""
    with pytest.raises(ConfigError, match="give --name, ALB_NAME in the environment, or name = "):
        load(WorkerConfig, file=None, environ={"ALB_ZK": "zk:1"}, flags={})
