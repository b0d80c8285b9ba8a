"""Every error that alb raises on purpose.

::

    AlbError
    ├── ConfigError              the configuration cannot work
    ├── ProtocolError            a message that cannot be understood or is not allowed
    │   ├── LocalProtocolError   we were about to send it
    │   └── RemoteProtocolError  a peer sent it
    ├── InvalidTransition        a record met an event that its state does not allow: a defect of alb
    ├── CoordinationError        ZooKeeper
    │   ├── ZooKeeperUnreachable no server answers
    │   └── NoLeader             no broker answered as the leader in time
    ├── TransferError            the bytes of a file did not arrive
    │   ├── DepotUnreachable     the depot does not answer, or broke off
    │   ├── DepotRefused         the depot said no, and why
    │   ├── WrongContent         what came is not what its SHA-256 names
    │   └── TransferStopped      nobody wants the file any more
    ├── ClientClosed             its client was closed; the task goes on
    ├── CommandFailed            a command ended without success, and somebody insisted on it
    ├── CallFailed               a call of an Executor came to nothing that could be brought back
    ├── ReplayBroken             a replay of a workload cannot go on
    └── TaskError                crosses the wire as a code and its text
        ├── InvalidTask          the specification is wrong
        ├── TaskConflict         the id belongs to another specification or user
        ├── TaskGone             the id is not, or no longer, in the table
        ├── TaskCancelled        somebody cancelled it
        ├── TaskLost             its worker was lost and it must not run again, or too often
        ├── ClusterBusy          the table has no room now
        ├── OutcomeUnknown       the submission was never answered within the holding time
        └── OutputLost           the worker no longer has these bytes
"""

from __future__ import annotations


class AlbError(Exception):
    """The root of what alb raises on purpose."""


class ConfigError(AlbError):
    """Raised when a setting is missing, malformed, or contradicts another. Retrying does not help."""


class ProtocolError(AlbError):
    """Raised when a message breaks the protocol. Never raised itself: see its two kinds."""


class LocalProtocolError(ProtocolError):
    """Raised when we were about to send a message that the protocol forbids: a defect of alb."""


class RemoteProtocolError(ProtocolError):
    """Raised when a peer's message cannot be decoded or is not allowed. Sending it again does not help."""


class InvalidTransition(AlbError):
    """Raised when a record meets an event that its state does not allow: a defect of alb.

    Args:
        record: What met the event, for example a task id.
        state: The state that it was in.
        event: The name of the event.
        story: The record's recent past, oldest first.
    """

    def __init__(self, record: str, state: str, event: str, story: tuple[str, ...] = ()) -> None:
        super().__init__(record, state, event, story)
        self.record = record
        self.state = state
        self.event = event
        self.story = story

    def __str__(self) -> str:
        past = "; ".join(self.story) or "nothing recorded"
        return f"{self.record} in state {self.state} cannot take {self.event} (its story: {past})"


class CoordinationError(AlbError):
    """Raised when ZooKeeper cannot give what was asked."""


class ZooKeeperUnreachable(CoordinationError):
    """Raised when no ZooKeeper server answers in time. Retrying helps once one is up."""


class NoLeader(CoordinationError):
    """Raised when no broker answered as the leader in time. Retrying helps once one leads."""


class TransferError(AlbError):
    """Raised when a file could not be moved to or from a depot. Never raised itself: see its kinds."""


class DepotUnreachable(TransferError):
    """Raised when a depot does not answer, or broke off. What arrived is kept: retrying goes on from there.

    Args:
        depot: Its address.
        why: What the network said.
    """

    def __init__(self, depot: str, why: str) -> None:
        super().__init__(depot, why)
        self.depot = depot
        self.why = why

    def __str__(self) -> str:
        return f"the depot {self.depot} cannot be reached: {self.why}"


