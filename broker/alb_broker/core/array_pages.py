"""Answers about arrays: lists of them, and how their positions ended.

What is over lies in ZooKeeper only, chunk by chunk: a page about it is answered once its nodes were read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from alb_broker.core.array import Array
from alb_broker.core.array_progress import UNRUN_STATUS, Ends
from alb_broker.core.arrays import is_skipped
from alb_broker.core.clients import Client
from alb_broker.core.state import State
from alb_core import limits, zk, znodes
from alb_core.arrays import Stretch
from alb_core.messages import ArrayPage, ArraysPage, Error, Message, QueryArray, QueryArrays
from alb_core.tasks import TaskState

LIST_MAX: Final = 500
#: Arrays of one page.
PAGE_CHUNKS: Final = 10
INPUT_NODES: Final = 8
#: Of one page: at most 1 MiB of inputs.
READS_MAX: Final = 1000
#: Questions that wait for nodes; beyond, clients are told to ask again.
RECALLED_MAX: Final = 64
#: Chunks that `ArrayPages.look_up` keeps.
_GONE: Final = "the table does not, or no longer, hold this array"


class _Question(msgspec.Struct):
    """A question that waits for nodes."""

    peer: bytes
    query: QueryArray
    paths: tuple[str, ...]


class ArrayPages:
    """Answers what clients ask about arrays.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._reads: Final[dict[int, _Question]] = {}  #: By token.
        self._unread: Final[list[_Question]] = []  #: Reads that got no answer.
        self._looks: Final[dict[int, tuple[str, int]]] = {}  #: Chunks that are being looked up, by token.
        self._recalled: Final[dict[tuple[str, int], Ends]] = {}  #: Looked-up chunks, the newest last.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {QueryArrays: self._on_arrays, QueryArray: self._on_array}

    def tick(self) -> None:
        """Ask again for what got no answer."""
        unread = self._unread.copy()
        self._unread.clear()
        for question in unread:
            self._read(question)

    # --- lists ----------------------------------------------------------------------------------------------

    def _on_arrays(self, client: Client, query: QueryArrays) -> None:
        arrays = self._state.arrays
        ids = sorted(
            array.id
            for array in arrays
            if array.id.startswith(query.prefix) and (not query.user or array.user == query.user)
        )
        begin = bisect_right(ids, query.cursor)
        shown = ids[begin : begin + LIST_MAX]
        more = begin + LIST_MAX < len(ids)
        lines = tuple(arrays.line(arrays.by_id[array_id]) for array_id in shown)
        page = ArraysPage(seq=query.seq, arrays=lines, cursor=shown[-1] if more else "")
        self._state.tell(client.peer, page)

    # --- one array ------------------------------------------------------------------------------------------

    def _on_array(self, client: Client, query: QueryArray) -> None:
        array = self._state.arrays.get(query.id)
        if array is None:
            aside = self._state.why_aside(query.id)
            self._refuse(client.peer, query, "error" if aside else "gone", aside or _GONE)
            return
        paths = self._missing(array, query)
        if not paths:
            self._answer(client.peer, array, query, {})
        elif len(self._reads) + len(self._unread) >= READS_MAX:
            why = "too many questions about arrays are under way; ask again in a moment"
            self._refuse(client.peer, query, "error", why)
        else:
            self._read(_Question(client.peer, query, paths))

    def _refuse(self, peer: bytes, query: QueryArray, code: str, why: str) -> None:
        self._state.tell(peer, Error(code=code, why=why, seq=query.seq))

    def _read(self, question: _Question) -> None:
        token = self._state.tokens.next()
        self._reads[token] = question
        self._state.request(zk.ReadNodes(token=token, paths=question.paths, stats=False))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take nodes that were read; returns whether they were asked here."""
        look = self._looks.pop(event.token, None)
        if look is not None:
            self._recall(look, event)
            return True
        question = self._reads.pop(event.token, None)
        if question is None:
            return False
        if event.nodes is None:
            self._unread.append(question)
            return True
        array = self._state.arrays.get(question.query.id)
        if array is None:
            self._refuse(question.peer, question.query, "gone", _GONE)
            return True
        found = dict(zip(question.paths, event.nodes, strict=True))
        missing = [path for path in self._missing(array, question.query) if path not in found]
        if missing:  # meanwhile the table went on
            self._read(_Question(question.peer, question.query, (*question.paths, *missing)))
        else:
            self._answer(question.peer, array, question.query, found)
        return True

    def _missing(self, array: Array, query: QueryArray) -> tuple[str, ...]:
        """Return the nodes that an answer needs and that are not in memory."""
        until = self._until(array, query)
        begin = max(0, query.after)
        made = min(until, array.record.cursor)
        chunks = range(begin // limits.ARRAY_CHUNK, -(-made // limits.ARRAY_CHUNK)) if begin < made else ()
        paths = [znodes.ends_path(array.id, chunk) for chunk in chunks if self._lies_in_table(array, chunk)]
        if query.inputs:
            paths += [
                znodes.inputs_path(array.id, first)
                for first in array.inputs.nodes_between(begin, until)
                if array.inputs.at(max(first, begin)) is None
            ]
        return tuple(paths)

    @staticmethod
    def _lies_in_table(array: Array, chunk: int) -> bool:
        return chunk not in array.now.ends and array.in_table

    def _until(self, array: Array, query: QueryArray) -> int:
        """Return where a page ends."""
        begin = max(0, query.after)
        until = (begin // limits.ARRAY_CHUNK + PAGE_CHUNKS) * limits.ARRAY_CHUNK
        if query.inputs:
            nodes = array.inputs.nodes_between(begin, until)
            if len(nodes) > INPUT_NODES:
                until = nodes[INPUT_NODES]
        return max(begin, min(until, array.record.total))

    def _answer(
        self, peer: bytes, array: Array, query: QueryArray, found: dict[str, zk.NodeRead | None]
    ) -> None:
        until = self._until(array, query)
        begin = min(max(0, query.after), until)
        try:
            stretches = tuple(_clipped(self._stretches(array, begin, until, found), begin, until))
            inputs = self._inputs(array, begin, until, found) if query.inputs else ()
        except znodes.UnreadableNode as error:
            self._refuse(peer, query, "error", str(error))
            return
        page = ArrayPage(
            seq=query.seq,
            array=self._state.arrays.line(array),
            spec=msgspec.Raw(array.wire),
            stretches=stretches,
            inputs=inputs,
            until=until,
        )
        self._state.tell(peer, page)

    def _stretches(
        self, array: Array, begin: int, until: int, found: dict[str, zk.NodeRead | None]
    ) -> Iterator[Stretch]:
        """Yield what ended of the chunks of a page, then what was cancelled before it was made."""
        cursor = array.record.cursor
        for chunk in range(begin // limits.ARRAY_CHUNK, -(-min(until, cursor) // limits.ARRAY_CHUNK)):
            ends = array.now.ends.get(chunk)
            path = znodes.ends_path(array.id, chunk)
            node = found.get(path)
            if ends is not None:
                yield from ends.stretches(chunk)
            elif node is not None:
                yield from znodes.decode_ends(path, node.data)
        rest = max(begin, cursor)
        if array.record.cancel and rest < until:
            yield Stretch(rest, until - rest, TaskState.CANCELLED, UNRUN_STATUS)
        elif array.record.skips:
            for position in range(rest, until):
                if is_skipped(array.record.skips, array.places.index_at(position)):
                    yield Stretch(position, 1, TaskState.CANCELLED, UNRUN_STATUS)

    def _inputs(
        self, array: Array, begin: int, until: int, found: dict[str, zk.NodeRead | None]
    ) -> tuple[str, ...]:
        lines: list[str] = []
        if not array.inputs:
            return ()
        position = begin
        while position < until and array.inputs:
            line = array.inputs.at(position)
            if line is not None:
                lines.append(line)
                position += 1
                continue
            first = array.inputs.node_of(position)
            path = znodes.inputs_path(array.id, first)
            node = found.get(path)
            read = znodes.decode_inputs(path, node.data) if node is not None else []
            fresh = read[position - first : until - first]
            if not fresh:
                break  # an array without inputs, or they were deleted: the page tells what is there
            lines += fresh
            position += len(fresh)
        return tuple(lines)

    # --- single positions -----------------------------------------------------------------------------------

    def look_up(self, task_id: str) -> TaskState | None:
        """Return how a task of an array ended, from its chunk; None: that is being read now, ask again.

        LOST: somebody deleted the chunk, or nobody can read it.
        """
        array = self._state.arrays.of(task_id)
        position = array.position(task_id) if array is not None else None
        if array is None or position is None:
            return None
        chunk = (array.id, position // limits.ARRAY_CHUNK)
        ends = self._recalled.get(chunk)
        if ends is not None:
            return ends.state(position % limits.ARRAY_CHUNK) or TaskState.LOST
        if chunk not in self._looks.values():
            token = self._state.tokens.next()
            self._looks[token] = chunk
            self._state.request(zk.ReadNodes(token=token, paths=(znodes.ends_path(*chunk),), stats=False))
        return None

    def _recall(self, look: tuple[str, int], event: zk.NodesRead) -> None:
        if event.nodes is None:
            return
        node, ends = event.nodes[0], Ends()
        try:
            if node is not None:
                ends.take(znodes.decode_ends(node.path, node.data), look[1])
        except znodes.UnreadableNode as error:
            self._state.set_aside(error.path, error.why)
        self._recalled[look] = ends
        while len(self._recalled) > RECALLED_MAX:
            del self._recalled[next(iter(self._recalled))]


def _clipped(stretches: Iterator[Stretch], begin: int, until: int) -> Iterator[Stretch]:
    """Yield the parts of stretches that lie in a range; neighbours that ended alike are joined."""
    last: Stretch | None = None
    for each in stretches:
        first, end = max(each.first, begin), min(each.first + each.count, until)
        if first >= end:
            continue
        alike = last is not None and (last.state, last.exit_status) == (each.state, each.exit_status)
        if last is not None and alike and last.first + last.count == first:
            last = Stretch(last.first, end - last.first, last.state, last.exit_status)
            continue
        if last is not None:
            yield last
        last = Stretch(first, end - first, each.state, each.exit_status)
    if last is not None:
        yield last
