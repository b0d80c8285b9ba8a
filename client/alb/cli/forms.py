"""What ``--json`` writes about a task's end."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from alb_core.files import FileRef
from alb_core.messages import StreamName

if TYPE_CHECKING:
    from alb.api.future import TaskFuture
    from alb_core.tasks import TaskRecord


class ResultForm(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One task that has ended. Output is text where it is valid UTF-8, else base64."""

    id: str
    state: str
    exit_status: int
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    skipped: bool = False
    #: It was not run again: it is an earlier task's.
    worker: str = ""
    attempt: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    started: float = 0.0
    finished: float = 0.0
    limit: str = ""
    mechanism: str = ""
    stdout: str | None = None
    stdout_base64: str | None = None
    stdout_bytes: int | None = None
    #: Length of the whole stream, of which the end may be shown; absent only where it is not known.
    stdout_truncated: bool = False
    #: The command wrote more, which was not kept.
    stdout_left_out_bytes: int = 0
    #: Of a bounded output, what is missing between its head and its tail.
    stdout_lost_from: int | None = None
    #: From this byte on it cannot be had any more, for `output_lost`; `stdout` is what was kept of its end.
    stderr: str | None = None
    stderr_base64: str | None = None
    stderr_bytes: int | None = None
    stderr_truncated: bool = False
    stderr_left_out_bytes: int = 0
    stderr_lost_from: int | None = None
    output_lost: str = ""
    #: Why some of it is gone.
    output_open: bool = False
    #: Something that the command left behind still held its output open; it was killed.
    returned: tuple[FileRef, ...] = ()
    unreturned: str = ""
    value: str | None = None
    #: What its kind returned.
    value_base64: str | None = None


class UnfinishedForm(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One task that has not ended, and what it has written so far. Output as in `ResultForm`."""

    id: str
    state: str
    worker: str = ""
    attempt: int = 0
    stdout: str | None = None
    stdout_base64: str | None = None
    stdout_bytes: int
    stderr: str | None = None
    stderr_base64: str | None = None
    stderr_bytes: int

    @classmethod
    def of(cls, record: TaskRecord, stdout: bytes, stderr: bytes) -> UnfinishedForm:
        """Return the form of a task whose shown attempt wrote this."""
        shown = record.shown()
        form = cls(id=record.id, state=record.state.value, stdout_bytes=len(stdout), stderr_bytes=len(stderr))
        if shown is not None:
            form.worker, form.attempt = shown.worker, shown.n
        form.stdout, form.stdout_base64 = _text_or_base64(stdout)
        form.stderr, form.stderr_base64 = _text_or_base64(stderr)
        return form


class LineForm(ResultForm, kw_only=True, omit_defaults=True):
    """One line of ``--each-line`` whose task has ended."""

    line: int

    @classmethod
    def of(cls, line: int, form: ResultForm) -> LineForm:
        """Return the form of a task with its line's number."""
        return cls(line=line, **msgspec.structs.asdict(form))


class IndexForm(ResultForm, kw_only=True, omit_defaults=True):
    """One index of an array whose task has ended."""

    index: int

    @classmethod
    def of(cls, index: int, form: ResultForm) -> IndexForm:
        """Return the form of a task with its index."""
        return cls(index=index, **msgspec.structs.asdict(form))


class EarlierForm(msgspec.Struct, kw_only=True):
    """One line that was left out, because a task did it well before."""

    line: int
    id: str
    state: str
    exit_status: int
    skipped: bool = True


def result_form(future: TaskFuture, *, skipped: bool = False) -> ResultForm:
    """Return what is known of a task that has ended; raises the future's error where it has no result."""
    record = future.record
    if record is None:
        future.result()
        raise AssertionError(f"task {future.id} ended without a record")
    form = ResultForm(
        id=future.id,
        state=record.state.value,
        exit_status=record.exit_status(),
        exit_code=record.exit_code,
        signal=record.signal,
        why=record.why,
        skipped=skipped,
        worker=record.worker,
        attempt=record.attempt,
        wall_s=record.wall_s,
        cpu_s=record.cpu_s,
        memory_bytes=record.memory_bytes,
        read_bytes=record.read_bytes,
        written_bytes=record.written_bytes,
        started=record.started,
        finished=record.finished,
        limit=record.limit,
        mechanism=record.mechanism,
        stdout_bytes=record.stdout.size_bytes,
        stdout_truncated=record.stdout.truncated,
        stdout_left_out_bytes=record.stdout.left_out_bytes,
        stderr_bytes=record.stderr.size_bytes,
        stderr_truncated=record.stderr.truncated,
        stderr_left_out_bytes=record.stderr.left_out_bytes,
        output_open=record.output_open,
        returned=record.returned,
        unreturned=record.unreturned,
    )
    if record.value:
        form.value, form.value_base64 = _text_or_base64(record.value)
    stdout, stderr = future.captured()
    form.stdout, form.stdout_base64 = _text_or_base64(stdout.data if stdout else record.stdout.tail())
    form.stderr, form.stderr_base64 = _text_or_base64(stderr.data if stderr else record.stderr.tail())
    for missing in future.missing:
        form.output_lost = missing.why
        if missing.stream is StreamName.STDOUT:
            form.stdout_lost_from = missing.offset
        else:
            form.stderr_lost_from = missing.offset
    return form


def _text_or_base64(data: bytes) -> tuple[str | None, str | None]:
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()
