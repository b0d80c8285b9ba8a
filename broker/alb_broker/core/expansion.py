"""The expansion of arrays: tasks are made in a window, and those of a cancelled array are cancelled.

A step is one group: the creates of some tasks and the array's cursor. It is small enough to share a batch
with others, and each array takes one step in turn, so that no array holds up another one.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from alb_broker.core.array import Array, window_of
from alb_broker.core.array_progress import Expanded
from alb_broker.core.arrays import is_skipped
from alb_broker.core.book import Book
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_core import zk, znodes
from alb_core.notes import Level

STEP_TASKS: Final = 100
STEP_BYTES: Final = 128 * 1024
#: Of one step: several fit into a batch beside everything else.
STEP_POSITIONS: Final = 2000
#: Looked at in one step, where many were cancelled.
STEPS_MAX: Final = 10
#: Of one turn: its writes are two batches.
CANCELS_MAX: Final = 500
#: Tasks of cancelled arrays that are cancelled in one turn.


class Expansion:
    """Makes the tasks of arrays.

    Args:
        state: The reign's parts.
        book: Carries out what becomes of tasks.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._reads: Final[dict[int, tuple[str, int]]] = {}  #: Array and node, by token.
        self._unread: Final[set[str]] = set()  #: Arrays with reads that got no answer.

    def end_turn(self) -> None:
        """Let each array that may go on take a step, and cancel what is to be cancelled."""
        awake = self._state.arrays.awake
        cancels = CANCELS_MAX
        for array in list(islice(awake.values(), STEPS_MAX)):
            del awake[array.id]
            if array.record.cancel:
                cancels -= self._cancel_some(array, cancels)
            if self._step(array) or array.unmarked:
                awake[array.id] = array  # behind the others

    def tick(self) -> None:
        """Ask again for what got no answer."""
        for array_id in sorted(self._unread):
            array = self._state.arrays.get(array_id)
            if array is not None:
                self._state.arrays.awake[array_id] = array
        self._unread.clear()

    def _cancel_some(self, array: Array, most: int) -> int:
        chosen = sorted(array.unmarked)[: max(0, most)]
        for task_id in chosen:
            array.unmarked.discard(task_id)
            task = array.live.get(task_id)
            if task is not None:
                self._book.cancel(task, b"", self._state.at)
        return len(chosen)

    def _step(self, array: Array) -> bool:
        """Make some tasks; returns whether there may be more to make now."""
        room, size = self._room(array)
        if not room:
            return False
        record, stamp = array.record, self._state.stamp
        made: list[Task] = []
        skipped: list[int] = []
        position = record.cursor
        last = min(record.total, position + STEP_POSITIONS)
        size = min(size, STEP_BYTES)
        while position < last and len(made) < room and size > 0:
            if record.skips and is_skipped(record.skips, array.places.index_at(position)):
                skipped.append(position)
            else:
                task = array.child(position, stamp())
                if task is None:
                    self._read(array, position)
                    break
                made.append(task)
                size -= task.size_bytes
            position += 1
        if position == record.cursor:
            return False
        self._book.make(array, made, Expanded(position, tuple(skipped)))
        written = array.written.record.total
        array.inputs.drop_before(position, written=written, growing=not record.whole)
        for task in made if array.expected else ():
            self._meet_expected(array, task)
        self._state.arrays.finish_if_over(array)
        return position < array.record.total

    def _room(self, array: Array) -> tuple[int, int]:
        """Return how many tasks may be made now, and how many bytes of them."""
        record = array.record
        blocked = record.cancel or record.finished or array.opening or array.broken
        blocked = blocked or record.held_by or record.kept
        left = record.total - record.cursor
        if blocked or not array.in_table or not left or self._state.arrays.is_held_up(array):
            return 0, 0
        most, size = window_of(array, len(self._state.arrays.going))
        room = min(most - len(array.live), STEP_TASKS)
        # A step for each task would be a group for each; but who bounds them himself wants each at once.
        if room < min(STEP_TASKS, most // 2, left) and not record.spec.at_once:
            return 0, 0
        return max(0, room), max(0, size - array.live_bytes)

    def _meet_expected(self, array: Array, task: Task) -> None:
        """Somebody waited for this task before it was made."""
        position = array.position(task.id)
        for peer, watcher in array.expected.pop(position, {}).items() if position is not None else ():
            client = self._state.clients.get(peer)
            if client is not None:
                self._state.clients.watch(client, task, watcher)

    # --- inputs ---------------------------------------------------------------------------------------------

    def _read(self, array: Array, position: int) -> None:
        """Ask for the inputs at a position, and for those after them, where they are not in memory.

        What is may not be in the table yet: to ask for it would find nothing there.
        """
        inputs = array.inputs
        nodes = inputs.nodes_between(position, array.record.total)[:2]
        if not nodes:
            self._give_up(array, position)
        for first in nodes:
            if first not in inputs.asked and not inputs.has(first):
                inputs.asked.add(first)
                token = self._state.tokens.next()
                self._reads[token] = (array.id, first)
                path = znodes.inputs_path(array.id, first)
                self._state.request(zk.ReadNodes(token=token, paths=(path,), stats=False))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take inputs that were read; returns whether they were asked here."""
        asked = self._reads.pop(event.token, None)
        if asked is None:
            return False
        array_id, first = asked
        array = self._state.arrays.get(array_id)
        if array is None:
            return True
        array.inputs.asked.discard(first)
        if event.nodes is None:
            self._unread.add(array_id)
            return True
        self._state.arrays.awake[array_id] = array
        node = event.nodes[0]
        try:
            lines = znodes.decode_inputs(node.path, node.data) if node is not None else None
        except znodes.UnreadableNode as error:
            self._state.set_aside(error.path, error.why)
            lines = None
        if lines is None:
            self._give_up(array, first)
        else:
            array.inputs.load(first, lines)
        return True

    def _give_up(self, array: Array, position: int) -> None:
        """Somebody deleted inputs: what is left can never be made."""
        self._state.note("array_inputs_lost", Level.ERROR, array=array.id, first=position)
        why = f"its inputs from position {position} on are not in the table any more"
        self._state.arrays.stop(array, why)
