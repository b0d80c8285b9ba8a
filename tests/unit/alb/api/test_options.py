"""What a task asks of a worker, as Python says it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alb.api.options import make_spec, specified
from alb_core import codec
from alb_core.errors import InvalidTask
from alb_core.resources import Request, counts_of
from alb_core.spec import TaskSpec
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


def test_who_asks_for_the_same_again_is_given_the_same() -> None:
    """The specification is made and checked once; it travels as one made anew would."""
    for command, options in (("true", {}), (["/bin/true", "x"], {"cpus": 2.0, "name": "n", "hold": False})):
        spec, wire = specified(command, options)
        assert specified(command, dict(options))[0] is spec
        assert wire == codec.encode_spec(make_spec(command, options))


def test_what_only_looks_the_same_is_not_given_the_same() -> None:
    """A text is no vector, True is no number, and what can change is looked at each time."""
    assert specified("x", {})[0].command == "x"
    assert specified(["x"], {})[0].command == ("x",)
    assert specified("x", {"priority": 1})[0].priority == 1
    assert specified("x", {"priority": True})[1] == codec.encode_spec(make_spec("x", {"priority": True}))
    env = {"A": "1"}
    assert specified("x", {"env": env})[0].env == {"A": "1"}
    env["A"] = "2"
    assert specified("x", {"env": env})[0].env == {"A": "2"}


def test_what_cannot_be_is_said_each_time() -> None:
    """A refusal is not kept, nor given for anything else."""
    for _ in range(2):
        with pytest.raises(InvalidTask, match="cpus"):
            specified("x", {"cpus": 0.0})
        with pytest.raises(InvalidTask, match="no option"):
            specified("x", {"command": "y"})
    assert specified("x", {"cpus": 1.0})[0].command == "x"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cpus": 1.0, "grace": 5.0, "priority": 0, "retries": 0, "begin": None, "after": (), "env": {}},
        {"on_lost": "rerun", "require": [], "resources": {}, "retry_memory": None, "kind": "command"},
    ],
)
def test_what_is_at_its_default_does_not_travel(options: dict[str, Any]) -> None:
    """Whether or not it was said; so nobody keeps it, and what is decoded has the defaults themselves."""
    spec = make_spec(["a", "b"], options)
    wire = codec.encode_spec(spec)
    assert wire == codec.encode_spec(TaskSpec(command=("a", "b")))
    decoded, wrong = codec.read_spec(wire)
    assert wrong is None
    assert decoded == spec
    assert decoded.start is TaskSpec(command="").start
    assert decoded.retry is TaskSpec(command="").retry


def test_of_what_is_said_only_that_travels() -> None:
    """The rest of a reservation, or of what it waits for, is at its default too."""
    wire = codec.encode_spec(make_spec("x", {"memory": 7, "singleton": True, "name": "n", "retries": 2}))
    assert msgspec.msgpack.decode(wire) == {
        "command": "x",
        "request": {"memory_bytes": 7},
        "start": {"singleton": True},
        "name": "n",
        "retry": {"times": 2},
    }
