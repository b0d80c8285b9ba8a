"""What clients ask of arrays: submissions, inputs, attachments, cancellations; what followers are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from alb_broker.core.actions import Action, TaskSettled
from alb_broker.core.array import EXPECTED_MAX, Array
from alb_broker.core.array_inputs import Inputs
from alb_broker.core.array_pages import ArrayPages
from alb_broker.core.array_progress import Grown, Progress
from alb_broker.core.arrays import SKIPS_MAX, UNACKNOWLEDGED_MAX, is_skipped
from alb_broker.core.book import Book
from alb_broker.core.clients import Client
from alb_broker.core.shares_desk import why_full
from alb_broker.core.start_desk import NO_START, StartDesk, not_before
from alb_broker.core.state import State
from alb_broker.core.table import BUSY_DELAY_S
from alb_broker.core.task import Watcher
from alb_core import codec, ids, limits
from alb_core.arrays import (
    ArrayRecord,
    ArraySpec,
    Stride,
    check_array,
    check_input,
    position_of,
    total_of,
)
from alb_core.errors import RemoteProtocolError
from alb_core.messages import (
    Accepted,
    Ack,
    ArrayInputs,
    ArrayMoved,
    Attach,
    AttachArray,
    Busy,
    Cancel,
    CancelNoted,
    InputsKept,
    Message,
    Rejected,
    SubmitArray,
    TaskMoved,
)
from alb_core.spec import digest, too_large
from alb_core.tasks import TaskState

MOVED_EVERY_S: Final = 0.5
#: A follower is told at most so often.
FINISHED_RESEND_S: Final = 2.0
_GONE: Final = "the table does not, or no longer, hold this array; it is not run again"
_STOPPED: Final = "no more inputs are taken: it was cancelled, or has ended"


class ArrayDesk:
    """Handles the messages of clients that concern arrays.

    Args:
        state: The reign's parts.
        book: Carries out what they ask of tasks.
        pages: Answers their questions.
        starts: Decides when an array begins.
    """

    def __init__(self, state: State, book: Book, pages: ArrayPages, starts: StartDesk) -> None:
        self._state: Final = state
        self._book: Final = book
        self._starts: Final = starts
        self._pages: Final = pages

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {
            SubmitArray: self._on_submit,
            ArrayInputs: self._on_inputs,
            AttachArray: self._on_attach,
            **self._pages.handlers(),
        }

    # --- submissions ----------------------------------------------------------------------------------------

    def _on_submit(self, client: Client, message: SubmitArray) -> None:
        array = self._state.arrays.get(message.id)
        if array is not None:
            self._meet_again(client, message, array)
            return
        why = self._state.why_aside(message.id) or self._admit(client, message)
        if why is not None:
            self._state.counters["arrays_rejected"] += 1
            self._reject(client, message.id, "invalid", why)

    def _admit(self, client: Client, message: SubmitArray) -> str | None:  # noqa: PLR0911 (one a rule)
        """Accept a new array, or return what is wrong with it."""
        state = self._state
        if not ids.is_task_id(message.id) or ids.array_of(message.id):
            return "the id of an array has 32 lower-case hex digits (a UUIDv7)"
        if message.id in state.table.live or message.id in state.table.done:
            return "this id belongs to a task; a new array needs a new id"
        wire = bytes(message.spec)
        if len(wire) > limits.SPEC_BYTES_MAX:
            return too_large(len(wire))
        try:
            spec = codec.decode_array(wire)
        except RemoteProtocolError as error:
            return str(error)
        why = check_array(spec, len(wire))
        if why is None and spec.task.checkpoints and not state.store.enabled:
            why = "the cluster has no results store, through which checkpoints are found again"
        why = why or _wrong_inputs(spec, len(wire), 0, message.inputs, whole=message.whole)
        why = why or self._starts.circle(message.id, spec.task.start.dependencies)
        if why:
            return why
        too_many = why_full(state, client.user)
        if too_many or not state.arrays.admits(client.user, sum(map(len, message.inputs))):
            state.counters["submissions_busy"] += 1
            state.tell(client.peer, Busy(id=message.id, delay_s=BUSY_DELAY_S, why=too_many))
            return None
        self._accept(client, message, spec, wire)
        return None

    def _accept(self, client: Client, message: SubmitArray, spec: ArraySpec, wire: bytes) -> None:
        state = self._state
        moment = state.holds.moment(client.user, spec.task.name, state.stamp())
        from_inputs = bool(message.inputs) or not message.whole or not spec.strides
        record = ArrayRecord(
            id=message.id,
            user=client.user,
            digest=digest(wire),
            spec=spec,
            submitted=moment,
            kept=spec.task.start != NO_START,
            not_before=not_before(spec.task.start, moment),
            total=0 if from_inputs else total_of(spec.strides),
            whole=not from_inputs,
        )
        array = Array(Progress(record), wire, Inputs(record.id), written=False)
        array.fed = state.at
        state.arrays.add(array)
        state.counters["arrays_accepted"] += 1
        state.clients.follow(client, array, results=message.results)
        state.arrays.change(array, ())
        accepted = state.client(client.peer, Accepted(id=array.id))
        self._grow(array, message.inputs, whole=message.whole, releases=(accepted,))
        state.arrays.tell(array, client.peer)

    def _meet_again(self, client: Client, message: SubmitArray, array: Array) -> None:
        """The same id again: the same array, or a conflict."""
        if array.user != client.user or array.record.digest != digest(bytes(message.spec)):
            why = "this id belongs to another specification or another user; a new array needs a new id"
            self._reject(client, message.id, "conflict", why)
            return
        state = self._state
        array.fed = state.at
        state.clients.follow(client, array, results=message.results)
        known = array.record.total
        accepted = state.client(client.peer, Accepted(id=array.id, state=array.state))
        if not array.record.whole and known <= len(message.inputs):  # an earlier leader kept a part of them
            self._grow(array, message.inputs[known:], whole=message.whole, releases=(accepted,))
        else:
            state.ledger.say(accepted)
        state.arrays.tell(array, client.peer)

    # --- inputs ---------------------------------------------------------------------------------------------

    def _on_inputs(self, client: Client, message: ArrayInputs) -> None:
        state = self._state
        array = state.arrays.get(message.id)
        if array is None:
            self._reject(client, message.id, "gone", _GONE)
            return
        record = array.record
        array.fed = state.at
        known = record.total - message.first
        if known < 0:
            why = f"the inputs from position {record.total} on are missing"
            self._reject(client, message.id, "invalid", why)
        elif record.whole and (len(message.lines) > known or record.cancel):
            self._reject(client, message.id, "invalid", record.why or _STOPPED)
        else:
            self._take_inputs(client, array, message, message.lines[known:])

    def _take_inputs(self, client: Client, array: Array, message: ArrayInputs, lines: Sequence[str]) -> None:
        state, record = self._state, array.record
        kept = state.client(client.peer, InputsKept(id=array.id, count=record.total + len(lines)))
        if record.whole:
            state.ledger.say(kept)
            return
        why = _wrong_inputs(record.spec, len(array.wire), record.total, lines, whole=message.whole)
        if why is None and array.user != client.user:
            why = "the array belongs to another user"
        if why is not None:
            self._reject(client, message.id, "invalid", why)
        elif lines and not self._has_room(array, lines):
            state.counters["inputs_busy"] += 1  # they are sent again until they are kept
        else:
            self._grow(array, lines, whole=message.whole, releases=(kept,))

    def _has_room(self, array: Array, lines: Sequence[str]) -> bool:
        size = sum(map(len, lines))
        bounded = array.inputs.size_bytes + size <= limits.ARRAY_INPUTS_BYTES_MAX
        return bounded and self._state.arrays.admits(array.user, size)

    def _grow(self, array: Array, lines: Sequence[str], *, whole: bool, releases: tuple[Action, ...]) -> None:
        """Keep more inputs, perhaps none; each of their nodes is a group of its own.

        Args:
            array: The array.
            lines: They follow those that it has.
            whole: No more follow.
            releases: What is said once all of that is in the table.
        """
        arrays = self._state.arrays
        for total, write in array.inputs.add(lines):
            arrays.change(array, (Grown(total, whole=False),), (write,))
        closes = whole and not array.record.whole
        changes = (Grown(array.record.total, whole=True),) if closes else ()
        arrays.change(array, changes, (), releases)
        arrays.awake[array.id] = array
        arrays.finish_if_over(array)

    # --- followers ------------------------------------------------------------------------------------------

    def _on_attach(self, client: Client, message: AttachArray) -> None:
        state = self._state
        array = state.arrays.get(message.id)
        if array is None:
            self._reject(client, message.id, "gone", _GONE)
            return
        array.fed = state.at
        state.clients.follow(client, array, results=message.results)
        state.arrays.tell(array, client.peer)

    def on_ack(self, client: Client, message: Ack) -> None:
        """A client has a result of a task, or knows how an array ended."""
        arrays = self._state.arrays
        array = client.following.get(message.id)
        if array is not None:
            if array.record.finished:
                array.acknowledged = True
                del client.following[array.id]
                array.followers.pop(client.peer, None)
        elif client.following and len(client.unacknowledged) == UNACKNOWLEDGED_MAX:
            arrays.awake.update(client.following)

    def on_gone(self, client: Client) -> None:
        """A client is gone: nothing waits for its acknowledgements any more."""
        for task_id in client.unacknowledged:
            if ids.array_of(task_id):
                self._state.table.acknowledge(task_id, client.peer)
        going = self._state.arrays.going
        self._state.arrays.awake.update(
            {array_id: array for array_id, array in client.following.items() if array_id in going}
        )

    def end_turn(self) -> None:
        """Tell the followers of arrays that have just ended; whoever waits for them, once it is written."""
        arrays = self._state.arrays
        for array in arrays.ended:
            array.changed = False
            for peer in array.followers:
                arrays.tell(array, peer)
            if self._state.holds.concerns(array.id):
                self._state.ledger.say(TaskSettled(array.id))
        arrays.ended.clear()

    def tick(self) -> None:
        """Tell followers what has changed; close arrays whose clients do not come back with their inputs."""
        state = self._state
        for client in state.clients:
            for array in client.following.values():
                self._tell_again(array, client.peer)
        for array in state.arrays.going.values():
            array.changed = False
        holding_s = state.config.holding_s
        for array in [each for each in state.arrays.going.values() if not each.record.whole]:
            if array.followers:
                array.fed = state.at
            elif state.at - array.fed > holding_s:
                why = f"its client left before its last input, and did not come back for {holding_s:.0f} s"
                state.arrays.close(array, why)

    def _tell_again(self, array: Array, peer: bytes) -> None:
        follower = array.followers[peer]
        follower.dirty = follower.dirty or array.changed
        silent_s = self._state.at - follower.told
        finished = bool(array.record.finished)
        if silent_s >= FINISHED_RESEND_S if finished else follower.dirty and silent_s >= MOVED_EVERY_S:
            self._state.arrays.tell(array, peer)

    # --- single tasks and cancellations ---------------------------------------------------------------------

    def on_attach_child(self, client: Client, message: Attach) -> bool:
        """Note that a client waits for a task that is not made yet; returns whether it is one of these."""
        state = self._state
        array = state.arrays.of(message.id)
        position = array.position(message.id) if array is not None else None
        if array is None or position is None or not state.arrays.is_to_come(message.id):
            return False
        waiting = array.expected
        if len(waiting) >= EXPECTED_MAX and position not in waiting:
            why = "too many tasks of this array are waited for before they are made; attach to the array"
            self._reject(client, message.id, "error", why)
            return True
        watcher = Watcher(message.moves, message.window, message.stdout, message.stderr)
        waiting.setdefault(position, {})[client.peer] = watcher
        state.tell(client.peer, TaskMoved(id=message.id, state=TaskState.QUEUED))
        return True

    def on_cancel(self, client: Client, message: Cancel) -> bool:
        """Cancel an array, some tasks of it, or one that is not made yet; returns whether it is such."""
        state = self._state
        array = state.arrays.get(message.id)
        if array is not None:
            if message.strides:
                self._cancel_parts(client, array, message)
            else:
                self._cancel_all(client, array)
            return True
        array = state.arrays.of(message.id)
        position = array.position(message.id) if array is not None else None
        if array is None or position is None or not state.arrays.is_to_come(message.id):
            return False
        index = array.places.index_at(position)
        noted = (state.client(client.peer, CancelNoted(id=message.id)),)
        if not state.arrays.skip(array, (Stride(index, index),), noted):
            self._reject(client, message.id, "invalid", _too_many_skips())
        return True

    def _cancel_all(self, client: Client, array: Array) -> None:
        state = self._state
        noted = state.client(client.peer, CancelNoted(id=array.id))
        if array.record.finished or array.record.cancel:
            state.ledger.say(noted, state.client(client.peer, ArrayMoved(array=state.arrays.line(array))))
        else:
            state.arrays.stop(array, f"cancelled by {client.user}", (noted,))

    def _cancel_parts(self, client: Client, array: Array, message: Cancel) -> None:
        state = self._state
        wrong = _wrong_strides(message.strides)
        if wrong:
            self._reject(client, array.id, "invalid", wrong)
            return
        noted = state.client(client.peer, CancelNoted(id=array.id))
        if array.record.finished or array.record.cancel:
            state.ledger.say(noted)
            return
        ahead = tuple(each for each in message.strides if _may_be_to_come(array, each))
        if ahead and not state.arrays.skip(array, ahead, ()):
            self._reject(client, array.id, "invalid", _too_many_skips())
            return
        for task in list(array.live.values()):
            if not task.cancel and is_skipped(message.strides, int(task.id.rpartition(".")[2])):
                self._book.cancel(task, b"", state.at)
        state.ledger.say(noted)
        state.arrays.awake[array.id] = array

    def _reject(self, client: Client, name: str, code: str, why: str) -> None:
        self._state.tell(client.peer, Rejected(id=name[:80], code=code, why=why))


def _may_be_to_come(array: Array, stride: Stride) -> bool:
    """Tell whether some of these indexes may not be made yet."""
    position = position_of(array.strides, stride.last)
    return position is None or position >= array.record.cursor or len(array.strides) > 1


def _wrong_inputs(
    spec: ArraySpec, spec_bytes: int, first: int, lines: Sequence[str], *, whole: bool
) -> str | None:
    """Find what is wrong with more inputs of an array; a sentence, or None."""
    total = first + len(lines)
    if total > limits.ARRAY_TASKS_MAX:
        return f"the array has more than {limits.ARRAY_TASKS_MAX} inputs"
    known = total_of(spec.strides)
    if known and (lines or not whole) and (total > known or (whole and total < known)):
        return f"there are {total} inputs for {known} indexes: each index has one, or there are no inputs"
    if sum(map(len, lines)) > limits.ARRAY_INPUTS_BYTES_MAX:
        return f"the inputs have more than {limits.ARRAY_INPUTS_BYTES_MAX} bytes: put them into files"
    return next((why for line in lines if (why := check_input(spec.task, spec_bytes, line))), None)


def _wrong_strides(strides: Sequence[Stride]) -> str:
    if len(strides) > SKIPS_MAX:
        return _too_many_skips()
    if any(each.step < 1 or each.last < each.first or each.first < 0 for each in strides):
        return "a range of indexes goes from the smaller to the larger, by 1 or more"
    return ""


def _too_many_skips() -> str:
    return (
        f"more than {SKIPS_MAX} ranges of one array cannot be cancelled ahead: "
        "cancel wider ranges, or all of it"
    )
