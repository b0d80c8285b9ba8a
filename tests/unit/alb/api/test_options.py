"""What a task asks of a worker, as Python says it."""

from __future__ import annotations

from typing import Any

import pytest

from alb.api.options import make_spec
from alb_core.errors import InvalidTask
from alb_core.resources import Request, counts_of
from alb_core.speeds import Strain
from alb_core.vectors import parse_vector


def asked(**options: Any) -> Request:
    """Return the request that options make."""
    return make_spec("x", options).request


def test_counts_and_gpus_are_one() -> None:
    """Whichever way GPUs are asked for; none of anything is the plain request."""
    assert asked(gpus=2, resources={"licence": 1}).counts == counts_of({"gpus": 2, "licence": 1})
    assert asked(resources={"gpus": 2}) == asked(gpus=2) == asked(gpus=2, resources={"gpus": 2})
    assert asked(gpus=0, resources={}) == asked() == Request()


def test_labels_have_an_older_name() -> None:
    """Both hold."""
    assert asked(require=["ssd"], labels=["gpu", "ssd"]).labels == ("ssd", "gpu")
    assert asked(prefer=["zone=a"], measured=True) == Request(prefers=("zone=a",), measured=True)


def test_what_it_strains_and_what_counts_are_words_or_values() -> None:
    """As the command line has them, or as the request does."""
    vector = parse_vector("time=0.7,resources=0.3")
    assert asked(work="float", optimize="time=0.7,resources=0.3") == asked(work=Strain.FLOAT, optimize=vector)
    assert asked(work=Strain.FLOAT, optimize=vector) == Request(strain=Strain.FLOAT, optimize=vector)
    assert asked(work=None, optimize=None) == Request()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gpus": 0.5}, "whole units"),
        ({"resources": {"licence": "2"}}, "whole units"),
        ({"resources": {"licence": 1.5}}, "whole units"),
        ({"resources": ["licence"]}, "mapping"),
        ({"gpus": 1, "resources": {"gpus": 2}}, "give one of them"),
        ({"require": "ssd"}, "list of labels"),
        ({"prefer": "ssd"}, "list of labels"),
        ({"work": "disk"}, "use one of integer, memory, float"),
        ({"optimize": "money"}, "nothing to optimise"),
        ({"optimize": 0.7}, "use a text like"),
        ({"require": 5}, "require is an int; give a list of labels"),
        ({"env": 5}, "env is a mapping of names to strings; this is an int"),
        ({"env": {"A": 1}}, "'A' has an int"),
        ({"cpus": "2"}, "cpus is '2'; give a number, not a str"),
        ({"time_limit": "5m"}, "time_limit is '5m'; give a number"),
        ({"cwd": 5}, "cwd is 5; give a string, not an int"),
        ({"files": 5}, "files is an int; give a list of paths"),
    ],
)
def test_what_is_no_request_is_refused(options: dict[str, Any], says: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidTask, match=says):
        asked(**options)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["echo", 3], "word 2 is an int"),
        (["echo", None], "word 2 is None"),
        (5, "this is an int"),
        (b"true", "this is a bytes"),
        ({"true": 1}, "this is a dict"),
    ],
)
def test_what_is_no_command_is_refused(command: Any, says: str) -> None:
    """In the words of who wrote it: which word, and what it is."""
    with pytest.raises(InvalidTask, match=f"a command is a string or a list of strings; {says}"):
        make_spec(command, {})
