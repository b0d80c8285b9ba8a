"""Invariants of arrays: transactions are held against what was there before, words against the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.ensemble import WALL_ZERO_S
from tests.simulation.violations import Told, demand

from alb_core import ids, limits, messages, zk, znodes
from alb_core.arrays import ArrayRecord, Counts, child_id, index_at, position_of
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from tests.simulation.array_users import ArrayJob, ArrayUser
    from tests.simulation.cluster import Cluster

    from alb_broker.core.reign import Reign

SLACK_S: Final = 0.1


class _Seen:
    """What was seen of one array."""

    def __init__(self, record: ArrayRecord) -> None:
        self.record = record
        self.chunks: dict[str, dict[int, tuple[TaskState, int]]] = {}  #: By node.
        self.made: set[int] = set()
        self.finished_at = 0.0

    @property
    def ends(self) -> dict[int, tuple[TaskState, int]]:
        """How positions ended."""
        return {position: end for chunk in self.chunks.values() for position, end in chunk.items()}


class ArrayChecks:
    """Watches all arrays.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.seen: dict[str, _Seen] = {}
        self.removed: dict[str, _Seen] = {}
        self._inputs: dict[str, dict[str, int]] = {}  #: How many inputs lie in each node of an array.
        self.counts = {"arrays": 0, "array tasks": 0}

    # --- the table ------------------------------------------------------------------------------------------

    def on_applied(self, writes: Mapping[str, zk.Operation]) -> None:
        """A transaction was applied, and the tasks in it were checked."""
        touched: dict[str, None] = {}
        for path in writes:
            if path.startswith(znodes.ARRAYS + "/"):
                touched[path.split("/")[2]] = None
            elif path.startswith((znodes.TASKS + "/", znodes.DONE + "/")):
                array_id = ids.array_of(path.rpartition("/")[2])
                if array_id:
                    touched[array_id] = None
        for array_id in touched:
            self._on_array(array_id, writes)

    def _on_array(self, array_id: str, writes: Mapping[str, zk.Operation]) -> None:
        own = writes.get(znodes.array_path(array_id))
        before = self.seen.get(array_id)
        if isinstance(own, zk.Delete):
            self._on_removed(array_id)
            return
        if before is None:
            if array_id in self.removed:  # its last tasks leave after it
                return
            demand(isinstance(own, zk.Create), "an_array_comes_before_its_tasks", array_id)
            assert isinstance(own, zk.Create)
            record = znodes.decode_array(own.path, own.data)
            before = self.seen[array_id] = _Seen(record)
            self.counts["arrays"] += 1
            earlier = ArrayRecord(
                **{name: getattr(record, name) for name in ("id", "user", "digest", "spec", "submitted")},
                total=0,
                whole=False,
            )
        else:
            earlier = before.record
        if own is not None and not isinstance(own, zk.Check):
            before.record = znodes.decode_array(own.path, own.data)
        ended_before = before.ends
        for path, write in writes.items():
            if path.startswith(znodes.array_path(array_id) + "/"):
                self._on_node(array_id, before, path, write)
        self._check(array_id, earlier, before, ended_before, writes)

    def _on_node(self, array_id: str, seen: _Seen, path: str, write: zk.Operation) -> None:
        name = path.rpartition("/")[2]
        if isinstance(write, zk.Delete):
            demand(seen.record.finished, "an_array_keeps_its_nodes", f"{path} was deleted before its end")
            return
        assert isinstance(write, zk.Create | zk.SetData)
        if name.startswith(znodes.INPUTS):
            counts = self._inputs.setdefault(array_id, {})
            counts[name] = len(znodes.decode_inputs(path, write.data))
            return
        chunk: dict[int, tuple[TaskState, int]] = {}
        for stretch in znodes.decode_ends(path, write.data):
            for position in range(stretch.first, stretch.first + stretch.count):
                chunk[position] = (stretch.state, stretch.exit_status)
        seen.chunks[name] = chunk

    def _check(
        self,
        array_id: str,
        earlier: ArrayRecord,
        seen: _Seen,
        ended_before: Mapping[int, tuple[TaskState, int]],
        writes: Mapping[str, zk.Operation],
    ) -> None:
        record, ends = seen.record, seen.ends
        name = Told("{}: {} became {}", array_id, earlier, record)
        same = (earlier.user, earlier.digest, earlier.submitted) == (
            record.user,
            record.digest,
            record.submitted,
        )
        demand(same and record.total >= earlier.total, "an_array_keeps_its_identity", "{}", name)
        demand(record.cursor >= earlier.cursor, "no_index_is_skipped", "{}", name)
        if earlier.finished:
            demand(record.finished == earlier.finished, "an_array_finishes_once", "{}", name)
        if earlier.kept and not record.kept and not record.cancel:
            self._cluster.invariants.table.starts.on_array_started(record)
        demand("not in the table" not in record.why, "no_input_is_lost", "{}", name)
        early = record.kept and record.cursor > 0
        demand(not early, "no_task_is_made_before_its_array_starts", "{}", name)
        for position, end in ended_before.items():
            demand(ends.get(position) == end, "an_end_stays", f"{array_id} position {position}: {end}")
        self._check_tasks(array_id, earlier, seen, ended_before, writes)
        counts = Counts()
        for state, _ in ends.values():
            counts = counts.plus(state)
        if record.cancel:
            counts = counts.plus(TaskState.CANCELLED, record.total - record.cursor)
        demand(counts == record.counts, "counts_are_ends", "{}, its ends say {}", name, counts)
        if record.finished:
            over = record.whole and counts.over == record.total
            demand(over, "an_array_finishes_once", "{} too early", name)
            seen.finished_at = record.finished - WALL_ZERO_S  # as recorded: its commit may have taken long
        if array_id in self._inputs:
            kept = sum(self._inputs[array_id].values())
            demand(record.total <= kept, "inputs_are_kept_before_they_count", "{}: {} are there", name, kept)

    def _check_tasks(
        self,
        array_id: str,
        earlier: ArrayRecord,
        seen: _Seen,
        ended_before: Mapping[int, tuple[TaskState, int]],
        writes: Mapping[str, zk.Operation],
    ) -> None:
        """What is made lies between the cursors, nothing twice, nothing left out; what ends is marked."""
        table, record, ends = self._cluster.invariants.table, seen.record, seen.ends
        touched = {path.rpartition("/")[2] for path in writes if path.startswith(("/tasks/", "/done/"))}
        for task_id in sorted(each for each in touched if ids.array_of(each) == array_id):
            position = position_of(record.spec.strides, int(task_id.rpartition(".")[2]))
            known = table.known(task_id)
            if known is None:
                continue
            assert position is not None
            if position not in seen.made:
                within = earlier.cursor <= position < record.cursor
                demand(within, "an_index_is_made_once", f"{task_id} at {position}: {earlier.cursor}")
                seen.made.add(position)
                early = known.submitted < record.not_before - SLACK_S
                demand(not early, "no_task_is_made_before_its_array_starts", "{}: {}", task_id, known)
                self.counts["array tasks"] += 1
            result = known.result
            end = (result.state, result.exit_status()) if result is not None else None
            demand(ends.get(position) == end, "counts_are_ends", f"{task_id} has {end}: {ends.get(position)}")
        for position in range(earlier.cursor, record.cursor):
            skipped = ends.get(position, (None, 0))[0] is TaskState.CANCELLED
            demand(position in seen.made or skipped, "no_index_is_skipped", f"{array_id}: {position}")
        for position in ends.keys() - ended_before.keys():
            demand(position < record.cursor, "counts_are_ends", f"{array_id}: {position} was not made")
            known = table.known(child_id(array_id, index_at(record.spec.strides, position)))
            over = known is not None and known.result is not None
            fits = over or position not in seen.made
            demand(fits, "counts_are_ends", "{}: {}: {}", array_id, position, known)
        living = len(seen.made) - sum(position in seen.made for position in ends)
        window = min(limits.ARRAY_WINDOW, record.spec.at_once or limits.ARRAY_WINDOW)
        demand(living <= window, "an_array_keeps_its_window", f"{array_id}: {living} live, {window} may")

    def _on_removed(self, array_id: str) -> None:
        seen = self.seen.pop(array_id)
        self.removed[array_id] = seen
        since = max(seen.finished_at, self._cluster.invariants.table.claimed_at)
        held = self._cluster.timeline.now - since >= self._cluster.knobs.holding_s - SLACK_S
        acknowledged = array_id in self._cluster.invariants.clients.acknowledged
        demand(
            seen.record.finished and (acknowledged or held),
            "no_result_is_forgotten_before_its_acknowledgement",
            f"{array_id} was removed: {seen.record}",
        )

    def on_read(self, reign: Reign, paths: tuple[str, ...]) -> None:
        """A leader reads nodes."""
        for path in paths:
            place, _, name = path.rpartition("/")
            if not name.startswith(znodes.INPUTS):
                continue
            array = reign.state.arrays.get(place.rpartition("/")[2])
            kept = array is not None and int(name.rpartition("-")[2]) in array.inputs._loaded
            demand(not kept, "inputs_at_hand_are_not_read", "{}", path)

    # --- what is said ---------------------------------------------------------------------------------------

    def known(self, array_id: str) -> _Seen | None:
        """Return what was seen of an array, in the table or before it left."""
        return self.seen.get(array_id) or self.removed.get(array_id)

    def end_of_unmade(self, task_id: str) -> TaskState | None:
        """Return how a task of an array ended that never was one; None: it has not, or there is none."""
        seen = self.known(ids.array_of(task_id))
        if seen is None:
            return None
        index = int(task_id.rpartition(".")[2])
        position = position_of(seen.record.spec.strides, index)
        skipped = any(index in range(each.first, each.last + 1, each.step) for each in seen.record.skips)
        unmade = position is not None and position not in seen.made
        return TaskState.CANCELLED if unmade and (seen.record.cancel or skipped) else None

    def on_said(self, message: Any, name: Told) -> None:
        """A broker says something of an array: it must be in the table."""
        match message:
            case messages.ArrayMoved(array=line) if line.finished:
                seen = self.known(line.id)
                committed = seen is not None and seen.record.finished == line.finished
                record = seen and seen.record
                demand(committed, "an_end_is_said_as_committed", "{}, recorded {}", name, record)
            case messages.InputsKept():
                seen = self.known(message.id)
                kept = seen is not None and seen.record.total >= message.count
                record = seen and seen.record
                demand(kept, "inputs_are_kept_before_they_are_said", "{}, recorded {}", name, record)
            case _:
                pass

    def has_noted(self, array_id: str) -> bool:
        """Tell whether the cancellation of an array is in the table; of parts their tasks tell."""
        seen = self.known(array_id)
        if seen is None:
            return False
        parts = any(user.jobs[array_id].cancel for user in self._cluster.array_users)
        return bool(parts or seen.record.cancel or seen.record.finished)

    def on_told(self, user: ArrayUser, job: ArrayJob, message: messages.Finished) -> None:
        """A user got a result of a task of an array."""
        recorded = self._cluster.invariants.table.results.get(message.id)
        known = job.got.get(message.id, message.result)
        same = recorded == message.result and (known == message.result or known.why == "gone")
        demand(same, "every_reader_gets_the_same_result", f"{user.name}: {message}, recorded {recorded}")

    def on_told_over(self, user: ArrayUser, job: ArrayJob, line: Any) -> None:
        """A user was told that an array has ended."""
        self._cluster.invariants.step(job.id)
        same = job.over in (None, line.state)
        demand(same, "an_array_finishes_once", f"{user.name} was told {line} after {job.over}")
        cancelled = line.state is TaskState.CANCELLED or line.counts.cancelled
        asked = job.cancel is not None or job.id in self._cluster.cancels or job.spec.max_fails is not None
        asked = asked or bool(job.spec.task.start.dependencies)
        demand(asked or not cancelled, "nothing_is_cancelled_unasked", f"{user.name} was told {line}")

    def on_page(self, user: ArrayUser, job: ArrayJob, page: messages.ArrayPage) -> None:
        """A user was told how positions ended: they ended so."""
        seen = self.known(job.id)
        record, ends = (seen.record, seen.ends) if seen is not None else (None, {})
        for stretch in page.stretches:
            for position in range(stretch.first, stretch.first + stretch.count):
                end = ends.get(position)
                unmade = record is not None and position >= record.cursor
                cancelled = end is None and unmade and stretch.state is TaskState.CANCELLED
                same = end == (stretch.state, stretch.exit_status)
                demand(same or cancelled, "a_page_tells_ends", f"{user.name}: {stretch}, {position}: {end}")

    def on_rejected(self, user: ArrayUser, job: ArrayJob, message: messages.Rejected) -> None:
        """A user was refused."""
        name = f"{user.name} was told {message}"
        match message.code:
            case "gone":
                gone = job.id in self.removed or not job.accepted
                demand(gone, "no_accepted_task_is_called_gone", name)
            case "invalid":
                seen = self.known(job.id)
                ended = seen is not None and (seen.record.cancel or seen.record.finished or seen.record.whole)
                demand(ended or seen is None or not job.whole, "failures_have_a_reason", name)
            case _:
                demand(False, "failures_have_a_reason", name)

    # --- the end --------------------------------------------------------------------------------------------

    def missing(self) -> str:
        """Return what is still to come, or nothing."""
        for array_id, seen in self.seen.items():
            if not seen.record.finished and not self._cluster.invariants.table.starts.may_wait(array_id):
                return f"array {array_id} goes on: {seen.record}"
        for user in self._cluster.array_users:
            if user.alive and user.waits_for:
                return f"{user.name} waits for array {user.waits_for}"
        return ""

    def check_rest(self) -> None:
        """When all is quiet: what was not cancelled has run."""
        for array_id, seen in (*self.seen.items(), *self.removed.items()):
            record = seen.record
            if record.cancel or not record.finished:
                continue
            ran = sum(state is not TaskState.CANCELLED for state, _ in seen.ends.values())
            spared = sum(state is TaskState.CANCELLED for state, _ in seen.ends.values())
            demand(ran + spared == record.total, "no_index_is_skipped", f"{array_id}: {ran} of {record}")
