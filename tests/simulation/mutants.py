"""Some sixty defects that no cluster must have, each planted in the real cores to see the simulator catch it.

A mutant replaces a function or two of a core. It counts as caught when a seed breaks an invariant; a core
that merely raises does not count. ``python -m tests.simulation --mutants``, or ``make sim-mutants``.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from tests.simulation import (
    array_mutants,
    codec_mutants,
    copy_mutants,
    demotion_mutants,
    election_mutants,
    ledger_mutants,
    limits_mutants,
    policy_mutants,
    preemption_mutants,
    queue_mutants,
    revocation_mutants,
    start_mutants,
)
from tests.simulation.cluster import run_seed
from tests.simulation.mixes import USUAL
from tests.simulation.report import SeedReport, report_of
from tests.simulation.run import fix_hashing

from alb_broker.core import clearance, worker_desk
from alb_broker.core.actions import IncrementsMarked
from alb_broker.core.book import Book
from alb_broker.core.clearance import Clearance
from alb_broker.core.client_desk import ClientDesk
from alb_broker.core.drain_desk import DrainDesk
from alb_broker.core.inflow import Inflow
from alb_broker.core.ledger import Flight
from alb_broker.core.reign import Reign
from alb_broker.core.resumption import Resumption
from alb_broker.core.retention import Retention
from alb_broker.core.worker import Worker
from alb_broker.core.worker_desk import WorkerDesk
from alb_broker.core.workers import Workers
from alb_core.messages import Accepted, AttemptAck, AttemptId, CancelNoted
from alb_core.resources import Request, Room
from alb_worker.core import attempts
from alb_worker.core.gpus import Gpus
from alb_worker.core.keeping import Keeping
from alb_worker.core.link import Fence

Patch = tuple[Any, str, Any]
CRASHED: Final = "no_core_raises"


class Mutant(msgspec.Struct, frozen=True):
    """One planted defect."""

    name: str
    patches: Callable[[], list[Patch]]
    #: (where, attribute, what replaces it).
    mix: str = USUAL
    #: In which it is hunted.


def dispatch_before_commit() -> list[Patch]:
    """Run leaves before the assignment is in the table."""

    def place_releases(book: Any, task: Any, worker: Any, attempt: AttemptId) -> tuple[Any, ...]:
        book._state.out.append(book._state.worker(worker.peer, book.run_message(task, attempt)))
        return ()

    return [(Book, "_place_releases", place_releases)]


def accept_before_commit() -> list[Patch]:
    """Accepted leaves before the task is in the table."""

    def accept_releases(book: Any, task: Any, peer: bytes, _why: str) -> tuple[Any, ...]:
        book._state.out.append(book._state.client(peer, Accepted(id=task.id)))
        return ()

    return [(Book, "_accept_releases", accept_releases)]


def acknowledge_before_commit() -> list[Patch]:
    """A worker's report is acknowledged before its result is in the table."""
    settle = Book._settle

    def settle_early(book: Any, task: Any, reason: str, releases: tuple[Any, ...]) -> None:
        early = [action for action in releases if isinstance(action.message, AttemptAck)]
        book._state.out.extend(early)
        settle(book, task, reason, tuple(action for action in releases if action not in early))

    return [(Book, "_settle", settle_early)]


def stale_epoch_obeyed() -> list[Patch]:
    """A worker obeys whoever speaks."""
    return [(Fence, "refuses", lambda *_: None)]


def stale_result_accepted() -> list[Patch]:
    """Any attempt of this incarnation delivers, superseded or not."""

    def deliverable(task: Any, n: int, incarnation: str) -> Any:
        attempt = task.attempt(n)
        return attempt if attempt is not None and attempt.incarnation == incarnation else None

    return [(worker_desk, "deliverable", deliverable)]


def adoption_skipped() -> list[Patch]:
    """A new leader queues again what was running."""

    def requeue(desk: Any) -> None:
        state = desk._state
        for task in list(state.table.live.values()):
            for attempt in task.live():
                worker = Worker(attempt.worker, attempt.incarnation, state.at)
                desk._book.lose(task, attempt.n, worker, state.at)

    return [(WorkerDesk, "adopt_table", requeue)]


def unclaimed_given_away() -> list[Patch]:
    """What a living worker does not claim when it registers is queued again."""

    def give_away(desk: Any, worker: Any, held: set[AttemptId]) -> None:
        for attempt_id in [attempt for attempt in worker.reserved if attempt not in held]:
            task = desk._state.table.live.get(attempt_id.task)
            attempt = task.attempt(attempt_id.n) if task is not None else None
            if task is not None and attempt in task.live():
                desk._book.release(worker, attempt_id)
                desk._book.lose(task, attempt_id.n, worker, desk._state.at)

    return [(WorkerDesk, "_claim_unclaimed", give_away)]


