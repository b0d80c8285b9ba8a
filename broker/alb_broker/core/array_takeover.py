"""Taking over arrays: their records, where their inputs lie, and how far those are that go on.

It runs beside the takeover of tasks. When both are complete, the tasks of arrays that are in the table are
given to their arrays; what is below a cursor, has no end, and is not there was deleted by somebody else.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from alb_broker.core.array import Array
from alb_broker.core.array_inputs import Inputs
from alb_broker.core.array_progress import Ends, Progress
from alb_broker.core.doubts import doubt_array
from alb_broker.core.state import State
from alb_core import codec, ids, limits, zk, znodes
from alb_core.arrays import ArrayRecord

READ_CHUNK: Final = 50
#: Nodes of one read: some of them hold specifications of 64 KiB, or a chunk whose tasks ended in all ways.
READS_AHEAD: Final = 8
RETURN_S: Final = 10.0
#: So long results of tasks of arrays stay in any case: their followers need to find the new leader.


class _Found:
    """What was read of an array."""

    def __init__(self, record: ArrayRecord) -> None:
        self.record: Final = record
        self.firsts: list[int] = []  #: Of its nodes of inputs.
        self.ends: Final[dict[int, Ends]] = {}  #: Chunks of an array that goes on.
        self.chunks: list[int] = []  #: All that there are.


class ArrayTakeover:
    """Loads the arrays.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._asked: Final[dict[int, zk.ListChildren | zk.ReadNodes]] = {}  #: By token.
        self._waiting: Final[deque[zk.ListChildren | zk.ReadNodes]] = deque()  #: Not asked yet, or again.
        self._found: Final[dict[str, _Found]] = {}
        self.complete = False  #: All arrays are in memory.
        self._released = False  #: The results of an earlier reign's tasks of arrays may go.

    def start(self) -> None:
        """Ask which arrays there are."""
        self._want(zk.ListChildren(token=0, path=znodes.ARRAYS))

    def _want(self, request: zk.ListChildren | zk.ReadNodes) -> None:
        self._waiting.append(request)
        self._ask_on()

    def _ask_on(self) -> None:
        while self._waiting and len(self._asked) < READS_AHEAD:
            request = self._waiting.popleft()
            token = self._state.tokens.next()
            asked: zk.ListChildren | zk.ReadNodes = (
                zk.ListChildren(token=token, path=request.path)
                if isinstance(request, zk.ListChildren)
                else zk.ReadNodes(token=token, paths=request.paths, stats=False)
            )
            self._asked[token] = asked
            self._state.request(asked)

    def tick(self) -> None:
        """Ask again what got no answer; later let go of results that no follower came back for."""
        if not self.complete:
            self._ask_on()
        elif not self._released:
            self._release_results()

    def _read(self, paths: list[str]) -> None:
        for begin in range(0, len(paths), READ_CHUNK):
            self._want(zk.ReadNodes(token=0, paths=tuple(paths[begin : begin + READ_CHUNK]), stats=False))

    def on_children(self, event: zk.ChildrenListed) -> bool:
        """Take a list; returns whether it was asked here."""
        request = self._asked.pop(event.token, None)
        if not isinstance(request, zk.ListChildren):
            return False
        if request.path == znodes.ARRAYS:
            if event.names is None:
                self._waiting.append(request)  # the tick asks again
            else:
                self._read([znodes.array_path(name) for name in event.names])
        else:
            self._on_nodes_of(request, event.names)
        self._go_on(event.names is not None)
        return True

    def _on_nodes_of(self, request: zk.ListChildren, names: tuple[str, ...] | None) -> None:
        """The nodes below an array are known; if there is no answer, see first whether it is there at all."""
        array_id = request.path.rpartition("/")[2]
        if names is None:
            del self._found[array_id]
            self._waiting.append(zk.ReadNodes(token=0, paths=(request.path,), stats=False))
            return
        found = self._found[array_id]
        found.firsts = sorted(_numbers(names, znodes.INPUTS))
        found.chunks = _numbers(names, znodes.ENDS)
        if not found.record.finished:
            self._read([znodes.ends_path(array_id, chunk) for chunk in found.chunks])

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take records and chunks; returns whether they were asked here."""
        request = self._asked.pop(event.token, None)
        if not isinstance(request, zk.ReadNodes):
            return False
        if event.nodes is None:
            self._waiting.append(request)
        for node in event.nodes or ():
            if node is not None:
                self._take(node)
        self._go_on(event.nodes is not None)
        return True

    def _take(self, node: zk.NodeRead) -> None:
        try:
            if node.path.count("/") == znodes.ARRAYS.count("/") + 1:
                record = znodes.decode_array(node.path, node.data)
                why = doubt_array(record)
                if why:
                    self._state.set_aside(node.path, why)
                    return
                self._found[record.id] = _Found(record)
                self._want(zk.ListChildren(token=0, path=node.path))
                return
            parent, _, name = node.path.rpartition("/")
            chunk = int(name.removeprefix(znodes.ENDS))
            ends = Ends()
            ends.take(znodes.decode_ends(node.path, node.data), chunk)
            self._found[parent.rpartition("/")[2]].ends[chunk] = ends
        except znodes.UnreadableNode as error:
            self._state.set_aside(error.path, error.why)

    def _go_on(self, answered: bool) -> None:  # noqa: FBT001 (one caller's word)
        if answered:
            self._ask_on()
        if not (self._asked or self._waiting) and not self.complete:
            self._complete()

    def _complete(self) -> None:
        for found in sorted(self._found.values(), key=lambda each: (each.record.submitted, each.record.id)):
            record = found.record
            inputs = Inputs(record.id, found.firsts, record.total if found.firsts else 0)
            open_chunks = {chunk: ends for chunk, ends in found.ends.items() if not ends.whole}
            progress = Progress(record, open_chunks)
            array = Array(progress, codec.encode_array(record.spec), inputs, written=True)
            array.fed = self._state.at
            array.whole_chunks.update(set(found.chunks) - open_chunks.keys())
            self._state.arrays.add(array)
        self._found.clear()
        self.complete = True

    # --- when the tasks are there, too ----------------------------------------------------------------------

    def adopt_tasks(self) -> None:
        """Give the live tasks of the table to their arrays, and go on where an earlier leader stopped."""
        state = self._state
        for task in state.table.live.values():
            if task.array:
                state.arrays.readopt(task)
        for array in list(state.arrays.going.values()):
            self._find_missing(array)
            if array.record.cancel:
                array.unmarked.update(name for name, task in array.live.items() if not task.cancel)
            state.arrays.stop_failing(array)
            state.arrays.finish_if_over(array)

    def _find_missing(self, array: Array) -> None:
        """What was made, has no end and does not live was deleted: it is over, else the array never is."""
        record = array.record
        unmade = record.total - record.cursor if record.cancel else 0
        ended = record.counts.over - unmade
        if ended + len(array.live) >= record.cursor:
            return
        living = {array.position(task_id) for task_id in array.live}
        for position in range(record.cursor):
            chunk = position // limits.ARRAY_CHUNK
            known = chunk in array.whole_chunks or position in living
            if not known and array.now.state(position) is None:
                self._state.arrays.lose(array, position, "its node is not in the table")

    def _release_results(self) -> None:
        """Results of an earlier reign go in the order of their ends, but for those asked for since."""
        state = self._state
        if not state.recollected or state.now() - state.clock.claimed < RETURN_S:
            return
        self._released = True
        found = [done for done in state.table.done.values() if ids.array_of(done.id) and done.owed is None]
        for done in sorted(found, key=lambda each: each.finished):
            state.table.let_go(done)


def _numbers(names: tuple[str, ...], prefix: str) -> list[int]:
    """Return the numbers of the nodes with this prefix; names of other people's nodes are passed over."""
    ends = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return [int(end) for end in ends if end.isascii() and end.isdigit()]
