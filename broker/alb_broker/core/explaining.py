"""Why a task waits, and why its attempts went where they went: the answer to ``alb explain``.

It reads the leader's books and changes nothing. Sentences are for people, worded here, because only here all
of it is known; each has a code for programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alb_broker.core.groups import WaitingGroup, key_of
from alb_broker.core.reservations import FOREVER, Reservation
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core.amounts import listed
from alb_core.drains import named
from alb_core.explanations import Considered, Explanation, Placement, Reason
from alb_core.messages import AttemptId
from alb_core.resources import Request, amount_of, fits
from alb_core.tasks import Attempt, TaskRecord, TaskState

USERS_NAMED: Final = 3
#: Of those whose turn is before.
WORKERS_NAMED: Final = 5
SHAPES_MAX: Final = 100
#: Requests that are held against all workers for one explanation.
MEBIBYTE: Final = 1024 * 1024
BUSY: Final = "busy"


def explain(state: State, record: TaskRecord, why: str) -> Explanation:
    """Return all that is known of why a task is where it is.

    Args:
        state: The reign's parts.
        record: The task, as the table holds it or the results store remembers it.
        why: What keeps it, where that is not just room.
    """
    task = state.table.live.get(record.id)
    placements = tuple(_placement(state, record, attempt) for attempt in record.attempts)
    if task is None or task.state is TaskState.RUNNING:
        return Explanation(user=record.user, priority=record.spec.priority, placements=placements)
    group = state.queue.group(key_of(task)) if task.waits_for_room else None
    level = group.level(task, state.now()) if group is not None else record.spec.priority
    return Explanation(
        user=record.user,
        priority=record.spec.priority,
        level=level,
        waits_s=round(state.now() - task.queued_since, 3) if task.waits_for_room else None,
        reasons=tuple(_reasons(state, task, group, why)),
        placements=placements,
    )


# --- why it waits -----------------------------------------------------------------------------------------


def _reasons(state: State, task: Task, group: WaitingGroup | None, why: str) -> Iterator[Reason]:
    """Yield what keeps a task that waits, what must change first before the rest."""
    if task.state is TaskState.HELD:
        yield Reason("held", why)
        return
    if task.postponed:
        yield Reason("postponed", why)
        return
    if state.store.holds_back(task):
        text = "only the results store knows where it goes on, and that does not answer: alb status tells why"
        yield Reason("store", text)
        return
    bounded = state.shares.why_not(task.user, task.request)
    if bounded:
        yield Reason("bounded", bounded)
    unfit = state.workers.why_never(task.request)
    if unfit:
        yield Reason("unfit", unfit)
    if group is not None:
        yield Reason("turn", _turn(state, task, group))
        yield from _set_aside(state, task, group)
        declined = state.why_declined(task)
        if declined:
            yield Reason("declined", declined)
    if not unfit:
        barred = state.why_barred(task)
        if barred:
            yield Reason("barred", barred)
        yield Reason("room", _room(state, task))


def _turn(state: State, task: Task, group: WaitingGroup) -> str:
    """Return whose turn comes before that of a task."""
    before = _that_fit(state, state.queue.before(group, state.shares.share, state.now()))
    likes = 0
    for each in group.tasks:
        if each is task:
            break
        likes += each.waits_for_room
    level = group.level(task, state.now())
    risen = f", risen to {level} for it got nothing so long" if level > group.key[1] else ""
    share = f"{task.user} has {_part(state, task.user)} of the cluster, with what waits ahead or is demoted"
    text = f"its priority is {group.key[1]}{risen}; {share}"
    if likes:
        text += f"; {likes} of his like it were submitted before"
    if not before:
        return f"{text}; it is the next" if not likes else f"{text}; their turn is next"
    users = sorted({each.key[0] for each in before})
    named_users = ", ".join(f"{user} ({_part(state, user).rstrip(',')})" for user in users[:USERS_NAMED])
    more = f" and {len(users) - USERS_NAMED} users more" if len(users) > USERS_NAMED else ""
    groups = "another group" if len(before) == 1 else f"{len(before)} other groups"
    return f"{text}; the turn of {groups} of tasks is before, of {named_users}{more}"


def _that_fit(state: State, groups: list[WaitingGroup]) -> list[WaitingGroup]:
    """Return the groups that could run somewhere: the others are before nobody."""
    known: dict[Request, bool] = {}
    found = []
    for group in groups:
        request = group.key[2]
        fitting = known.get(request, True)
        if request not in known and len(known) < SHAPES_MAX:
            fitting = known[request] = any(fits(request, worker.capacity) for worker in state.workers)
        if fitting:
            found.append(group)
    return found


def _part(state: State, user: str) -> str:
    """Return what a user has of the cluster, and as what it counts."""
    part, weight = state.shares.dominant(user)[0], state.shares.weight(user)
    return f"{part:.1%}, at weight {weight:g} as {part / weight:.1%}," if weight != 1.0 else f"{part:.1%}"


def _set_aside(state: State, task: Task, group: WaitingGroup) -> Iterator[Reason]:
    """Yield what reservations mean for a task."""
    reservations = state.placer.reservations.by_key
    own = reservations.get(group.key)
    if own is not None:
        whose = "it" if group.head() is task else "the first of its likes"
        text = f"worker {own.worker.name} is set aside for {whose}: {_awaited(state, own)}"
        yield Reason("reserved", text)
    others = [
        each.worker.name
        for each in reservations.values()
        if each is not own and fits(task.request, each.worker.capacity)
    ]
    if others:
        are = "are" if len(others) > 1 else "is"
        text = (
            f"{named(others)} {are} set aside for tasks that found no room for long: only what surely ends "
        )
        yield Reason(
            "set-aside", f"{text}before they can start (alb submit -t), or leaves them room, goes there"
        )


def _awaited(state: State, reservation: Reservation) -> str:
    """Return when there will be room on a worker that is set aside."""
    worker = reservation.worker
    there = {attempt.task for attempt in worker.attempts()}
    ends = len(there & reservation.passing)
    if worker.preempted:
        return f"it starts when {ends} tasks there have ended, and {len(worker.preempted)} are ended for it"
    if reservation.moment == FOREVER:
        return f"it starts when {ends} tasks there have ended, nobody knows when, for some have no time limit"
    left = max(0.0, reservation.moment - state.now())
    return f"it starts when {ends} tasks there have ended, in {left:.0f} s at the latest by their time limits"


def _room(state: State, task: Task) -> str:
    """Return what keeps each worker from having room for a task, as counts and some names."""
    kinds: dict[str, list[Worker]] = {}
    for worker in state.workers:
        kinds.setdefault(_lack(state, worker, task), []).append(worker)
    free = kinds.pop("", [])
    parts = [
        f"{len(workers)} {lack} ({_examples(lack, workers, task.request)})"
        for lack, workers in sorted(kinds.items())
    ]
    if free:
        names = named([worker.name for worker in free], WORKERS_NAMED)
        parts.insert(0, f"{names} could take it now: it is placed as soon as {_awaited_turn(state, task)}")
    return f"of {len(state.workers.by_name)} workers: {'; '.join(parts)}"


def _awaited_turn(state: State, task: Task) -> str:
    """Return what a task waits for that has room."""
    if state.shares.why_not(task.user, task.request):
        return "its user may have more"
    return "the policy wants it to" if state.why_declined(task) else "its turn comes"


def _lack(state: State, worker: Worker, task: Task) -> str:
    """Return what a worker lacks for a task; empty: nothing."""
    request = task.request
    lacks = {
        "not heard, or without a session": not (worker.session and worker.link),
        "drained, in quarantine or about to stop": not worker.placeable,
        "without the labels or the architecture": not request.suits(worker.capacity),
        "too small, even when empty": not fits(request, worker.capacity),
        "set aside for others": worker.booked is not None and worker.booked.key != key_of(task),
        "with as many commands without a time limit as it takes": not state.admits(task, worker),
        BUSY: not worker.fits(request),
    }
    return next((lack for lack, is_lacking in lacks.items() if is_lacking), "")


def _examples(lack: str, workers: list[Worker], request: Request) -> str:
    if lack != BUSY:
        return named([worker.name for worker in workers], WORKERS_NAMED)
    workers = sorted(workers, key=lambda worker: -worker.room.cpus)[:WORKERS_NAMED]
    return ", ".join(_free(each, request) for each in workers)


def _free(worker: Worker, request: Request) -> str:
    """Return what is free on a worker of what is asked for, and what lacks besides."""
    room, offers = worker.room, worker.capacity
    parts = [
        f"{max(0.0, room.cpus):g} of {offers.cpus:g} cpus",
        f"{max(0, room.memory_bytes) // MEBIBYTE} of {offers.memory_bytes // MEBIBYTE} MiB",
    ]
    if request.net_bps:
        parts.append(f"{max(0, room.net_bps) / 1e6:g} of {offers.net_bps / 1e6:g} Mbit/s")
    parts += [
        f"{max(0, room.counts.get(count.name, 0))} of {amount_of(offers.counts, count.name)} {count.name}"
        for count in request.counts
    ]
    text = f"{worker.name}: {listed(parts)} free"
    if request.measured and not worker.load.leaves(request, offers):
        load = worker.load
        net = f" net {load.net:.0%}" if request.net_bps else ""
        text += f" but measured cpu {load.cpu:.0%} mem {load.memory:.0%}{net} in use"
    return f"{text} behind {len(worker.ahead)} that wait there" if worker.ahead else text


# --- why there --------------------------------------------------------------------------------------------


def _placement(state: State, record: TaskRecord, attempt: Attempt) -> Placement:
    """Return what is known of why an attempt went to its worker."""
    decided = state.decisions.get(AttemptId(record.id, attempt.n))
    forgotten = ""
    if decided is not None or attempt.copy_of:
        pass  # it is known, or no policy was asked
    elif attempt.epoch != state.epoch:
        forgotten = (
            f"the leader has changed since: epoch {attempt.epoch} placed it, this is epoch {state.epoch}"
        )
    else:
        forgotten = "too much has been placed since"
    return Placement(
        n=attempt.n,
        worker=attempt.worker,
        placed=attempt.placed,
        policy=attempt.policy,
        candidates=attempt.candidates,
        ahead=attempt.ahead,
        part=attempt.part,
        copy_of=attempt.copy_of,
        ended_as=attempt.ended_as,
        demoted=attempt.demoted or 0.0,
        lent_to=state.decisions.lent(AttemptId(record.id, attempt.n)),
        room_by=state.decisions.lenders(record.id, attempt.worker),
        ended_for=state.decisions.lent(AttemptId(record.id, attempt.n), whole=True),
        memory_by=state.decisions.lenders(record.id, attempt.worker, whole=True),
        considered=tuple(
            Considered(
                worker=each.worker,
                cpus=each.cpus,
                memory_bytes=each.memory_bytes,
                net_bps=each.net_bps,
                cpu_load=each.load.cpu,
                memory_load=each.load.memory,
                net_load=each.load.net,
                speed=each.speed,
            )
            for each in decided.seen
        )
        if decided is not None
        else (),
        waited_s=round(decided.waited_s, 3) if decided is not None else None,
        share=round(decided.share, 6) if decided is not None else None,
        forgotten=forgotten,
    )