class DepotRefused(TransferError):
    """Raised when a depot said no. Retrying helps where `passing`; another depot may say yes.

    Args:
        depot: Its address.
        status: The HTTP status.
        why: Its sentence.
    """

    def __init__(self, depot: str, status: int, why: str) -> None:
        super().__init__(depot, status, why)
        self.depot = depot
        self.status = status
        self.why = why

    @property
    def missing(self) -> bool:
        """Whether the depot does not have the file."""
        return self.status == 404

    @property
    def passing(self) -> bool:
        """Whether it may be different soon: another upload is under way, or the depot is not ready."""
        return self.status in (404, 409, 503)

    def __str__(self) -> str:
        return f"the depot {self.depot} says: {self.why}"


class WrongContent(TransferError):
    """Raised when what arrived is not what its SHA-256 names; it was thrown away. Another copy may be right.

    Args:
        sha256: What was wanted.
        found: What came.
    """

    def __init__(self, sha256: str, found: str) -> None:
        super().__init__(sha256, found)
        self.sha256 = sha256
        self.found = found

    def __str__(self) -> str:
        return f"what arrived as {self.sha256[:12]}… is something else, with SHA-256 {self.found[:12]}…"


class TransferStopped(TransferError):
    """Raised when nobody wants the file any more. What arrived is kept."""


class ClientClosed(AlbError):
    """Raised for what was under way when its client was closed. The task goes on in the cluster."""


class CommandFailed(AlbError):
    """Raised when success was asked for, and the command ended otherwise. Nothing is wrong with alb.

    Args:
        task_id: The task.
        exit_status: As a shell would say it.
        why: One sentence.
    """

    def __init__(self, task_id: str, exit_status: int, why: str) -> None:
        super().__init__(task_id, exit_status, why)
        self.task_id = task_id
        self.exit_status = exit_status
        self.why = why

    def __str__(self) -> str:
        return f"task {self.task_id}: {self.why}"


class CallFailed(AlbError):
    """Raised for a call of an Executor that came to nothing that could be brought back.

    The text says why: neither a value nor an exception could. Calling again helps only if that is changed.
    """


class TaskError(AlbError):
    """Raised to a client about one task.

    Args:
        task_id: The task.
        why: One sentence: what is wrong and what to do.
    """

    code = "error"

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(task_id, why)
        self.task_id = task_id
        self.why = why

    def __str__(self) -> str:
        return f"task {self.task_id}: {self.why}" if self.task_id else self.why


class InvalidTask(TaskError):
    """Raised when a specification is wrong or too large. Retrying does not help."""

    code = "invalid"


class TaskConflict(TaskError):
    """Raised when an id is already in use for another specification or by another user."""

    code = "conflict"


class TaskGone(TaskError):
    """Raised when neither the table nor the results store holds the task. It is never run a second time."""

    code = "gone"


class TaskCancelled(TaskError):
    """Raised when the result of a cancelled task is asked for."""

    code = "cancelled"


class TaskLost(TaskError):
    """Raised when a task ended because its workers were lost."""

    code = "lost"


class ClusterBusy(TaskError):
    """Raised when the table has no room and the caller did not want to wait. Retrying helps."""

    code = "busy"


class OutcomeUnknown(TaskError):
    """Raised when nobody answered a submission within the holding time: it may or may not have run."""

    code = "unknown"


class OutputLost(TaskError):
    """Raised when bytes of a task's output are gone: worker lost, or its retention ended."""

    code = "output_lost"


TASK_ERRORS: dict[str, type[TaskError]] = {
    kind.code: kind
    for kind in (
        TaskError,
        InvalidTask,
        TaskConflict,
        TaskGone,
        TaskCancelled,
        TaskLost,
        ClusterBusy,
        OutcomeUnknown,
        OutputLost,
    )
}
#: From the code on the wire to the class that a client raises.


class ReplayBroken(AlbError):
    """Raised when a replay cannot go on: a job that fits nowhere, or a defect. Retrying does not help."""
