"""The session with zkCli that ``docs/operations.md`` shows is one that an operator could have today.

A node that is shown is byte for byte what is written of what it says, and of a task exactly those keys are
shown that a leader writes.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from tests.broker_parts import Desks, submit
from tests.source_tree import ROOT

from alb_core import zk, znodes
from alb_core.choices import PolicyNode
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord

PAGE = (ROOT / "docs" / "operations.md").read_text()
SESSION = PAGE.partition("$ zkCli.sh -server ")[2].partition("```")[0]
STEP = re.compile(r"^\[zk: (\d+)\] (ls|get|set) (\S+)(.*)\n((?!\[zk).*)", re.MULTILINE)
FORMS: dict[str, Any] = {
    "leader": znodes.LeaderNode,
    "epoch": znodes.EpochNode,
    "commit": znodes.CommitNode,
    "workers": znodes.WorkerNode,
    "tasks": TaskRecord,
}
#: By the first part of a path, what its node holds.


def steps(verb: str) -> dict[str, str]:
    """Return what follows each path that the session asks this of: the answer; of `set` the data."""
    found = [step for step in STEP.findall(SESSION) if step[1] == verb]
    return {
        path.removeprefix(znodes.CHROOT): rest.strip() if verb == "set" else answer
        for _, _, path, rest, answer in found
    }


def keys(value: Any) -> Any:
    """Return the keys of a JSON value, and of what is in it."""
    if isinstance(value, dict):
        return {name: keys(each) for name, each in value.items()}
    return [keys(each) for each in value] if isinstance(value, list) else None


def test_the_session_was_read() -> None:
    """All of it: its steps are numbered, and it looks at every kind of node that the tests below know."""
    numbers = [int(number) for number, *_ in STEP.findall(SESSION)]
    assert numbers == [*range(len(numbers))]
    assert len(numbers) == SESSION.count("[zk: ")
    assert {path.split("/")[1] for path in steps("get")} == set(FORMS)


def test_the_tree_is_the_one_that_a_cluster_makes() -> None:
    """Its first level: what the first broker makes, and the node of whoever leads."""
    made = {path.split("/")[1] for path in [*znodes.first_nodes("t"), znodes.LEADER]}
    assert steps("ls")[""] == f"[{', '.join(sorted(made))}]"


@pytest.mark.parametrize("path", steps("get"))
def test_a_node_is_what_is_written_of_it(path: str) -> None:
    """No key that nobody writes any more, none missing that everybody writes, in this order."""
    data = steps("get")[path].encode()
    node = znodes.decode(FORMS[path.split("/")[1]], path, data)
    assert znodes.encode(node) == data
    if isinstance(node, TaskRecord):
        assert path == znodes.task_path(node.id)


def test_a_task_has_the_keys_that_a_leader_writes() -> None:
    """Also those that are left out where they say what is so anyway."""
    shown = json.loads(steps("get")[next(path for path in steps("get") if path.startswith(znodes.TASKS))])
    each = Desks()
    each.greet(shown["user"])
    each.join("w1")
    each.join("w2", peer=b"worker-2")
    each.client(submit(1, msgspec.convert(shown["spec"], TaskSpec)))
    each.turn()
    last = each.written[-1]
    assert isinstance(last, zk.Create | zk.SetData)
    assert keys(json.loads(last.data)) == keys(shown)


def test_what_is_set_is_understood() -> None:
    """A policy, by hand."""
    ((path, data),) = steps("set").items()
    assert path == znodes.POLICY
    assert znodes.decode(PolicyNode, path, data.encode()).policy == "uniform"