def capacity_twice() -> list[Patch]:
    """What an attempt had reserved is given back twice."""
    release = Worker.release

    def release_twice(worker: Any, attempt: AttemptId) -> bool:
        request = worker.reserved.get(attempt)
        if request is not None:
            worker.room.cpus += request.cpus
        return release(worker, attempt)

    return [(Worker, "release", release_twice)]


def counts_unreserved() -> list[Patch]:
    """Leader and workers know what is free of named counts, and give it out again and again."""

    def take(room: Any, request: Request) -> None:
        room.cpus -= request.cpus
        room.memory_bytes -= request.memory_bytes
        for count in request.counts:
            room.counts[count.name] = room.counts.get(count.name, 0)

    def give_back(room: Any, request: Request) -> None:
        room.cpus += request.cpus
        room.memory_bytes += request.memory_bytes

    return [(Room, "take", take), (Room, "give_back", give_back)]


def gpus_shared() -> list[Patch]:
    """A worker gives every attempt the first GPUs."""
    return [(Gpus, "take", lambda _gpus, count: tuple(range(count)))]


def ahead_without_room() -> list[Patch]:
    """A worker starts what it was given ahead before there is room for it."""

    class EndlessRoom(Room):
        def holds(self, request: Request) -> bool:  # noqa: ARG002 (there is room for everything)
            return True

    return [(attempts, "Room", EndlessRoom)]


def resubmission_is_new() -> list[Patch]:
    """A known id is taken for a new task."""

    def take_as_new(desk: Any, client: Any, message: Any, *_: Any) -> None:
        desk._admit(client, message)

    return [(ClientDesk, "_meet_again", take_as_new)]


def forgotten_early() -> list[Patch]:
    """A finished task goes although no client has its result."""
    return [
        (Retention, "_held_long_enough", lambda *_: True),
        (Retention, "_due", lambda *_: True),
    ]


def cancel_unrecorded() -> list[Patch]:
    """A cancellation is confirmed, and kept in memory only."""

    def cancel(book: Any, task: Any, peer: bytes, at: float) -> None:
        task.cancel = True
        book._state.ledger.say(
            book._state.client(peer, CancelNoted(id=task.id)),
            *book._kills(task, task.live(), at, "cancelled"),
        )

    return [(Book, "cancel", cancel)]


def drains_forgotten() -> list[Patch]:
    """A new leader does not read who is drained."""
    return [(DrainDesk, "on_node", lambda *_: True)]


def removed_unarchived() -> list[Patch]:
    """Retention does not wait for the results store."""
    return [(Retention, "_kept_elsewhere", lambda *_: True)]


def held_cleared() -> list[Patch]:
    """What the table holds is cleared from the results store as well."""
    return [(Clearance, "_is_held", lambda *_: False)]


def cleared_unmarked() -> list[Patch]:
    """A task that is being cleared is not marked: what is left of it may be taken for all of it."""
    return [(clearance, "marked_as_going", lambda row: row)]


def cleared_in_part() -> list[Patch]:
    """A task's own row goes, what belongs to it stays: nobody would find that again."""
    return [(clearance, "PARTS", clearance.PARTS[:2])]


def reported_unstored() -> list[Patch]:
    """A worker reports an end before the store has what the attempt wrote."""
    return [(Keeping, "owes", lambda *_: False)]


def output_with_gaps() -> list[Patch]:
    """A leader takes a worker's first piece of output as the beginning of what is not stored."""
    on_chunk = Inflow.on_chunk

    def trusting(inflow: Any, chunk: Any) -> None:
        on_chunk(inflow, msgspec.structs.replace(chunk, stored=chunk.offset))

    return [(Inflow, "on_chunk", trusting)]


def resumes_blindly() -> list[Patch]:
    """An attempt does not wait for what earlier ones reported."""
    return [(Resumption, "awaited", lambda *_: False)]


def increments_unmarked() -> list[Patch]:
    """Increments are stored before the table says that the task has any."""

    def mark(inflow: Any, _task: Any, worker: Any, message: Any) -> None:
        inflow.on_marked(IncrementsMarked(worker.name, worker.incarnation, message))

    def on_marked(inflow: Any, action: Any) -> None:
        inflow._take(action.message.attempt, inflow._of(action.message.attempt), action.message)

    return [(Inflow, "_mark", mark), (Inflow, "on_marked", on_marked)]


