"""Which tasks may be copied, and which bounds of copies make sense."""

from __future__ import annotations

import pytest

from alb_core import znodes
from alb_core.copies import COPIES, CopiesNode, check_copies, may_run_twice
from alb_core.spec import OnLost, TaskSpec, check_spec
from alb_core.works import work_of

EVERYBODY = CopiesNode(unasked=True)


@pytest.mark.parametrize(
    ("fields", "asked", "unasked"),
    [
        ({}, False, True),
        ({"speculative": True}, True, True),
        ({"speculative": False}, False, False),
        ({"on_lost": OnLost.FAIL}, False, False),
        ({"checkpoints": ("model",)}, False, False),
    ],
)
def test_who_may_run_twice(fields: dict[str, object], *, asked: bool, unasked: bool) -> None:
    """Who says so, or, by the cluster's default, who says nothing; never what must not run again."""
    spec = TaskSpec(command="x", **fields)  # type: ignore[arg-type]
    assert (may_run_twice(spec, COPIES), may_run_twice(spec, EVERYBODY)) == (asked, unasked)


@pytest.mark.parametrize("fields", [{"on_lost": OnLost.FAIL}, {"checkpoints": ("model",)}])
def test_a_contradiction_is_refused(fields: dict[str, object]) -> None:
    """A task that says it may run twice, and what forbids it, is told which two words do not go together."""
    spec = TaskSpec(command="x", speculative=True, **fields)  # type: ignore[arg-type]
    assert "cannot be speculative" in (check_spec(spec, 10) or "")


def test_the_wish_is_no_part_of_the_work() -> None:
    """Whether a task may be copied changes nothing of what it does."""
    plain, wished = TaskSpec(command="x"), TaskSpec(command="x", speculative=True)
    assert work_of("ann", plain) == work_of("ann", wished)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (COPIES, ""),
        (CopiesNode(share=0.0), ""),
        (CopiesNode(share=1.5), "share of 1.5"),
        (CopiesNode(share=-1), "share of -1"),
        (CopiesNode(slow_tasks=25.0), "slow_tasks of 25"),
        (CopiesNode(slow_tasks=0.0), "slow_tasks of 0"),
        (CopiesNode(slow_workers=0.0), ""),
        (CopiesNode(slow_workers=-0.1), "slow_workers of -0.1"),
    ],
)
def test_bounds_are_checked(node: CopiesNode, sentence: str) -> None:
    """What makes no sense is told with its name and value."""
    found = check_copies(node)
    assert (found == "") is (sentence == "")
    assert sentence in found


def test_a_misspelt_field_is_found() -> None:
    """Who writes the node by hand and misspells a field is not ignored."""
    with pytest.raises(znodes.UnreadableNode):
        znodes.decode(CopiesNode, znodes.COPIES, b'{"shares": 0.5}')
