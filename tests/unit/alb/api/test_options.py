"""What a task asks of a worker, as Python says it."""

from __future__ import annotations

from typing import Any

import pytest

from alb.api.options import make_spec
from alb_core.errors import InvalidTask
from alb_core.resources import Request, counts_of


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
    ],
)
def test_what_is_no_request_is_refused(options: dict[str, Any], says: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidTask, match=says):
        asked(**options)
