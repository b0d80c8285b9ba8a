"""The tree: paths and the JSON of every node."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.broker_parts import broker_node, make_attempt, record, task_id, worker_node

from alb_core import ids, znodes
from alb_core.tasks import Result, Stream, TaskRecord, TaskState
from alb_core.znodes import (
    BrokerNode,
    CommitNode,
    EpochNode,
    LeaderNode,
    MetaNode,
    PolicyNode,
    UnreadableNode,
    WorkerNode,
)

LEADER = LeaderNode(**msgspec.structs.asdict(broker_node()), epoch=7, table="t")
FINISHED = record(
    1,
    make_attempt(),
    state=TaskState.SUCCEEDED,
    result=Result(state=TaskState.SUCCEEDED, exit_code=0, stdout=Stream.of(b"\xff\x00hello", 7)),
)
NODES = [
    MetaNode(table="t"),
    EpochNode(epoch=7, broker="b2"),
    CommitNode(epoch=7, batch=4711, time=1.5),
    PolicyNode(policy="uniform"),
    broker_node(),
    LEADER,
    worker_node(),
    record(1),
    FINISHED,
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: type(node).__name__)
def test_every_node_is_json_and_comes_back(node: Any) -> None:
    """An operator can read it in zkCli; alb reads it as it was written."""
    data = znodes.encode(node)
    assert isinstance(json.loads(data), dict)
    assert znodes.decode(type(node), "/x", data) == node


@pytest.mark.parametrize(
    "form", [MetaNode, EpochNode, CommitNode, BrokerNode, LeaderNode, WorkerNode, TaskRecord]
)
@pytest.mark.parametrize(
    "data", [b"", b"no json", b"[]", b"\xff\xfe", b'{"epoch": "seven", "id": 3, "table": 1}']
)
def test_a_node_that_holds_something_else_is_unreadable(form: Any, data: bytes) -> None:
    """The error names the path and what is wrong."""
    with pytest.raises(UnreadableNode, match=r"/somewhere cannot be read: \w+"):
        znodes.decode(form, "/somewhere", data)


def test_a_newer_version_may_write_more() -> None:
    """Unknown fields are ignored."""
    assert znodes.decode(EpochNode, "/epoch", b'{"epoch": 7, "broker": "b2", "mood": "good"}') == EpochNode(
        epoch=7, broker="b2"
    )


def test_tasks_have_their_paths() -> None:
    """By bucket, live and finished apart."""
    one = task_id(1)
    assert znodes.task_path(one) == f"/tasks/{ids.bucket(one)}/{one}"
    assert znodes.done_path(one) == f"/done/{ids.bucket(one)}/{one}"
    assert znodes.done_path_of(znodes.task_path(one)) == znodes.done_path(one)
    assert (znodes.worker_path("w1"), znodes.broker_path("b1")) == ("/workers/w1", "/brokers/b1")


def test_a_task_is_held_to_its_path() -> None:
    """A record that was copied to another name is no task of that name."""
    data = znodes.encode(record(1))
    assert znodes.decode_task(znodes.task_path(task_id(1)), data) == record(1)
    with pytest.raises(UnreadableNode, match="holds the record of"):
        znodes.decode_task(znodes.task_path(task_id(2)), data)


def test_a_waiting_task_is_small() -> None:
    """What has its default is not written: a table of 100,000 must fit into a server's memory."""
    assert len(znodes.encode(record(1))) < 250


def test_the_first_nodes_make_a_whole_tree() -> None:
    """Parents first, everything that a leader takes for granted."""
    first = znodes.first_nodes("table-1", "mine")
    assert next(iter(first)) == znodes.META
    seen = {"/"}
    for path in first:
        assert (path.rpartition("/")[0] or "/") in seen
        seen.add(path)
    assert {znodes.EPOCH, znodes.COMMIT, znodes.BROKERS, znodes.WORKERS, znodes.POLICY} <= seen
    assert all(f"{parent}/{bucket}" in seen for parent in ("/tasks", "/done") for bucket in ids.buckets())
    meta = znodes.decode(MetaNode, znodes.META, first[znodes.META])
    assert (meta.table, meta.cluster) == ("table-1", "mine")
