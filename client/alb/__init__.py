"""alb: runs UNIX commands on a cluster of servers.

    from alb import Client

    with Client(zk="zk1:2181") as client:
        future = client.submit(["/bin/echo", "hello"])
        print(future.result().stdout)

Importing this package is cheap: what it exports is loaded at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from alb_core import __version__

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.api.executor import CallFuture, Executor
    from alb.api.future import TaskFuture
    from alb.api.options import TaskOptions
    from alb.api.result import TaskResult
    from alb.api.stream import Piece, TaskStream
    from alb_core.errors import (
        AlbError,
        CallFailed,
        ClientClosed,
        ClusterBusy,
        CommandFailed,
        ConfigError,
        CoordinationError,
        InvalidTask,
        NoLeader,
        OutcomeUnknown,
        OutputLost,
        TaskCancelled,
        TaskConflict,
        TaskError,
        TaskGone,
        TaskLost,
        ZooKeeperUnreachable,
    )
    from alb_core.messages import StreamName
    from alb_core.spec import OnLost
    from alb_core.tasks import TaskState

__all__ = [
    "AlbError",
    "CallFailed",
    "CallFuture",
    "Client",
    "ClientClosed",
    "ClusterBusy",
    "CommandFailed",
    "ConfigError",
    "CoordinationError",
    "Executor",
    "InvalidTask",
    "NoLeader",
    "OnLost",
    "OutcomeUnknown",
    "OutputLost",
    "Piece",
    "StreamName",
    "TaskCancelled",
    "TaskConflict",
    "TaskError",
    "TaskFuture",
    "TaskGone",
    "TaskLost",
    "TaskOptions",
    "TaskResult",
    "TaskState",
    "TaskStream",
    "ZooKeeperUnreachable",
    "__version__",
]

_HOMES = {
    "CallFuture": "alb.api.executor",
    "Executor": "alb.api.executor",
    "Client": "alb.api.client",
    "TaskOptions": "alb.api.options",
    "TaskFuture": "alb.api.future",
    "TaskResult": "alb.api.result",
    "Piece": "alb.api.stream",
    "TaskStream": "alb.api.stream",
    "StreamName": "alb_core.messages",
    "OnLost": "alb_core.spec",
    "TaskState": "alb_core.tasks",
}
#: Where each name lives; all others are errors.


def __getattr__(name: str) -> Any:
    """Load an exported name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'alb' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "alb_core.errors")), name)
    globals()[name] = value
    return value
