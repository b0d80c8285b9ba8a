"""The steps of tasks carried out: each changes a task, the indexes, the table, and says who hears of it.

One method a step. Each decides first (`Task.take` raises before anything changed), then applies: queue and
reservations, one group of writes, and the messages that the group releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from alb_broker.core.actions import (
    Action,
    IncrementsMarked,
    ResumeWanted,
    TaskKept,
    TaskSettled,
)
from alb_broker.core.array import Array
from alb_broker.core.array_progress import Expanded
from alb_broker.core.decisions import Decided, Lent
from alb_broker.core.ledger import RESULTS, Lane
from alb_broker.core.outcomes import succeeded
from alb_broker.core.resumption import Resumption
from alb_broker.core.retries import wants_more_memory
from alb_broker.core.speed_desk import SpeedDesk
from alb_broker.core.state import State
from alb_broker.core.steps import (
    CancelAsked,
    Copied,
    Demoted,
    DependenciesMet,
    Doomed,
    Ended,
    Freed,
    HoldAsked,
    Placed,
    ReleaseAsked,
    Returned,
    Step,
    WorkerLost,
)
from alb_broker.core.task import Task
from alb_broker.core.ward_desk import WardDesk
from alb_broker.core.worker import Worker
from alb_core import zk, znodes
from alb_core.bounds import settled
from alb_core.copies import CHOOSER
from alb_core.messages import (
    Accepted,
    AttemptAck,
    AttemptId,
    CancelNoted,
    Demote,
    Finished,
    Kill,
    Reader,
    Run,
    TaskMoved,
)
from alb_core.notes import Level, Note
from alb_core.tasks import LIVE, OVER, QUEUED, Attempt, Cause, Outcome, Result, TaskState

RETURNED: Final = {
    Cause.GIVEN_BACK: "attempts_given_back",
    Cause.EVICTED: "attempts_evicted",
    Cause.PREEMPTED: "attempts_preempted",
}
#: Ends of attempts that are neither a result nor a crash, and what counts them.


class Book:
    """Carries out the steps of tasks.

    Args:
        state: The reign's parts.
        resumption: What attempts are given of those before them.
    """

    def __init__(self, state: State, resumption: Resumption) -> None:
        self._state: Final = state
        self._resumption: Final = resumption
        self.ward: Final = WardDesk(state)  #: Watches where attempts fail.
        self.speeds: Final = SpeedDesk(state)  #: And how long they run.

    # --- steps ----------------------------------------------------------------------------------------------

    def accept(self, task: Task, peer: bytes, why: str) -> None:
        """A new task enters the table; its client hears it when that is durable, and why it waits."""
        state = self._state
        state.table.add(task)
        state.holds.know(task)
        state.line_up(task)
        state.counters["tasks_accepted"] += 1
        state.ledger.write(
            Lane.SUBMISSIONS,
            task.id,
            (zk.Create(task.path(), task.data()),),
            self._accept_releases(task, peer, why),
            task.user,
        )

    def make(self, array: Array, tasks: Sequence[Task], change: Expanded) -> None:
        """Tasks of an array enter the table, in one transaction with its cursor."""
        state = self._state
        for task in tasks:
            state.table.add(task)
            state.line_up(task)
            array.take(task)
        state.counters["array_tasks_made"] += len(tasks)
        creates = tuple(zk.Create(task.path(), task.data()) for task in tasks)
        state.arrays.change(array, (change,), creates)

    def _accept_releases(self, task: Task, peer: bytes, why: str) -> tuple[Action, ...]:
        accepted = self._state.client(peer, Accepted(id=task.id, state=task.state))
        return (accepted, *self._moves(task, why=why)) if why else (accepted,)

    def place(self, task: Task, worker: Worker, decided: Decided) -> None:
        """A waiting task goes to a worker, which hears it when the assignment is durable."""
        state = self._state
        now = state.now()
        state.figures.on_placed(decided.policy, decided.waited_s)
        begun = Attempt(  # by place, as a record is made
            task.next_n(),
            worker.name,
            worker.incarnation,
            state.epoch,
            LIVE,
            now,
            decided.policy,
            len(decided.seen),
            decided.ahead,
            part=decided.part,
        )
        self._step(task, Placed(now, begun))
        attempt = self._assign(task, worker, begun, state.at)
        state.decisions.keep(attempt, decided)
        state.placed_at = now
        state.counters["tasks_placed"] += 1
        if attempt in worker.ahead:
            state.counters["tasks_placed_ahead"] += 1
        state.stragglers.watch(task)
        self._save(task, self._place_releases(task, worker, attempt))

    def _assign(self, task: Task, worker: Worker, newest: Attempt, at: float) -> AttemptId:
        """Let a worker have the newest attempt of a task, which it has not confirmed yet."""
        attempt = AttemptId(task.id, newest.n)
        self._set_aside(task, worker, attempt, newest)
        worker.unconfirmed[attempt] = at
        if task.luggage:
            worker.launching.add(attempt)
        return attempt

    def copy(self, task: Task, worker: Worker, of: int, candidates: int, at: float) -> None:
        """An attempt that lags gets a copy, whose worker hears of it when that is durable."""
        state = self._state
        now = state.clock.time(at)
        begun = Attempt(
            n=task.next_n(),
            worker=worker.name,
            incarnation=worker.incarnation,
            epoch=state.epoch,
            state=LIVE,
            placed=now,
            policy=CHOOSER,
            candidates=candidates,
            copy_of=of,
        )
        self._step(task, Copied(now, begun))
        attempt = self._assign(task, worker, begun, at)
        state.counters["copies_made"] += 1
        state.note("task_copied", task=task.id, attempt=attempt.n, of=of, worker=worker.name)
        self._save(task, self._place_releases(task, worker, attempt))

    def _place_releases(self, task: Task, worker: Worker, attempt: AttemptId) -> tuple[Action, ...]:
        run = self.run_message(task, attempt)
        order = ResumeWanted(attempt) if run is None else self._state.worker(worker.peer, run)
        if task.attempts[-1].copy_of:
            return (order,)  # nobody else need know: the task runs as before
        return (order, *self._moves(task, worker.name), *self._settled(task))

    def end(
        self, task: Task, attempt: Attempt, attempt_id: AttemptId, outcome: Outcome, worker: Worker
    ) -> None:
        """An attempt that may deliver did: the task has its result, or is queued again."""
        state = self._state
        now = state.now()
        waited, failures = task.state is QUEUED, task.failures
        others = [other for other in task.live() if other.n != attempt.n] if len(task.attempts) > 1 else []
        good = succeeded(outcome)
        most = 0
        if not good and wants_more_memory(task.spec, outcome):
            most = state.workers.largest_memory(task.request)
        reason = self._step(task, Ended(now, attempt.n, outcome, state.config.crash_limit, most))
        self.release(worker, attempt_id)
        self._learn(task, attempt, outcome, worker, now, good=good)
        acknowledgement = state.worker(worker.peer, AttemptAck(attempt=attempt_id))
        if task.failures != failures:
            state.counters["tasks_retried"] += 1
        elif waited and task.state is QUEUED:
            self._save(task, (acknowledgement,))
            return
        if others and task.result is not None:
            state.counters["copies_won"] += bool(attempt.copy_of)
            self._settle(task, reason, (acknowledgement, *self._outrun(task, others, state.at)))
        else:
            self._settle(task, reason, (acknowledgement,))

    def _learn(  # noqa: PLR0913 (what an end tells)
        self, task: Task, attempt: Attempt, outcome: Outcome, worker: Worker, now: float, *, good: bool
    ) -> None:
        """Tell whoever judges by ends of this one."""
        state = self._state
        if good:
            self.ward.on_success(task, worker, now)
            if not attempt.demoted:  # else it ran with what others left over
                self.speeds.on_success(task, worker, outcome, now)
        else:
            self.ward.on_other_end(task, worker, outcome, now)
            if outcome.cause in RETURNED:
                state.counters[RETURNED[outcome.cause]] += 1
        if task.id in state.stragglers.watched:
            state.stragglers.on_end(task, attempt, worker, outcome)
        result = task.result
        if result is not None and result.attempt == attempt.n:
            state.figures.on_ended(attempt.policy, attempt.placed, task.queued_since, now)

    def lose(  # noqa: PLR0913 (what is lost, where, how)
        self, task: Task, n: int, worker: Worker, at: float, *, ahead: bool = False, why: str = "was lost"
    ) -> None:
        """The worker of a live attempt is lost: the task is queued again, or ends.

        Args:
            task: Whose attempt it is.
            n: The attempt.
            worker: What was lost.
            at: Own clock.
            ahead: The attempt waited there for room.
            why: What the worker did, or suffered.
        """
        state = self._state
        limit = state.config.crash_limit
        reason = self._step(
            task,
            WorkerLost(
                state.clock.time(at), n=n, worker=worker.name, crash_limit=limit, ahead=ahead, why=why
            ),
        )
        state.counters["attempts_lost"] += 1
        self._settle(task, reason, ())

    def demote(self, task: Task, worker: Worker, attempt: AttemptId, waiting: Task, at: float) -> None:
        """An attempt gives its processors to a task that waits; its worker hears it when that is durable."""
        state = self._state
        self._step(task, Demoted(state.clock.time(at), n=attempt.n, waiting=waiting.id))
        worker.demote(attempt, task.user)
        worker.demoting[attempt] = at
        state.shares.demote(attempt)
        state.workers.crowded[worker.name] = worker
        state.workers.grew(worker)
        state.decisions.note_lent(attempt, Lent(worker.name, waiting.id))
        state.counters["attempts_demoted"] += 1
        state.note("attempt_demoted", task=task.id, attempt=attempt.n, worker=worker.name, waiting=waiting.id)
        self._save(task, (state.worker(worker.peer, Demote(attempts=(attempt,))),))

    def readopt(self, task: Task, n: int, worker: Worker, at: float) -> None:
        """A worker thought lost is back with its attempt, and nobody else has the task."""
        self._step(task, Returned(self._state.clock.time(at), n=n))
        self.reserve(task, worker, AttemptId(task.id, n))
        self._state.counters["attempts_readopted"] += 1
        self._save(task, self._moves(task, worker.name))

    def cancel(self, task: Task, peer: bytes, at: float) -> None:
        """Somebody wants the task to end; it is recorded before anybody is told.

        Args:
            task: The task.
            peer: Who wants it; empty: its whole array is cancelled, and who wants that is told of no task.
            at: Own clock.
        """
        noted = (self._state.client(peer, CancelNoted(id=task.id)),) if peer else ()
        if task.cancel:
            self._state.ledger.say(*noted)
            return
        reason = self._step(task, CancelAsked(self._state.clock.time(at)))
        self._state.counters["tasks_cancelled"] += 1
        if task.state.terminal:
            self._settle(task, reason, noted)
        else:
            self._save(task, (*noted, *self._kills(task, task.live(), at, "cancelled")))

    def note_met(self, task: Task, met: tuple[int, ...]) -> None:
        """Some of what a held task waits for came true: written down, for it may be forgotten."""
        self._step(task, DependenciesMet(self._state.now(), met=met))
        self._save(task, ())

    def free(self, task: Task) -> None:
        """Nothing keeps a held task any more: it is queued."""
        self._step(task, Freed(self._state.now()))
        self._state.holds.unwatch(task)
        self._state.line_up(task)
        self._save(task, self._moves(task, why=self._state.workers.why_never(task.request)))

    def doom(self, task: Task, why: str) -> None:
        """What a held task waits for cannot come true any more: it ends."""
        self._settle(task, self._step(task, Doomed(self._state.now(), why=why)), ())

    def hold(self, task: Task, by: str) -> None:
        """Somebody wants a task that waits not to be placed; a second wish changes nothing."""
        if not task.held_by:
            why = self._step(task, HoldAsked(self._state.now(), by=by))
            self._state.line_up(task)
            self._save(task, self._moves(task, why=why))

    def let_go(self, task: Task) -> None:
        """Nobody holds a task any more; whether it is queued then is judged as ever."""
        if task.state is TaskState.HELD and (task.held_by or not task.released):
            self._step(task, ReleaseAsked(self._state.now()))
            self._state.line_up(task)
            self._save(task, ())

    def mark_incremental(self, task: Task, marked: IncrementsMarked) -> None:
        """A task reports increments: write it down before the first of them is stored.

        They are numbered within the task, so they can be those of one attempt only: whoever reports first
        has the task for itself, and what ran beside it ends.
        """
        n, at = marked.message.attempt.n, self._state.at
        others = [other for other in task.live() if other.n != n]
        task.incremental = True
        if others:
            task.close_attempts(self._state.now(), keep=n)
        self._save(task, (marked, *self._outrun(task, others, at)))

    # --- parts of steps -------------------------------------------------------------------------------------

    def reserve(self, task: Task, worker: Worker, attempt: AttemptId) -> None:
        """Set aside what an attempt needs, on the worker and for the user, unless that is done."""
        known = task.attempt(attempt.n)
        if known is not None and not worker.holds(attempt):
            self._set_aside(task, worker, attempt, known)

    def _set_aside(self, task: Task, worker: Worker, attempt: AttemptId, known: Attempt) -> None:
        state = self._state
        endless = state.runs_endless(task, known.placed)
        state.shares.take(attempt, task.user, task.request, endless=endless)
        if task.spec.preemptible or known.copy_of:
            worker.preemptible.add(attempt)
            state.workers.yielding[worker.name] = worker
        if not known.demoted:
            worker.reserve(attempt, task.request)
            if worker.ahead:
                state.workers.rows[worker.name] = worker
        else:
            worker.reserve(attempt, task.request.without_cpus())
            worker.burden.add(attempt, task.user, task.request.cpus)
            worker.demoting[attempt] = float("-inf")
            state.workers.crowded[worker.name] = worker
            state.shares.demote(attempt)

    def exit(self, worker: Worker, attempt: AttemptId) -> None:
        """Give back what the attempt had: its processes are gone, and its report follows."""
        if worker.exit(attempt):
            self._state.workers.grew(worker)
            self._state.shares.give_back(attempt)

    def release(self, worker: Worker, attempt: AttemptId) -> None:
        """Give back what the attempt had: its processes are gone, or its worker is."""
        held = attempt in worker.reserved or attempt in worker.ahead
        if worker.release(attempt):
            self._state.workers.grew(worker)
        if held:
            self._state.shares.give_back(attempt)

    def is_overtaken(self, attempt_id: AttemptId) -> bool:
        """Tell whether an order to run waited for its commit so long that its attempt was given up meanwhile.

        Its worker was thought lost and what it had reserved is others': it must not start there any more.
        """
        task = self._state.table.live.get(attempt_id.task)
        attempt = task.attempt(attempt_id.n) if task is not None else None
        return attempt is None or attempt.state is not LIVE

    def run_message(self, task: Task, attempt: AttemptId) -> Run | None:
        """Return the order to execute an attempt, with the readers who wait for its output.

        None: it must be known first what earlier attempts reported.
        """
        if task.incremental and self._resumption.awaited(task):
            return None
        readers = _readers(task, attempt) if task.followed else ()
        resume = self._resumption.given(task) if task.incremental else None
        defaults, spec = self._state.limits, task.effective
        return Run(
            attempt=attempt,
            spec=task.spec_wire(),
            readers=readers,
            resume=resume,
            bounds=settled(spec.bounds, spec.request.memory_bytes, defaults),
            time_limit_s=defaults.time_limit_s if spec.time_limit_s is None else spec.time_limit_s,
        )

    def order_again(self, task: Task, attempt: AttemptId) -> Run | None:
        """Return the order to execute an attempt once more; None: as in `run_message`.

        It carries the limits of now. Where nothing limits its time any more, nobody counts on its end.
        """
        run = self.run_message(task, attempt)
        if run is not None and run.time_limit_s is None:
            self._state.shares.unlimit(attempt)
        return run

    def _outrun(self, task: Task, losers: Sequence[Attempt], at: float) -> list[Action]:
        """End what ran in vain beside the attempt that counts, and count what it cost."""
        now = self._state.clock.time(at)
        for attempt in losers:
            self._state.counters["attempts_outrun"] += 1
            self._state.counters["copies_wasted_ms"] += round(1000 * max(0.0, now - attempt.placed))
        return self._kills(task, losers, at, "superseded")

    def _kills(self, task: Task, attempts: Sequence[Attempt], at: float, why: str) -> list[Action]:
        kills: list[Action] = []
        for attempt in attempts:
            worker = self._state.workers.find(attempt.worker, attempt.incarnation)
            if worker is None:
                continue
            attempt_id = AttemptId(task.id, attempt.n)
            worker.order_end(attempt_id, at)
            if worker.link:
                kills.append(self._state.worker(worker.peer, Kill(attempt=attempt_id, why=why)))
        return kills

    def _step(self, task: Task, step: Step) -> str:
        state, before = self._state, task.state
        reason = task.take(step)
        if task.state is not before and task.id in state.table.live:
            state.table.moved(task, before)
        if before is QUEUED and type(step) is not Placed:
            state.queue.stir()
        if state.trace:
            state.note(
                "task_moved",
                Level.DEBUG,
                task=task.id,
                before=before.value,
                after=task.state.value,
                reason=reason,
            )
        return reason

    def _settle(self, task: Task, reason: str, releases: tuple[Action, ...]) -> None:
        """Write a task after a step that may have ended it or sent it back to the queue."""
        if task.result is not None:
            self._finish(task, releases)
            return
        if task.state is QUEUED:
            self._state.line_up(task, first=not task.not_before)  # it had its turn, unless it failed
            self._state.counters["tasks_requeued"] += 1
        self._save(task, (*releases, *self._moves(task, why=reason)))

    def _save(self, task: Task, releases: tuple[Action, ...] | list[Action]) -> None:
        self._state.ledger.write(
            RESULTS,
            task.id,
            (zk.SetData(task.path(), task.data()),),
            tuple(releases),
        )

    def _finish(self, task: Task, releases: tuple[Action, ...]) -> None:
        state = self._state
        result = task.result
        assert result is not None  # noqa: S101 (a terminal task has its result)
        state.table.end(task, result)
        state.holds.forget(task)
        state.counters["tasks_finished"] += 1
        of_array = state.arrays.end(task, result) if task.array else None
        listeners = task.watchers if of_array is None else _listeners(task, of_array[0])
        told = self._tell_end(task, result, listeners) if listeners else ()
        kept = (TaskKept(task.id),) if state.table.archives or task.array else ()
        path = task.path()
        state.ledger.write(
            RESULTS,
            task.id,
            (zk.Delete(path), zk.Create(znodes.done_path_of(path), task.data())),
            (*releases, *told, *self._settled(task), *kept),
            folded=of_array,
        )
        if of_array is not None:
            state.arrays.stop_failing(of_array[0])
        state.out.append(_finished_note(task, result))

    def _settled(self, task: Task) -> Iterable[Action]:
        """Return what lets those go on who wait for a task, or for its array: mostly nobody does."""
        awaited = self._state.holds.concerned(task.id, task.array)
        return map(TaskSettled, awaited) if awaited else ()

    def _tell_end(self, task: Task, result: Result, listeners: Iterable[bytes]) -> list[Action]:
        """Return what clients hear of the end of a task; each must say that it has it."""
        state = self._state
        finished = Finished(id=task.id, result=result)
        told: list[Action] = []
        for peer in listeners:
            told.append(state.client(peer, finished))
            client = state.clients.get(peer)
            if client is not None:
                client.unacknowledged[task.id] = state.at
                if task.array:
                    state.table.owe(task.id, peer)
        return told

    def _moves(self, task: Task, worker: str = "", why: str = "") -> tuple[Action, ...]:
        if not task.followed:
            return ()  # nearly always: this is asked at each step of each task
        curious = [peer for peer, watcher in task.watchers.items() if watcher.moves]
        if not curious:
            return ()
        n, runs_on = task.assignment()
        if task.state is TaskState.RUNNING:
            worker = worker or runs_on
        message = TaskMoved(id=task.id, state=task.state, attempt=n, worker=worker, why=why)
        return tuple(self._state.client(peer, message) for peer in curious)


def _finished_note(task: Task, result: Result) -> Note:
    fields = {
        "task": task.id,
        "state": result.state._value_,  # its property costs as much as all the rest
        "user": task.user,
        "worker": result.worker,
        "attempt": result.attempt,
        "exit_code": result.exit_code,
        "wall_s": result.wall_s,
        "cpu_s": result.cpu_s,
    }
    return Note("task_finished", fields)


def _readers(task: Task, attempt: AttemptId) -> tuple[Reader, ...]:
    """Return who wants the output of an attempt."""
    reading = [(peer, watcher.window) for peer, watcher in task.watchers.items() if watcher.window]
    if not reading or task.assignment()[0] != attempt.n:
        return ()
    return tuple(Reader(reader=peer, window=window) for peer, window in reading)


def _listeners(task: Task, array: Array) -> list[bytes]:
    """Return who hears how a task of an array ended."""
    followers = [peer for peer, follower in array.followers.items() if follower.results]
    if not task.watchers:
        return followers
    return [*task.watchers, *(peer for peer in followers if peer not in task.watchers)]


def deliverable(task: Task, n: int, incarnation: str) -> Attempt | None:
    """Return the attempt if its report may still change the task: live, or lost and not superseded."""
    attempt = task.attempt(n)
    if attempt is None or attempt.incarnation != incarnation or attempt.state is OVER:
        return None
    return attempt
