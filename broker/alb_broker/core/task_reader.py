"""Reading the records of many tasks: specifications that are equal, byte for byte, become one object.

Most of a record is its specification, and tasks by the thousand run the same command. It is decoded once and
kept once, and whoever sorts tasks by it need not compare it (`Queue.fill`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core import znodes
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord

SPECS_MAX: Final = 4096
#: Beyond, too many differ: nothing more is shared, for looking each up costs more than decoding it.


class _Unopened(TaskRecord, frozen=False):  # type: ignore[misc]  # nobody else sees it
    """A record whose specification is not decoded yet."""

    spec: msgspec.Raw  # type: ignore[assignment]  # until the reader puts a TaskSpec there


class TaskReader:
    """Reads records, as `znodes.decode_task` does, only faster."""

    def __init__(self) -> None:
        self._record: Final = msgspec.json.Decoder(_Unopened).decode
        self._spec: Final = msgspec.json.Decoder(TaskSpec).decode
        self._specs: Final[dict[bytes, TaskSpec]] = {}  #: By the bytes that they were decoded from.

    def read(self, path: str, data: bytes) -> TaskRecord:
        """Read a task's record, and hold it to its path.

        Raises:
            UnreadableNode: The data is no task, or one of another id.
        """
        if len(self._specs) >= SPECS_MAX:
            return znodes.decode_task(path, data)
        try:
            record = self._record(data)
            written = bytes(record.spec)
            spec = self._specs.get(written) or self._open(written)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return znodes.decode_task(path, data)  # it fails there, too, and says why
        if not path.endswith(f"/{record.id}"):
            return znodes.decode_task(path, data)
        record.spec = spec  # type: ignore[assignment]
        return record

    def _open(self, written: bytes) -> TaskSpec:
        spec = self._specs[written] = self._spec(written)
        return spec