def session_is_enough() -> list[Patch]:
    """A worker whose session lives is never lost, heard or not."""
    overdue = Workers.overdue

    def without_session(workers: Any, at: float) -> list[Any]:
        return [worker for worker in overdue(workers, at) if not worker.session]

    return [(Workers, "overdue", without_session)]


def answers_without_commit() -> list[Patch]:
    """A leader with nothing to write answers at once: it may be deposed and not know it."""
    end_turn = Reign._end_turn

    def answer_first(reign: Any, *, more: bool) -> None:
        ledger = reign.state.ledger
        if ledger.flight is Flight.NONE and not ledger.pending:
            while ledger._barriers:
                reign.state.out.extend(ledger._barriers.popleft()[-1])
        end_turn(reign, more=more)

    return [(Reign, "_end_turn", answer_first)]


MUTANTS: Final = (
    Mutant("no fence", ledger_mutants.no_fence),
    Mutant("a batch that gathers as long as messages are at hand", ledger_mutants.gathers_for_ever),
    Mutant("no /commit chain", ledger_mutants.no_chain),
    Mutant("a broker that takes its name from the living", election_mutants.names_taken),
    Mutant("a leader that answers taken for dead", election_mutants.answers_prove_death),
    Mutant("dispatch before commit", dispatch_before_commit),
    Mutant("accept before commit", accept_before_commit),
    Mutant("acknowledge before commit", acknowledge_before_commit),
    Mutant("stale epoch obeyed", stale_epoch_obeyed),
    Mutant("stale attempt's result accepted", stale_result_accepted),
    Mutant("blind retry of an unknown commit", ledger_mutants.blind_retry),
    Mutant("adoption skipped", adoption_skipped),
    Mutant("unclaimed attempt of a living incarnation given to another", unclaimed_given_away),
    Mutant("capacity returned twice", capacity_twice),
    Mutant("what was given ahead starts without room", ahead_without_room),
    Mutant("named counts that are never taken", counts_unreserved),
    Mutant("attempts that share their GPUs", gpus_shared),
    Mutant("resubmission as a new task", resubmission_is_new),
    Mutant("finished task forgotten before its acknowledgement", forgotten_early),
    Mutant("cancel not recorded", cancel_unrecorded),
    Mutant("a new leader that does not know who is drained", drains_forgotten),
    Mutant("finished task removed before it is archived", removed_unarchived),
    Mutant("what the table holds cleared from the results store", held_cleared),
    Mutant("a task cleared in part", cleared_in_part),
    Mutant("a task cleared without a mark", cleared_unmarked),
    Mutant("an end reported before its output is stored", reported_unstored),
    Mutant("stored output with a gap", output_with_gaps),
    Mutant("an attempt that is not given what was reported before", resumes_blindly),
    Mutant("increments stored before their task is marked", increments_unmarked),
    Mutant("a new leader that forgets what held tasks wait for", start_mutants.dependencies_forgotten),
    Mutant("a new leader that forgets to wait after a failure", start_mutants.back_off_forgotten),
    Mutant("a hold that is not recorded", start_mutants.hold_unrecorded),
    Mutant("nobody is ever demoted", demotion_mutants.nobody_is_demoted),
    Mutant("demotion before its commit", demotion_mutants.demote_before_commit),
    Mutant("preempts what may not run twice", preemption_mutants.whoever_runs_is_ended),
    Mutant("a worker with a session but no link never lost", session_is_enough),
    Mutant("a deposed idle leader that goes on answering", answers_without_commit),
    Mutant("an array whose tasks are made before it starts", start_mutants.array_start_ignored),
    Mutant("a new leader that lets arrays start", start_mutants.array_start_forgotten),
    Mutant("backfill that ignores reservations", queue_mutants.backfill_ignores_reservations),
    Mutant("backfill before a moment that nobody knows", queue_mutants.backfill_trusts_unknown_ends),
    Mutant("a reservation that never moves", queue_mutants.reservations_stay),
    Mutant("a reservation that never lapses", queue_mutants.reservations_never_lapse, "endless"),
    Mutant("a reservation for who is at his bounds", queue_mutants.bounded_heads_reserve),
    Mutant("a policy that lets tasks wait for ever", queue_mutants.refusals_last, "heavy"),
    Mutant("a policy that is asked before that is in the table", policy_mutants.asked_unmarked, "heavy"),
    Mutant("an heir that asks what its leader ended in", policy_mutants.marks_unread, "heavy"),
    Mutant("a default limit for what had begun", limits_mutants.limits_hold_what_runs, "endless"),
    Mutant("a default limit older than all that runs", limits_mutants.limits_always_held, "endless"),
    Mutant("one specification in two forms", codec_mutants.written_as_built),
    Mutant("priorities ignored", queue_mutants.priorities_ignored, "heavy"),
    Mutant("shares ignored", queue_mutants.shares_ignored, "heavy"),
    Mutant("bounds of users ignored", queue_mutants.bounds_ignored),
    Mutant("a worker that bears whatever is demoted", demotion_mutants.all_is_borne, "endless"),
    Mutant("a copy of what must not run twice", copy_mutants.everybody_copied),
    Mutant("the result of a loser accepted as well", copy_mutants.loser_accepted),
    Mutant("two attempts that report increments at once", copy_mutants.both_report),
    Mutant("a failure that ends a task while another attempt lives", copy_mutants.failure_outruns),
    Mutant("an attempt given back that has begun", revocation_mutants.begun_given_back),
    Mutant("an attempt given back that is kept", revocation_mutants.given_back_and_kept),
    Mutant("an attempt given back before the worker has answered", revocation_mutants.answer_not_awaited),
    Mutant("an array's cursor apart from its tasks", array_mutants.cursor_apart),
    Mutant("an array's counts apart from its tasks", array_mutants.counts_apart),
    Mutant("inputs read that are in memory", array_mutants.kept_inputs_read, "arrays"),
    Mutant("a task of an array made again", array_mutants.made_again),
)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Let the cores have a defect."""
    patches = mutant.patches()
    before = [(where, name, where.__dict__[name]) for where, name, _ in patches]
    for where, name, defect in patches:
        setattr(where, name, defect)
    try:
        yield
    finally:
        for where, name, healthy in before:
            setattr(where, name, healthy)


def hunt(job: tuple[int, int, float]) -> tuple[SeedReport | None, int] | None:
    """Run seeds until one catches a mutant; returns that one, and how many raised in vain.

    Args:
        job: The mutant's number, the most seeds, and the Unix time after which no hunt begins.

    Returns:
        None: it was too late to begin.
    """
    number, seeds, until = job
    if time.time() > until:
        return None
    crashes = 0
    for seed in range(seeds):
        with planted(MUTANTS[number]):
            report = report_of(*run_seed(seed, MUTANTS[number].mix))
        if report.invariant == CRASHED:
            crashes += 1
        elif report.invariant and is_sound(seed, MUTANTS[number].mix):
            return report, crashes
    return None, crashes


def is_sound(seed: int, mix: str) -> bool:
    """Tell whether the healthy cores keep every invariant in a seed: else it says nothing of a mutant."""
    return run_seed(seed, mix)[1] is None


def hunt_all(seeds: int, jobs: int, only: str = "", until: float = float("inf")) -> bool:
    """Plant each mutant, one a process at a time, and print who caught it; returns whether all were.

    Args:
        seeds: The most, of each.
        jobs: Processes.
        only: Of the mutants those whose names contain this.
        until: Unix time after which no further hunt begins: what is left then is named, and escaped nobody.
    """
    began = time.monotonic()
    escaped = left = 0
    numbers = [number for number, mutant in enumerate(MUTANTS) if only in mutant.name]
    with multiprocessing.Pool(jobs) as pool:
        hunts = pool.imap(hunt, [(number, seeds, until) for number in numbers])
        for number, hunted in zip(numbers, hunts, strict=True):
            if hunted is None:
                left += 1
                print(f"{MUTANTS[number].name:60} not hunted, the time was up", flush=True)  # noqa: T201
                continue
            report, crashes = hunted
            escaped += report is None
            verdict = "ESCAPED" if report is None else f"seed {report.seed}: {report.invariant}"
            also = f" ({crashes} seeds raised before)" if crashes else ""
            print(f"{MUTANTS[number].name:60} {verdict}{also}", flush=True)  # noqa: T201
    tried, took_s = len(numbers) - left, time.monotonic() - began
    print(f"{escaped} of {tried} escaped {seeds} seeds, {left} not hunted; {took_s:.0f} s")  # noqa: T201
    return not escaped


def main() -> None:
    """Hunt all mutants."""
    fix_hashing()
    sys.exit(0 if hunt_all(1000, os.cpu_count() or 1) else 1)


if __name__ == "__main__":
    main()
