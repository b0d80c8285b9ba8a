"""The znode tree: paths, and the JSON form of every node. ``docs/znodes.md`` is its page for people.

All paths are relative to the chroot (``/alb`` by default).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from alb_core import ids, limits
from alb_core.arrays import ArrayRecord, Stretch
from alb_core.bounds import SHIPPED
from alb_core.choices import HistoryNode, PolicyNode, UseNode
from alb_core.copies import CopiesNode
from alb_core.drains import Drain
from alb_core.errors import CoordinationError
from alb_core.resources import Capacity
from alb_core.shares import SharesNode
from alb_core.tasks import TaskRecord

CHROOT: Final = "/alb"
META: Final = "/meta"
EPOCH: Final = "/epoch"
COMMIT: Final = "/commit"
LEADER: Final = "/leader"
BROKERS: Final = "/brokers"
WORKERS: Final = "/workers"
TASKS: Final = "/tasks"
DONE: Final = "/done"
ARRAYS: Final = "/arrays"
CONFIG: Final = "/config"
POLICY: Final = "/config/policy"
POLICY_HISTORY: Final = "/config/policy-history"
POLICY_USE: Final = "/config/policy-use"
DRAINED: Final = "/config/drained"
LIMITS: Final = "/config/limits"
SHARES: Final = "/config/shares"
COPIES: Final = "/config/copies"
SETTINGS: Final = (POLICY, POLICY_HISTORY, POLICY_USE, DRAINED, LIMITS, SHARES, COPIES)
#: What a leader reads before it places anything: operators change most of it, in zkCli too.
WATCHED: Final = (*SETTINGS, LEADER)
#: Nodes that others may change, and that a leader reads again then.


ENDS: Final = "ends-"
INPUTS: Final = "inputs-"
#: Below an array, before a number.


class MetaNode(msgspec.Struct, frozen=True, kw_only=True):
    """``/meta``: what this tree is."""

    format: int = limits.TABLE_FORMAT
    table: str
    #: Random id of this table: epochs compare only within it.
    cluster: str = "alb"


class EpochNode(msgspec.Struct, frozen=True, kw_only=True):
    """``/epoch``: the leader's term. The node's data version is the fence of every write."""

    epoch: int = 0
    broker: str = ""


class CommitNode(msgspec.Struct, frozen=True, kw_only=True):
    """``/commit``: the newest batch. Every transaction rewrites it with the version it knew."""

    epoch: int = 0
    batch: int = 0
    time: float = 0.0
    #: Cluster time of the batch, in seconds since 1970.


class BrokerNode(msgspec.Struct, frozen=True, kw_only=True):
    """``/brokers/<name>`` (ephemeral): a broker that can lead, or leads."""

    broker: str
    incarnation: str
    clients: str
    #: ``tcp://host:port`` for clients' requests, and for standbys that follow a leader.
    client_output: str
    #: For output on its way to clients.
    workers: str
    worker_output: str
    depot: str = ""
    #: ``http://host:port`` of its depot, where files lie; empty: it has none.
    depot_key: str = ""
    #: Seals what the leader's depot tells that depot, so that it believes nobody else.
    policies: dict[str, str] = {}
    #: That are installed there: name to distribution and version.
    host: str = ""
    pid: int = 0
    version: str = ""
    started: str = ""
    #: Wall clock, for people only.
    format: int = limits.TABLE_FORMAT


class LeaderNode(BrokerNode, frozen=True, kw_only=True):
    """``/leader`` (ephemeral): the broker that leads, and its epoch."""

    epoch: int
    table: str


class WorkerNode(msgspec.Struct, frozen=True, kw_only=True):
    """``/workers/<name>`` (ephemeral): a worker and what it offers."""

    worker: str
    incarnation: str
    capacity: Capacity
    pid: int = 0
    started: str = ""


class DrainedNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``/config/drained``: which workers take nothing new, by name.

    People write it by hand: a misspelt field must be found, not ignored.
    """

    workers: dict[str, Drain] = {}


Node = TypeVar("Node", bound=msgspec.Struct)
_TASKS_LENGTH: Final = len(TASKS)
_ENCODER = msgspec.json.Encoder()
encode: Final[Callable[[msgspec.Struct], bytes]] = _ENCODER.encode
#: Returns the JSON form of a node.
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}
_STRETCHES = msgspec.json.Decoder(list[Stretch])
_LINES = msgspec.json.Decoder(list[str])


