"""Choices of a policy: in words, in JSON, and what is wrong with them."""

from __future__ import annotations

import msgspec
import pytest

from alb_core.choices import Choice, PolicyNode, check_choice, check_try


def test_a_choice_reads_as_people_write_it() -> None:
    """Name first, then its parameters."""
    assert Choice().words() == "least-loaded"
    assert Choice(policy="w", parameters={"a": 0.5, "b": "x", "c": 2.0}).words() == "w a=0.5 b=x c=2"


def test_a_node_always_names_its_policy() -> None:
    """The default, too; what says nothing is left out, and nothing misspelt is overlooked."""
    assert msgspec.json.encode(PolicyNode()) == b'{"policy":"least-loaded"}'
    node = PolicyNode(policy="x", by="ann", since=1.0, former=Choice(), until=2.0)
    assert msgspec.json.decode(msgspec.json.encode(node), type=PolicyNode) == node
    assert node.plain() == Choice(policy="x")
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"policy": "x", "untill": 2}', type=PolicyNode)


@pytest.mark.parametrize(
    ("choice", "part"),
    [
        (Choice(policy=""), "no name of a policy"),
        (Choice(parameters={f"p{n}": 1.0 for n in range(17)}), "17 parameters"),
        (Choice(parameters={"a b": 1.0}), "no name of a parameter"),
        (Choice(parameters={"a": "x" * 201}), "longer than 200"),
        (Choice(parameters={"a": "x\n"}), "not printable"),
        (Choice(parameters={"a": float("nan")}), "no number"),
    ],
)
def test_what_no_policy_could_take_is_found(choice: Choice, part: str) -> None:
    """Before any policy is asked."""
    assert part in (check_choice(choice) or "")
    assert check_choice(Choice(parameters={"a": 1.0, "b": "x"})) is None


def test_a_try_has_an_end() -> None:
    """Within a week."""
    assert check_try(0.0) is None
    assert check_try(600.0) is None
    for seconds in (-1.0, 8 * 86_400.0, float("nan")):
        assert "a week at most" in (check_try(seconds) or "")
