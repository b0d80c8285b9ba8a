"""How long finished arrays stay in the table, and how they leave it: some nodes at a time, the record last.

Also looks at the nodes of arrays that somebody else may have changed, after a write to one was refused.
"""

from __future__ import annotations

from typing import Final

from alb_broker.core.array import Array
from alb_broker.core.ledger import Lane
from alb_broker.core.state import State
from alb_core import limits, zk
from alb_core.messages import Rejected
from alb_core.notes import Level

REMOVALS_MAX: Final = 1000
#: Nodes of one tick.
DELETES_MAX: Final = 100
#: Nodes of one group.
INPUTS_KEPT_BYTES: Final = limits.ARRAYS_INPUTS_BYTES_MAX // 2
#: Finished arrays with more inputs together go before their time.


class ArrayRetention:
    """Removes finished arrays, and those whose nodes somebody else removed.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._doubts: Final[dict[int, tuple[Array, tuple[str, ...]]]] = {}  #: Reads under way, by token.

    def tick(self) -> None:
        """Remove what may go, a bounded number of nodes; look at what is in doubt."""
        self._look()
        arrays = self._state.arrays
        budget = REMOVALS_MAX
        size = sum(array.inputs.size_bytes for array in arrays.finished.values())
        surplus = len(arrays.finished) - limits.ARRAYS_KEPT_MAX
        for array in list(arrays.finished.values()):
            if budget <= 0:
                break
            crowded = surplus > 0 or size > INPUTS_KEPT_BYTES
            if array.leaving or self._may_go(array, crowded=crowded):
                size -= array.inputs.size_bytes
                surplus -= 1
                budget -= self._remove_some(array, budget)

    def _may_go(self, array: Array, *, crowded: bool) -> bool:
        state = self._state
        config, finished = state.config, array.record.finished
        now = state.now()
        held_long = now - max(finished, state.clock.claimed) >= config.holding_s
        heard = array.acknowledged and not array.followers
        due = crowded or now - finished >= config.done_kept_s
        return due and (heard or held_long) and not state.ledger.holds(array.path)

    def _remove_some(self, array: Array, most: int) -> int:
        """Delete some of an array's nodes; with the last of them it is forgotten."""
        array.leaving = True
        state = self._state
        paths = array.nodes_below()
        chosen = paths[:most]
        for path in chosen:
            array.forget_node(path)
        whole = len(chosen) == len(paths)
        if whole:
            chosen = [*chosen, array.path]
            state.arrays.forget(array)
            state.counters["arrays_removed"] += 1
        for begin in range(0, len(chosen), DELETES_MAX):
            group = chosen[begin : begin + DELETES_MAX]
            state.ledger.write(Lane.RETENTION, array.path, tuple(zk.Delete(path) for path in group))
        return len(chosen)

    # --- doubts ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read the nodes of arrays to which a write was refused."""
        state = self._state
        doubted = list(dict.fromkeys(array for array in state.arrays.doubted if array.broken))
        state.arrays.doubted.clear()
        for array in doubted:
            token = state.tokens.next()
            paths = tuple(array.nodes())
            self._doubts[token] = (array, paths)
            state.request(zk.ReadNodes(token=token, paths=paths, sync=True))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take nodes that were looked at; returns whether they were asked here."""
        doubt = self._doubts.pop(event.token, None)
        if doubt is None:
            return False
        array, paths = doubt
        state = self._state
        if event.nodes is None:
            state.arrays.doubted.append(array)
            return True
        missing = [path for path, node in zip(paths, event.nodes, strict=True) if node is None]
        if not missing and array.broken == "look":
            array.broken = ""
            state.arrays.awake[array.id] = array
            state.arrays.finish_if_over(array)
            return True
        why = f"{missing[0]} was deleted by somebody else" if missing else array.broken
        state.note("array_set_aside", Level.ERROR, array=array.id, why=why)
        if array.path not in missing:
            state.set_aside(array.path, f"{why}; its tasks in the table go on, no more are made")
        for peer in array.followers:
            state.tell(peer, Rejected(id=array.id, code="error", why=why))
        state.arrays.forget(array)
        return True
