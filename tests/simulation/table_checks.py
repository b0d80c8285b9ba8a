"""Invariants of the committed table: every transaction is held against what was there before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from tests.simulation.bound_checks import BoundChecks
from tests.simulation.commands import script_of
from tests.simulation.copy_checks import CopyChecks
from tests.simulation.start_checks import StartChecks
from tests.simulation.violations import Violation, demand

from alb_broker.core.revocations import PATIENCE_S
from alb_core import ids, limits, zk, znodes
from alb_core.drains import Drain
from alb_core.messages import AttemptId, StreamName
from alb_core.spec import OnLost
from alb_core.tasks import Attempt, AttemptState, Result, TaskRecord, TaskState

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.invariants import Silence

TOLD_S: Final = 3.0
#: After so long, repeats included, a leader that hears a worker knows that an attempt has begun.
SLACK_S: Final = 0.1
#: Clocks differ by half a thousandth, and marks are made in ticks.


class TableChecks:
    """Holds every change of the table to the rules.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.epoch = 0
        self.leader = ""  #: Incarnation that claimed the epoch.
        self.claimed_at = 0.0  #: True time.
        self._clock = 0.0  #: Cluster time of the newest batch: ZooKeeper's clock may jump between two claims.
        self.batch = 0
        self.applied_at: dict[int, float] = {}  #: By epoch: true time of the newest transaction.
        self.live: dict[str, TaskRecord] = {}
        self.done: dict[str, TaskRecord] = {}
        self.created_at: dict[str, float] = {}  #: True time, of every task that ever was.
        self.created_in: dict[str, int] = {}  #: Epoch, likewise.
        self.removed_at: dict[str, float] = {}
        self.results: dict[str, Result] = {}  #: The first that was recorded, of every task that ever was.
        self.assigned: dict[tuple[str, int], Attempt] = {}  #: Every attempt that ever was in the table.
        self.cancelled: set[str] = set()
        self.drains: dict[str, Drain] = {}  #: As the table has them, by worker.
        self._undrains: dict[tuple[int, str], float] = {}
        #: That a leader was asked for, by epoch and worker, and when: in force before they are in the table.
        self.counts: Counter[str] = Counter()
        self.starts = StartChecks(cluster, self)
        self.copies = CopyChecks()
        self.bounds = BoundChecks(cluster)

    def known(self, task_id: str) -> TaskRecord | None:
        """Return the record that the table holds of a task."""
        return self.live.get(task_id) or self.done.get(task_id)

    def on_undrain(self, epoch: int, workers: tuple[str, ...], at: float) -> None:
        """A leader is asked, at a cluster time, to give workers tasks again."""
        self._undrains |= {(epoch, name): at for name in workers}

    # --- transactions ---------------------------------------------------------------------------------------

    def on_applied(self, client: str, operations: tuple[zk.Operation, ...]) -> None:
        """Check one transaction and take it over."""
        touched: dict[str, None] = {}
        writes = {
            operation.path: operation for operation in operations if not isinstance(operation, zk.Check)
        }
        if znodes.EPOCH in writes:
            self._on_claim(client, writes)
            return
        if znodes.DRAINED in writes:
            self._on_drained(_data(writes[znodes.DRAINED]))
        for path in writes:
            if path.startswith((znodes.TASKS + "/", znodes.DONE + "/")):
                touched[path.rpartition("/")[2]] = None
        if znodes.COMMIT in writes:
            self._on_commit(client, operations, writes[znodes.COMMIT])
        else:
            demand(not touched, "every_write_is_fenced", f"{client} wrote tasks without a batch")
        for task_id in touched:
            self._on_task(task_id, writes)
        self.starts.after_transaction()
        self._cluster.invariants.arrays.on_applied(writes)

    def _on_claim(self, client: str, writes: Mapping[str, zk.Operation]) -> None:
        epoch = znodes.decode(znodes.EpochNode, znodes.EPOCH, _data(writes[znodes.EPOCH])).epoch
        demand(
            epoch == self.epoch + 1,
            "epochs_rise_by_one",
            f"{client} claimed epoch {epoch} after {self.epoch}",
        )
        demand(len(writes) <= 4, "a_claim_only_claims", f"{client} wrote {sorted(writes)}")
        self.epoch, self.leader, self.batch = epoch, client, 0
        self.claimed_at = self.applied_at[epoch] = self._cluster.timeline.now
        self.counts["claims"] += 1

    def _on_drained(self, data: bytes) -> None:
        try:
            after = znodes.decode(znodes.DrainedNode, znodes.DRAINED, data).workers
        except znodes.UnreadableNode:
            after = {}  # whoever leads keeps what it knows; the next leader may know nothing
        self.counts["drains"] += len(after.keys() - self.drains.keys())
        drains = {name: drain for name, drain in after.items() if drain.since}
        # A write may be of an earlier wish: whom it drains, a later one puts back.
        self._undrains = {
            key: asked
            for key, asked in self._undrains.items()
            if key[1] in drains and drains[key[1]].since <= asked
        }
        self.drains = drains

    def _on_commit(self, client: str, operations: tuple[zk.Operation, ...], write: zk.Operation) -> None:
        commit = znodes.decode(znodes.CommitNode, znodes.COMMIT, _data(write))
        name = f"{client} wrote epoch {commit.epoch} batch {commit.batch}"
        fenced = any(
            isinstance(operation, zk.Check) and operation.path == znodes.EPOCH for operation in operations
        )
        demand(
            commit.epoch == self.epoch and client == self.leader,
            "no_write_of_a_deposed_leader",
            f"{name}; {self.leader} leads epoch {self.epoch}",
        )
        demand(commit.batch > self.batch, "no_batch_applies_twice", f"{name} after batch {self.batch}")
        demand(commit.batch == self.batch + 1, "batches_keep_their_order", f"{name} after batch {self.batch}")
        demand(fenced, "every_write_is_fenced", f"{name} without check(/epoch)")
        self.batch, self._clock = commit.batch, commit.time
        self.applied_at[commit.epoch] = self._cluster.timeline.now
        self.counts["batches"] += 1

    # --- one task -------------------------------------------------------------------------------------------

    def _on_task(self, task_id: str, writes: Mapping[str, zk.Operation]) -> None:
        was_live, was_done = self.live.get(task_id), self.done.get(task_id)
        live = self._after(was_live, writes.get(znodes.task_path(task_id)))
        done = self._after(was_done, writes.get(znodes.done_path(task_id)))
        demand(live is None or done is None, "one_place_a_task", f"{task_id} is live and done")
        before, after = was_live or was_done, live or done
        if before is None and after is not None:
            self._on_created(after)
        elif before is not None and after is None:
            self._on_removed(before)
        elif before is not None and after is not None:
            self._on_changed(before, after)
        if after is not None:
            self._check_record(after, is_done=done is not None)
        for place, record in ((self.live, live), (self.done, done)):
            if record is None:
                place.pop(task_id, None)
            else:
                place[task_id] = record

    @staticmethod
    def _after(before: TaskRecord | None, write: zk.Operation | None) -> TaskRecord | None:
        match write:
            case None:
                return before
            case zk.Delete():
                return None
            case _:
                return znodes.decode_task(write.path, _data(write))

    def _on_created(self, record: TaskRecord) -> None:
        demand(
            record.id not in self.created_at,
            "a_task_is_created_once",
            f"{record.id} was in the table before, and is made again",
        )
        self.created_at[record.id] = self._cluster.timeline.now
        self.created_in[record.id] = self.epoch
        self._cluster.invariants.step(record.id)
        for attempt in record.attempts:
            self._on_placed(record, attempt, 0)
        if record.result is not None:
            self._on_result(record, record.result)

    def _on_removed(self, record: TaskRecord) -> None:
        task_id, now = record.id, self._cluster.timeline.now
        demand(
            record.result is not None,
            "no_accepted_task_vanishes",
            f"{task_id} was removed in state {record.state}",
        )
        ended_s = self._clock - record.result.finished  # as recorded: its commit may have taken long
        held_s = min(ended_s, now - self.claimed_at)
        held_long = held_s >= self._cluster.knobs.holding_s - SLACK_S
        # Nobody submits a task of an array: it may go at once, unless a follower waits for its result.
        acknowledged = task_id in self._cluster.invariants.clients.acknowledged or ids.array_of(task_id)
        demand(
            acknowledged or held_long,
            "no_result_is_forgotten_before_its_acknowledgement",
            f"{task_id} was removed {held_s:.1f} s after its end or the claim",
        )
        if self._cluster.knobs.store:
            kept = task_id in self._cluster.store.tasks
            demand(kept, "nothing_leaves_the_table_unarchived", f"{task_id} is not in the results store")
        self.removed_at[task_id] = now
        self.counts["removed"] += 1

    def _on_changed(self, before: TaskRecord, after: TaskRecord) -> None:
        task_id = before.id
        same = (before.user, before.digest, before.submitted) == (after.user, after.digest, after.submitted)
        demand(same, "a_task_keeps_its_identity", "{}: {} became {}", task_id, before, after)
        if before.result is not None:
            demand(
                before.result == after.result,
                "a_result_never_changes",
                "{}: {} {}",
                task_id,
                before.result,
                after.result,
            )
        demand(
            not before.cancel or after.cancel, "a_cancel_stays_recorded", f"{task_id} lost its cancellation"
        )
        self.bounds.on_changed(before, after)
        if before.result is None and after.result is not None:
            self._on_result(before, after.result)
        highest = max((attempt.n for attempt in before.attempts), default=0)
        known = {attempt.n: attempt for attempt in before.attempts}
        for attempt in after.attempts:
            earlier = known.get(attempt.n)
            if earlier is None:
                demand(not before.cancel, "a_cancelled_task_is_not_placed", f"{task_id} attempt {attempt.n}")
                self._on_placed(after, attempt, highest)
            else:
                self._on_attempt_changed(after, earlier, attempt)

    def _check_record(self, record: TaskRecord, *, is_done: bool) -> None:
        living = [attempt for attempt in record.attempts if attempt.state is AttemptState.LIVE]
        demand(
            len(living) <= 1 + bool(record.spec.speculative),
            "one_live_attempt_a_task",
            "{}: {}",
            record.id,
            living,
        )
        demand(
            is_done == (record.result is not None),
            "done_means_a_result",
            "{} in state {}",
            record.id,
            record.state,
        )
        fits = record.result is None or record.result.state is record.state
        demand(fits, "a_result_has_its_state", "{}: {}", record.id, record)
        demand(
            (record.state is TaskState.RUNNING) == bool(living),
            "running_means_a_live_attempt",
            "{} in state {} has {}",
            record.id,
            record.state,
            living,
        )
        if record.cancel:
            self.cancelled.add(record.id)

    # --- attempts -------------------------------------------------------------------------------------------

    def _on_placed(self, record: TaskRecord, attempt: Attempt, highest: int) -> None:
        name = f"{record.id} attempt {attempt.n} on {attempt.incarnation}"
        demand(
            attempt.n > highest and (record.id, attempt.n) not in self.assigned,
            "attempt_numbers_never_repeat",
            f"{name} after attempt {highest}",
        )
        demand(
            attempt.epoch == self.epoch, "placed_under_the_current_epoch", f"{name}: epoch {attempt.epoch}"
        )
        drain = self.drains.get(attempt.worker)
        demand(
            drain is None
            or attempt.placed <= drain.since
            or (attempt.epoch, attempt.worker) in self._undrains,
            "nothing_new_on_a_drained_worker",
            f"{name} was placed at {attempt.placed}, drained: {drain}",
        )
        if record.spec.on_lost is OnLost.FAIL:
            execution = self._cluster.invariants.execution
            started = execution.starts_of(record.id)
            again = execution.may_start_again(record)
            demand(again, "no_second_start_with_on_lost_fail", f"{name} although it started {started}")
        self.copies.on_placed(record, attempt)
        self.bounds.on_placed(record, attempt)
        self.starts.on_placed(self.known(record.id), record, attempt)
        self.assigned[record.id, attempt.n] = attempt
        self.counts["placed"] += 1
        self._cluster.invariants.step(record.id)

    def _on_attempt_changed(self, record: TaskRecord, before: Attempt, after: Attempt) -> None:
        name = f"{record.id} attempt {after.n} on {after.incarnation}"
        moved = msgspec.structs.replace(
            before,
            state=after.state,
            ended=after.ended,
            ended_as=after.ended_as,
            exit_code=after.exit_code,
            demoted=before.demoted or after.demoted,
        )
        demand(moved == after, "an_attempt_keeps_its_worker", "{}: {} became {}", name, before, after)
        if after.demoted and not before.demoted:
            others = (each for each in self.live.values() if each.id != record.id)
            self.bounds.on_demoted(after.worker, after.incarnation, (record, *others))
        if before.state is after.state:
            return
        demand(before.state is not AttemptState.OVER, "an_attempt_that_is_over_stays_over", name)
        if before.state is not AttemptState.LIVE:
            return
        if self.copies.was_outrun(record, after):
            return
        result = record.result
        given_up = after.state is AttemptState.LOST or result is None or result.attempt != after.n
        cancelled = result is not None and result.state is TaskState.CANCELLED and result.attempt == 0
        if given_up and not cancelled:
            self._demand_lost(name, after)
            self.counts["lost"] += 1

    def _demand_lost(self, name: str, attempt: Attempt) -> None:
        """A live attempt is given up only when its incarnation is dead, or silent for long, or it ended."""
        cluster = self._cluster
        worker = cluster.life_of(attempt.incarnation)
        if not worker.alive or worker.incarnation != attempt.incarnation or cluster.was_asked_to_stop(worker):
            return
        if attempt.worker in cluster.disputed:  # whoever comes later has the name, and the other one ends
            return
        task_id = name.partition(" ")[0]
        execution = cluster.invariants.execution
        if execution.has_ended(task_id, attempt.n) or execution.was_given_back(task_id, attempt.n):
            return
        silences = cluster.invariants.silences(self.leader, attempt.incarnation)
        lost = any(silence.length_s >= _bound(silence) - SLACK_S for silence in silences)
        demand(
            lost or self._was_left_unstarted(task_id, attempt, silences),
            "no_living_incarnation_is_robbed",
            f"{name} was given up; its worker lives, {silences}",
        )

    def _was_left_unstarted(self, task_id: str, attempt: Attempt, silences: list[Silence]) -> bool:
        """Tell whether a worker was silent for a while, and had not been known to begin an attempt before."""
        execution = self._cluster.invariants.execution
        return any(
            silence.length_s >= PATIENCE_S - SLACK_S
            and not execution.began_before(task_id, attempt.n, silence.until - silence.length_s - TOLD_S)
            for silence in silences
        )

    def _on_result(self, before: TaskRecord, result: Result) -> None:
        task_id = before.id
        demand(result.state.terminal, "a_result_has_its_state", f"{task_id}: {result}")
        self.results[task_id] = result
        self.counts["results"] += 1
        self._cluster.invariants.step(task_id)
        self.starts.on_result(before, result)
        if result.attempt == 0:
            fits = result.state in (TaskState.LOST, TaskState.CANCELLED)
            demand(fits, "a_result_comes_from_an_attempt", f"{task_id}: {result}")
            return
        attempt = next((attempt for attempt in before.attempts if attempt.n == result.attempt), None)
        if attempt is None or attempt.state is AttemptState.OVER:
            raise Violation("no_result_of_a_stale_attempt", f"{task_id}: {result} while {before.attempts}")
        self._cluster.invariants.execution.check_result(task_id, attempt, result)
        if self._cluster.knobs.store and result.exit_code is not None and not before.cancel:
            self._check_stored(before, result)

    def _check_stored(self, before: TaskRecord, result: Result) -> None:
        """A command that came to its own end: all that it wrote and reported is kept already."""
        store, name = self._cluster.store, AttemptId(before.id, result.attempt)
        for stream, record in zip(StreamName, (result.stdout, result.stderr), strict=True):
            kept = record.complete or store.has_output(name, stream, record.size_bytes)
            demand(kept, "output_is_stored_before_the_end", f"{name}: {record.size_bytes} of {stream.name}")
        reported, stored = script_of(before.spec).increments, store.increments(before.id)
        demand(stored == reported, "increments_are_stored_before_the_end", f"{name}: {stored} of {reported}")


def _bound(silence: Silence) -> float:
    return limits.LOST_WITH_SESSION_S if silence.session else limits.LOST_WITHOUT_SESSION_S


def _data(write: zk.Operation) -> bytes:
    return write.data if isinstance(write, zk.Create | zk.SetData) else b""
