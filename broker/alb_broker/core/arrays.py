"""All arrays of the cluster, and what befalls them: tasks that end, cancellations, holds, their own end.

It owns the index and the changes; each is applied to memory and given to the ledger at once. Who makes the
tasks is ``expansion.py``, what clients say comes through ``array_desk.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from alb_broker.core.actions import Action, ArrayOpened
from alb_broker.core.array import Array
from alb_broker.core.array_progress import (
    Change,
    Ended,
    Grown,
    Held,
    Kept,
    Over,
    Skipped,
    Stopped,
)
from alb_broker.core.ledger import Group, Lane
from alb_core import ids, limits, zk
from alb_core.arrays import ArrayLine, Stride
from alb_core.messages import ArrayMoved
from alb_core.notes import Level
from alb_core.tasks import Result, TaskState

if TYPE_CHECKING:
    from alb_broker.core.state import State
    from alb_broker.core.task import Task

SKIPS_MAX: Final = 100
#: Ranges of one array that are cancelled before they are made: each position is held against all of them.
UNACKNOWLEDGED_MAX: Final = 4000
#: Results that a follower has not acknowledged; beyond, what it follows makes no more tasks.


class Arrays:
    """The arrays in the table.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self.by_id: Final[dict[str, Array]] = {}
        self.going: Final[dict[str, Array]] = {}  #: Those that are not finished, in the order of submission.
        self.finished: Final[dict[str, Array]] = {}  #: The others, in the order in which they finished.
        self.awake: Final[dict[str, Array]] = {}  #: Those that may be able to make tasks now.
        self.doubted: Final[list[Array]] = []  #: Those whose nodes must be looked at.
        self.ended: Final[list[Array]] = []  #: Those that finished and whose followers are to hear it.
        self.why_kept: Callable[[Array], str] = _no_reason  #: Tells what keeps one of which nothing runs.

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Array]:
        return iter(self.by_id.values())

    def get(self, array_id: str) -> Array | None:
        """Return an array."""
        return self.by_id.get(array_id)

    def of(self, task_id: str) -> Array | None:
        """Return the array that a task belongs to."""
        return self.by_id.get(ids.array_of(task_id)) if self.by_id else None

    # --- coming and going -----------------------------------------------------------------------------------

    def add(self, array: Array) -> None:
        """Know an array."""
        self.by_id[array.id] = array
        if array.record.finished:
            self.finished[array.id] = array
            return
        self.going[array.id] = array
        self.awake[array.id] = array
        self._state.table.files.add(array.record.spec.task.luggage)
        self._state.holds.know(array)
        if array.record.kept:
            self._state.holds.watch(array)

    def forget(self, array: Array) -> None:
        """Know an array no more; tasks of it that live go on like any others."""
        if self.by_id.pop(array.id, None) is None:
            return
        self._leave_going(array)
        self.finished.pop(array.id, None)
        self._state.holds.ended(array.id)
        for peer in array.followers:
            client = self._state.clients.get(peer)
            if client is not None:
                client.following.pop(array.id, None)

    def _leave_going(self, array: Array) -> None:
        self.awake.pop(array.id, None)
        if self.going.pop(array.id, None) is not None:
            self._state.table.files.remove(array.record.spec.task.luggage)
            self._state.holds.forget(array)

    def admits(self, user: str, size_bytes: int) -> bool:
        """Tell whether a user may add an array with so many bytes of inputs, or inputs to one.

        As with tasks, nobody may have more than the room that is left for the others.
        """
        own, own_bytes, all_bytes = 0, 0, 0
        for array in self.by_id.values():
            all_bytes += array.inputs.size_bytes
            if array.user == user:
                own += 1
                own_bytes += array.inputs.size_bytes
        left = limits.ARRAYS_INPUTS_BYTES_MAX - all_bytes
        return own < limits.ARRAYS_MAX - len(self.by_id) and (
            not size_bytes or (own_bytes + size_bytes <= left)
        )

    # --- changes --------------------------------------------------------------------------------------------

    def change(
        self,
        array: Array,
        changes: Sequence[Change],
        operations: tuple[zk.Operation, ...] = (),
        releases: tuple[Action, ...] = (),
    ) -> None:
        """Let changes of an array happen, in one group; all groups of an array keep their order."""
        for change in changes:
            array.now.apply(change)
        array.changed = True
        lane = Lane.SUBMISSIONS if array.opening or not array.in_table else Lane.RESULTS
        if lane is Lane.SUBMISSIONS:
            array.opening += 1
            releases = (*releases, ArrayOpened(array.id))
        self._state.ledger.write(
            lane, array.path, operations, releases, array.user, folded=(array, tuple(changes))
        )

    def on_opened(self, array_id: str) -> None:
        """A group that an array wrote at its beginning is in the table."""
        array = self.by_id.get(array_id)
        if array is not None:
            array.opening -= 1
            self.awake[array_id] = array
            self.finish_if_over(array)

    def end(self, task: Task, result: Result) -> tuple[Array, tuple[Change, ...]] | None:
        """A task ended: return what its group must say of its array; None: it has none, or is no part of it.

        Args:
            task: The task.
            result: How it ended.
        """
        array = self.by_id.get(task.array) if task.array else None
        if array is None or not array.drop(task.id):
            return None
        position = array.position(task.id)
        assert position is not None  # noqa: S101 (only tasks of its positions are in it)
        return array, self._end(array, position, result.state, result.exit_status())

    def _end(self, array: Array, position: int, state: TaskState, exit_status: int) -> tuple[Change, ...]:
        changes: tuple[Change, ...] = (Ended(position, state, exit_status),)
        array.now.apply(changes[0])
        array.changed = True
        if array.now.is_over and not array.record.finished:
            changes = (*changes, self._over(array))
        self.awake[array.id] = array
        return changes

    def stop_failing(self, array: Array) -> None:
        """Cancel what is left of an array if too much of it has failed."""
        if array.now.fails_too_often and not array.record.cancel and not array.record.finished:
            failed, most = array.record.counts.failed, array.record.spec.max_fails
            self.stop(array, f"{failed} of its tasks failed, more than {most}")

    def lose(self, array: Array, position: int, why: str) -> None:
        """A task of an array is nowhere to be found: it is over, and nobody knows how."""
        self._state.note("array_task_lost", Level.ERROR, array=array.id, position=position, why=why)
        changes = self._end(array, position, TaskState.LOST, 125)
        self._state.ledger.write(Lane.RESULTS, array.path, (), folded=(array, changes))

    def stop(self, array: Array, why: str, releases: tuple[Action, ...] = ()) -> None:
        """Make no more tasks, and cancel those that live; what was not made counts as cancelled."""
        self._state.counters["arrays_cancelled"] += 1
        self._state.holds.forget(array)
        self.change(array, (Stopped(why),), (), releases)
        array.unmarked.update(task_id for task_id, task in array.live.items() if not task.cancel)
        self.awake[array.id] = array
        self.finish_if_over(array)

    def close(self, array: Array, why: str) -> None:
        """No more inputs come."""
        self.change(array, (Grown(array.record.total, whole=True, why=why),))
        self.finish_if_over(array)

    def skip(self, array: Array, strides: tuple[Stride, ...], releases: tuple[Action, ...]) -> bool:
        """Cancel indexes that are not made yet; returns False where there are too many ranges of them."""
        skips = _joined((*array.record.skips, *strides))
        if len(skips) > SKIPS_MAX:
            return False
        if skips != array.record.skips:
            self.change(array, (Skipped(skips),), (), releases)
        elif releases:  # said again
            self._state.ledger.say(*releases)
        return True

    def finish_if_over(self, array: Array) -> None:
        """Write that an array has ended, if nothing of it is left; not before all that it is is written."""
        if array.now.is_over and not array.record.finished and not array.opening:
            change = self._over(array)
            self._state.ledger.write(Lane.RESULTS, array.path, (), folded=(array, (change,)))

    def _over(self, array: Array) -> Over:
        change = Over(self._state.now())
        array.now.apply(change)
        self._leave_going(array)
        self.finished[array.id] = array
        self.ended.append(array)
        self._state.counters["arrays_finished"] += 1
        counts = array.record.counts
        self._state.note(
            "array_finished",
            array=array.id,
            state=array.state.value,
            user=array.user,
            succeeded=counts.succeeded,
            failed=counts.failed,
            cancelled=counts.cancelled,
        )
        return change

    # --- its start ------------------------------------------------------------------------------------------

    def note_met(self, array: Array, met: tuple[int, ...]) -> None:
        """Some of what an array waits for came true: written down, for it may be forgotten."""
        self.change(array, (Kept(met, kept=True),))

    def free(self, array: Array) -> None:
        """Nothing keeps an array back any more: its tasks are made."""
        self._state.holds.unwatch(array)
        self.change(array, (Kept(array.met, kept=False),))
        self.awake[array.id] = array
        self.finish_if_over(array)

    # --- followers ------------------------------------------------------------------------------------------

    def tell(self, array: Array, peer: bytes) -> None:
        """Tell a follower how an array is."""
        follower = array.followers[peer]
        follower.told, follower.dirty = self._state.at, False
        self._state.tell(peer, ArrayMoved(array=self.line(array)))

    def is_held_up(self, array: Array) -> bool:
        """Tell whether a follower has so many results to acknowledge that no more should come."""
        for peer, follower in array.followers.items():
            client = self._state.clients.get(peer) if follower.results else None
            if client is not None and len(client.unacknowledged) > UNACKNOWLEDGED_MAX:
                return True
        return False

    # --- what others ask ------------------------------------------------------------------------------------

    def line(self, array: Array) -> ArrayLine:
        """Return an array as lists and its followers see it."""
        waits = array.state is TaskState.HELD or not (array.running or array.state.terminal)
        return array.line(self.why_kept(array) if waits else "")

    def hold(self, array: Array, by: str) -> None:
        """Keep what is left of an array from being made; a second wish changes nothing."""
        if not array.record.held_by:
            self.change(array, (Held(by),))

    def release(self, array: Array) -> None:
        """Nobody holds an array any more; whatever else it waits for, it goes on waiting for."""
        record = array.record
        if not record.held_by and (record.released or not record.kept):
            return
        self.change(array, (Held(""),))
        if array.record.kept:
            self._state.holds.woken[array.id] = None
        else:
            self.awake[array.id] = array

    def is_to_come(self, name: str) -> bool:
        """Tell whether an id is that of a task of an array which is not made yet, and may be."""
        array = self.of(name)
        position = array.position(name) if array is not None else None
        if array is None or position is None or array.record.cancel:
            return False
        skips, cursor = array.record.skips, array.record.cursor
        return position >= cursor and not is_skipped(skips, array.places.index_at(position))

    def states(self) -> Counter[str]:
        """Count the arrays: how many go on, how many are finished."""
        return +Counter({"arrays": len(self.going), "arrays_done": len(self.finished)})

    # --- somebody else changed nodes ------------------------------------------------------------------------

    def on_failure(self, group: Group) -> None:
        """A group that changed an array was refused: take its ends back, and look at the array's nodes."""
        array = group.folded
        if not isinstance(array, Array):
            return
        for change in reversed(group.changes):
            array.now.undo(change)
        if not array.record.finished and array.id in self.finished:
            del self.finished[array.id]
            self.going[array.id] = array
            self._state.table.files.add(array.record.spec.task.luggage)
            self._state.holds.know(array)
        if array.id in self.by_id:
            array.broken = "its own nodes cannot be written" if group.key == array.path else "look"
            self.doubted.append(array)

    def readopt(self, task: Task) -> None:
        """A task whose nodes were read again lives."""
        array = self.of(task.id) if task.array else None
        position = array.position(task.id) if array is not None else None
        if array is not None and position is not None and _may_end(array, position):
            array.take(task)

    def on_vanished(self, task_id: str, result: Result | None, why: str) -> None:
        """A task whose nodes were read again is over, as somebody else has written, or gone."""
        array = self.of(task_id)
        position = array.position(task_id) if array is not None else None
        if array is None or position is None or not _may_end(array, position):
            return
        array.drop(task_id)
        if result is None:
            self.lose(array, position, why)
            return
        changes = self._end(array, position, result.state, result.exit_status())
        self._state.ledger.write(Lane.RESULTS, array.path, (), folded=(array, changes))


def is_skipped(skips: tuple[Stride, ...], index: int) -> bool:
    """Tell whether an index is one of those that were cancelled before they were made."""
    return any(each.first <= index <= each.last and (index - each.first) % each.step == 0 for each in skips)


def _no_reason(_array: Array) -> str:
    return ""


def _may_end(array: Array, position: int) -> bool:
    """Tell whether a position was made a task that has not ended, as far as the array says."""
    record = array.record
    if record.finished or position >= record.cursor or position // limits.ARRAY_CHUNK in array.whole_chunks:
        return False
    return array.now.state(position) is None


def _joined(strides: tuple[Stride, ...]) -> tuple[Stride, ...]:
    """Join ranges without gaps that meet; the others stay as they are."""
    joined = [each for each in dict.fromkeys(strides) if each.step != 1]
    rows = sorted((each for each in strides if each.step == 1), key=lambda each: each.first)
    last: Stride | None = None
    for each in rows:
        if last is not None and each.first <= last.last + 1:
            last = Stride(last.first, max(last.last, each.last))
            joined[-1] = last
        else:
            last = each
            joined.append(last)
    return tuple(joined)