class UnreadableNode(CoordinationError):
    """Raised when a node's data is not what its path promises: somebody else wrote there.

    Args:
        path: The node.
        why: What the decoder said.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.why}"


def decode(form: type[Node], path: str, data: bytes) -> Node:
    """Read the JSON form of a node.

    Args:
        form: What the node holds.
        path: Where it was, for the error.
        data: Its data.

    Raises:
        UnreadableNode: The data is not of this form.
    """
    decoder = _DECODERS.get(form)
    if decoder is None:
        decoder = _DECODERS[form] = msgspec.json.Decoder(form)
    try:
        node: Node = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableNode(path, str(error)) from error
    return node


def task_path(task_id: str) -> str:
    """Return where a live task is kept."""
    return f"{TASKS}/{ids.bucket(task_id)}/{task_id}"


def done_path(task_id: str) -> str:
    """Return where a finished task is kept."""
    return f"{DONE}/{ids.bucket(task_id)}/{task_id}"


def done_path_of(path: str) -> str:
    """Return where a task is kept when it is finished, by where it is kept while it lives."""
    return DONE + path[_TASKS_LENGTH:]


def array_path(array: str) -> str:
    """Return where an array is kept."""
    return f"{ARRAYS}/{array}"


def ends_path(array: str, chunk: int) -> str:
    """Return where it is kept how the positions of a chunk ended."""
    return f"{ARRAYS}/{array}/{ENDS}{chunk:05d}"


def inputs_path(array: str, first: int) -> str:
    """Return where the inputs of the positions from `first` on are kept."""
    return f"{ARRAYS}/{array}/{INPUTS}{first:08d}"


def worker_path(name: str) -> str:
    """Return the registration of a worker."""
    return f"{WORKERS}/{name}"


def broker_path(name: str) -> str:
    """Return the registration of a broker."""
    return f"{BROKERS}/{name}"


def decode_task(path: str, data: bytes) -> TaskRecord:
    """Read a task's record, and hold it to its path.

    Raises:
        UnreadableNode: The data is no task, or one of another id.
    """
    record = decode(TaskRecord, path, data)
    if not path.endswith(f"/{record.id}"):
        raise UnreadableNode(path, f"holds the record of {record.id[:64]!r}")
    return record


def decode_array(path: str, data: bytes) -> ArrayRecord:
    """Read an array's record, and hold it to its path.

    Raises:
        UnreadableNode: The data is no array, or one of another id.
    """
    record = decode(ArrayRecord, path, data)
    if not path.endswith(f"/{record.id}"):
        raise UnreadableNode(path, f"holds the record of {record.id[:64]!r}")
    return record


def encode_list(values: Sequence[Stretch] | Sequence[str]) -> bytes:
    """Return the JSON form of a node that holds a list."""
    return _ENCODER.encode(values)


def decode_ends(path: str, data: bytes) -> list[Stretch]:
    """Read how positions ended, or raise UnreadableNode."""
    return _decode_list(_STRETCHES, path, data)


def decode_inputs(path: str, data: bytes) -> list[str]:
    """Read inputs, or raise UnreadableNode."""
    return _decode_list(_LINES, path, data)


Item = TypeVar("Item")


def _decode_list(decoder: msgspec.json.Decoder[list[Item]], path: str, data: bytes) -> list[Item]:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableNode(path, str(error)) from error


def permanent_paths() -> list[str]:
    """Return every node that must exist before the first broker leads, parents first."""
    return [
        BROKERS,
        WORKERS,
        TASKS,
        DONE,
        ARRAYS,
        CONFIG,
        *(f"{parent}/{bucket}" for parent in (TASKS, DONE) for bucket in ids.buckets()),
    ]


def first_nodes(table: str, cluster: str = "alb") -> dict[str, bytes]:
    """Return every node of an empty cluster by its path, parents first and ``/meta`` before all.

    Args:
        table: The random id of the new table.
        cluster: The cluster's name.
    """
    return {
        META: encode(MetaNode(table=table, cluster=cluster)),
        EPOCH: encode(EpochNode()),
        COMMIT: encode(CommitNode()),
        **dict.fromkeys(permanent_paths(), b""),
        POLICY: encode(PolicyNode()),
        POLICY_HISTORY: encode(HistoryNode()),
        POLICY_USE: encode(UseNode()),
        DRAINED: encode(DrainedNode()),
        LIMITS: encode(SHIPPED),
        SHARES: encode(SharesNode()),
        COPIES: encode(CopiesNode()),
    }
