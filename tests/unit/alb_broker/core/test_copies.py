"""When a straggler is copied, where to, and what becomes of who loses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    Desks,
    attempt,
    ended,
    make_attempt,
    make_task,
    notes,
    of_type,
    outcome,
    submit,
    to_client,
    to_worker,
)

from alb_broker.core.actions import SendGrant
from alb_broker.core.copies import AGE_MIN_S, COPIES_MAX
from alb_broker.core.explaining import explain
from alb_core import zk, znodes
from alb_core.copies import CopiesNode
from alb_core.increments import Line
from alb_core.messages import (
    AttemptAck,
    AttemptEnded,
    AttemptExited,
    AttemptProgress,
    AttemptStarted,
    Beat,
    Cancel,
    Finished,
    Grant,
    Increments,
    Kill,
    Run,
    StreamName,
)
from alb_core.resources import Load, Request
from alb_core.shares import Share, SharesNode
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import AttemptState, Cause, TaskState
from alb_core.vectors import weighed

LIVE, OVER = AttemptState.LIVE, AttemptState.OVER
SPEC = TaskSpec(command="x", speculative=True)
STEPS = TaskSpec(command="x", speculative=True, steps=40)
LATE_S = 10.0
#: Own clock, when what began at 0 and should take 2 s lags.


def peer(worker: int) -> bytes:
    """Return a worker's address."""
    return f"worker-{worker}".encode()


def desks(workers: int = 4, **fields: Any) -> Desks:
    """Return a leader with a client and workers of one processor."""
    each = Desks(**fields)
    each.greet("ann")
    for number in range(1, workers + 1):
        each.join(f"w{number}", peer=peer(number))
    return each


def where(each: Desks, number: int, n: int = 1) -> int:
    """Return the number of the worker that has an attempt."""
    found = each.task(number).attempt(n)
    assert found is not None
    return int(found.worker.removeprefix("w"))


def end(each: Desks, number: int, n: int = 1, **fields: Any) -> list[object]:
    """Let an attempt end well after 2 s; returns what its worker hears after the commit."""
    worker = peer(where(each, number, n))
    report = AttemptEnded(attempt=attempt(number, n), outcome=outcome(wall_s=2.0, **fields))
    each.worker(report, peer=worker)
    return list(to_worker(worker, each.commit()))


def lagging(spec: TaskSpec = SPEC, workers: int = 4, tasks: int = 4, **fields: Any) -> Desks:
    """Return a leader whose last task lags: all were placed at 0, the others ended after 2 s, it is late."""
    each = desks(workers, **fields)
    each.client(*(submit(number, spec) for number in range(1, tasks + 1)))
    each.turn()
    each.at(2.0)
    for number in range(1, tasks):
        end(each, number)
    each.at(LATE_S - 1)
    for number in range(1, workers + 1):
        each.worker(Beat(load=Load()), peer=peer(number))
    each.commit()
    return each


def began(each: Desks) -> None:
    """Let workers say that what they were given has begun."""
    for worker in each.state.workers:
        for name in list(worker.unconfirmed):
            each.worker(AttemptStarted(attempt=name, began=True), peer=worker.peer)


def look(each: Desks, at: float = LATE_S) -> list[int]:
    """Let the leader look for stragglers; returns the numbers of the last task's live attempts."""
    began(each)
    each.state.at = at
    each.copies.tick()
    return [found.n for found in each.task(4).live()]


def test_a_straggler_is_copied_and_its_worker_hears_it_after_the_commit() -> None:
    """The copy is in the table before it leaves; whose it is, and on which worker, is written there."""
    each = lagging()
    assert look(each) == [1, 2]
    assert all(to_worker(peer(number), each.state.take_out()) == [] for number in range(1, 5))
    released = each.commit()
    copy = each.task(4).attempts[-1]
    (run,) = to_worker(peer(where(each, 4, 2)), released)
    assert isinstance(run, Run)
    assert (run.attempt, run.readers) == (attempt(4, 2), ())
    record = znodes.decode_task(each.written[-1].path, each.written[-1].data)  # type: ignore[union-attr]
    assert record.attempts[-1] == copy
    assert (copy.copy_of, copy.policy) == (1, "copies")
    assert copy.worker != record.attempts[0].worker
    assert to_client(C1, released) == []


@pytest.mark.parametrize("first", [1, 2])
def test_the_first_success_wins_and_the_other_is_killed(first: int) -> None:
    """One result, one Finished; the loser is killed after the commit, and its room comes back once."""
    each = lagging()
    look(each)
    each.commit()
    loser = 3 - first
    home, away = where(each, 4, first), where(each, 4, loser)
    each.at(12.0).worker(
        AttemptEnded(attempt=attempt(4, first), outcome=outcome(wall_s=9.0)), peer=peer(home)
    )
    released = each.commit()
    assert AttemptAck(attempt=attempt(4, first)) in to_worker(peer(home), released)
    assert to_worker(peer(away), released) == [Kill(attempt=attempt(4, loser), why="superseded")]
    (finished,) = [told for told in to_client(C1, released) if isinstance(told, Finished)]
    assert finished.result.attempt == first
    worker = each.state.workers.by_name[f"w{away}"]
    assert worker.room.cpus == 0  # its processes may still be there
    for _ in range(2):
        each.worker(ended(4, loser), peer=peer(away))
        released = each.commit()
        assert to_worker(peer(away), released) == [AttemptAck(attempt=attempt(4, loser))]
        assert to_client(C1, released) == []
        assert worker.room.cpus == 1
    assert each.state.counters["attempts_outrun"] == 1
    assert each.state.counters["copies_won"] == (first == 2)
    wasted_s = {1: 2.0, 2: 12.0}[first]  # the copy began at 10, the original at 0
    assert each.state.counters["copies_wasted_ms"] == 1000 * wasted_s


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(command="x"),
        TaskSpec(command="x", speculative=False),
        TaskSpec(command="x", on_lost=OnLost.FAIL),
    ],
)
def test_who_did_not_say_so_is_not_copied(spec: TaskSpec) -> None:
    """A task that lags runs on alone unless it said that it may run twice."""
    assert look(lagging(spec)) == [1]


@pytest.mark.parametrize(("time", "tried"), [(0.5, [1, 2]), (0.4, [1])])
def test_a_copy_is_for_whom_time_counts(time: float, tried: list[int]) -> None:
    """Where resources count more, nothing is run twice."""
    vector = weighed(time, 1 - time)
    assert look(lagging(msgspec.structs.replace(SPEC, request=Request(optimize=vector)))) == tried


def test_what_has_not_reached_its_worker_is_not_copied() -> None:
    """It lags for want of a commit or a link, not of a processor: its order to run is sent again."""
    each = lagging()
    each.state.at = LATE_S
    each.copies.tick()
    assert [found.n for found in each.task(4).live()] == [1]
    assert look(each, LATE_S + 1) == [1, 2]


def test_the_default_can_be_that_all_may() -> None:
    """With `unasked` also those are copied that say nothing, from then on."""
    each = desks()
    each.copies_desk.on_node(read_node(CopiesNode(unasked=True)))
    each.client(*(submit(number, TaskSpec(command="x")) for number in range(1, 5)))
    each.turn()
    each.at(2.0)
    for number in range(1, 4):
        end(each, number)
    assert look(each) == [1, 2]


def read_node(node: CopiesNode) -> zk.NodeRead:
    """Return ``/config/copies`` as it was read."""
    return zk.NodeRead(
        path=znodes.COPIES,
        data=znodes.encode(node),
        stat=zk.Stat(version=0, mtime_s=0.0, owner=0),
    )


def test_nothing_is_copied_when_the_share_is_none() -> None:
    """Copies can be switched off, and on again for what runs."""
    each = lagging()
    each.copies_desk.on_node(read_node(CopiesNode(share=0.0)))
    assert look(each) == [1]
    each.copies_desk.on_node(read_node(CopiesNode()))
    assert look(each, LATE_S + 1) == [1, 2]


def test_nothing_is_copied_while_somebody_waits_for_the_room() -> None:
    """A task that waits for more than is free still could use the worker once it is empty."""
    each = lagging()
    each.client(submit(9, TaskSpec(command="big", request=Request(cpus=1.0, memory_bytes=1 << 29))))
    assert look(each) == [1]  # it is not placed yet
    each.client(submit(8, TaskSpec(command="never", request=Request(cpus=99.0))))
    each.turn()
    assert look(each, LATE_S + 1) == [1, 2]  # no worker could ever run what waits now


def test_young_ones_are_not_copied() -> None:
    """Nor is one that lags by a little: a copy would not be sooner."""
    each = desks()
    each.client(*(submit(number, SPEC) for number in range(1, 5)))
    each.turn()
    each.at(2.0)
    for number in range(1, 4):
        end(each, number)
    assert look(each, 2.5) == [1]
    assert look(each, 3.5) == [1, 2]
    assert AGE_MIN_S < 3.5


def test_steps_show_a_straggler_before_it_is_overdue() -> None:
    """One of 40 steps in a second tells that 39 s are left: no need to wait until it has lasted too long."""
    each = desks()
    each.client(*(submit(number, STEPS) for number in range(1, 5)))
    each.turn()
    each.at(1.2)
    progress = AttemptProgress(attempt=attempt(4), increments=1, step=1)
    each.worker(Beat(load=Load(), progress=(progress,)), peer=peer(where(each, 4)))
    for number in range(1, 4):
        end(each, number)
    assert look(each, 2.1) == [1, 2]


def test_the_bound_holds_for_all_and_for_each() -> None:
    """With four processors one copy at once, of a task one at a time, and at most so many."""
    each = lagging()
    each.state.stragglers.use(CopiesNode(share=1.0), each.state.table.live.values())
    at = LATE_S
    for copies in range(1, COPIES_MAX + 1):
        n = copies + 1
        assert look(each, at) == [1, n]
        assert look(each, at + 1) == [1, n]
        each.worker(ended(4, n, exit_code=1), peer=peer(where(each, 4, n)))
        each.commit()
        for worker in each.state.workers:
            worker.quarantine = None
        at += 2
    assert look(each, at) == [1]


def test_one_copy_at_once_in_a_small_cluster() -> None:
    """A tenth of six processors is no copy, but one there is at least."""
    each = desks(6)
    each.client(*(submit(number, SPEC) for number in range(1, 7)))
    each.turn()
    each.at(2.0)
    for number in (1, 2, 3, 6):
        end(each, number)
    look(each)
    assert len(each.copies.running(each.state.table.live.values())) == 1
    assert each.copies.cpus_max == pytest.approx(0.6)


@pytest.mark.parametrize(("share", "copies"), [(0.01, 1), (0.05, 1), (0.1, 2), (0.19, 3)])
def test_the_bound_is_of_processors(share: float, copies: int) -> None:
    """However many each of them reserves: copies have no more of all together than is said."""
    each = Desks()
    each.greet("ann")
    for number in range(1, 21):
        each.join(f"w{number}", cpus=2.0, peer=peer(number))
    each.state.stragglers.use(CopiesNode(share=share), ())
    spec = TaskSpec(command="x", speculative=True, request=Request(cpus=2.0))
    each.client(*(submit(number, spec) for number in range(1, 21)))
    each.turn()
    each.at(2.0)
    for number in range(5, 21):
        end(each, number)
    look(each)
    copied = each.copies.running(each.state.table.live.values())
    assert len(copied) == copies


def test_the_fastest_idle_worker_gets_the_copy() -> None:
    """What ends on workers tells their pace."""
    each = lagging()
    idle = [number for number in range(1, 5) if number != where(each, 4)]
    paces = each.state.stragglers._paces
    paces.update({f"w{idle[0]}": 0.5, f"w{idle[1]}": 4.0, f"w{idle[2]}": 2.0})
    assert look(each) == [1, 2]
    assert where(each, 4, 2) == idle[1]


def test_cancel_reaches_both() -> None:
    """Both workers are told to kill; the task is CANCELLED when the second has reported."""
    each = lagging()
    look(each)
    each.commit()
    each.client(Cancel(id=attempt(4).task))
    released = each.commit()
    for n in (1, 2):
        kill = Kill(attempt=attempt(4, n), why="cancelled")
        assert kill in to_worker(peer(where(each, 4, n)), released)
    homes = [where(each, 4, n) for n in (1, 2)]
    each.worker(ended(4, 1, cause=Cause.KILLED), peer=peer(homes[0]))
    assert to_client(C1, each.commit()) == []
    each.worker(ended(4, 2, cause=Cause.KILLED), peer=peer(homes[1]))
    (finished,) = [told for told in to_client(C1, each.commit()) if isinstance(told, Finished)]
    assert finished.result.state is TaskState.CANCELLED
    assert [worker.room.cpus for worker in each.state.workers] == [1.0] * 4


@pytest.mark.parametrize("n", [1, 2])
def test_the_loss_of_a_worker_is_harmless(n: int) -> None:
    """The other attempt goes on; should the lost one come back, it is killed before its worker gets more."""
    each = lagging()
    look(each)
    each.commit()
    home = where(each, 4, n)
    worker = each.state.workers.by_name[f"w{home}"]
    each.workers._lose(worker, "neither session nor link")
    each.commit()
    assert [found.n for found in each.task(4).live()] == [3 - n]
    released = each.join(f"w{home}", attempt(4, n), peer=peer(home))
    each.workers.tick()
    released += each.commit()
    assert Kill(attempt=attempt(4, n), why="superseded") in to_worker(peer(home), released)


def test_a_new_leader_adopts_both() -> None:
    """Both belong to their workers' incarnations; the first success wins there, too."""
    each = desks()
    each.state.table.add(make_task(4, make_attempt(1, "w1"), _made(make_attempt(2, "w2")), spec=SPEC))
    each.workers.adopt_table()
    assert [worker.room.cpus for worker in each.state.workers] == [0.0, 0.0, 1.0, 1.0]
    assert len(each.copies.running(each.state.table.live.values())) == 1
    each.worker(ended(4, 2), peer=peer(2))
    assert Kill(attempt=attempt(4, 1), why="superseded") in to_worker(peer(1), each.commit())


def _made(original: Any) -> Any:
    return msgspec.structs.replace(original, copy_of=1)


def test_a_new_leader_learns_from_what_is_over() -> None:
    """Finished tasks that it finds in the table tell what is to be expected of those that run."""
    each = lagging()
    fresh = desks()
    for number in range(1, 4):
        done = each.state.table.done[attempt(number).task]
        done.finished -= 100.0
        fresh.state.table.done[done.id] = done
    fresh.state.table.add(make_task(4, make_attempt(1, "w1", placed=fresh.state.now()), spec=SPEC))
    fresh.workers.adopt_table()
    assert look(fresh) == [1, 2]


def test_who_reports_increments_has_the_task_alone() -> None:
    """They are numbered within the task: the mark in the table ends the other attempt in the same write."""
    each = lagging(store="sqlite:x.db")
    look(each)
    each.commit()
    home, away = where(each, 4, 2), where(each, 4, 1)
    told = Increments(attempt=attempt(4, 2), first=1, lines=(Line("", "1"),))
    each.worker(told, peer=peer(home))
    released = each.commit()
    assert [(found.n, found.state) for found in each.task(4).attempts] == [(1, OVER), (2, LIVE)]
    assert Kill(attempt=attempt(4, 1), why="superseded") in to_worker(peer(away), released)
    late = Increments(attempt=attempt(4, 1), first=1, lines=told.lines)
    assert notes(each.worker(late, peer=peer(away)), "message_dropped")
    assert each.state.counters["increments_stored"] == 0


def test_what_is_stored_as_it_goes_is_not_copied() -> None:
    """With a results store tasks of steps go on where they stopped: a copy would number the same again."""
    each = lagging(STEPS, store="sqlite:x.db")
    assert look(each) == [1]


def test_a_straggler_that_is_over_but_for_its_report_is_not_copied() -> None:
    """Its processes are gone: nothing is left that could be done sooner."""
    each = lagging()
    each.worker(AttemptExited(attempt=attempt(4)), peer=peer(where(each, 4)))
    each.commit()
    assert look(each) == [1]


def test_readers_read_the_older_attempt_and_then_the_one_that_delivered() -> None:
    """A copy changes nothing of what is streamed; when it wins, its output is the task's."""
    each = lagging()
    look(each)
    each.commit()
    homes = {n: peer(where(each, 4, n)) for n in (1, 2)}
    grant = Grant(task=attempt(4).task, stream=StreamName.STDOUT, offset=0, window=100)
    each.relay.grant(C1, grant)
    (sent,) = of_type(SendGrant, each.state.take_out())
    assert (sent.peer, sent.grant.attempt) == (homes[1], 1)
    each.worker(ended(4, 2), peer=homes[2])
    each.commit()
    each.relay.grant(C1, grant)
    (sent,) = of_type(SendGrant, each.state.take_out())
    assert (sent.peer, sent.grant.attempt) == (homes[2], 2)


def test_a_placement_as_a_copy_is_explained() -> None:
    """Whose copy it is; that no policy was asked is no loss of memory."""
    each = lagging()
    look(each)
    first, copy = explain(each.state, each.task(4).record(), "").placements
    assert (first.copy_of, copy.copy_of, copy.policy, copy.forgotten) == (0, 1, "copies", "")


def test_users_bounds_hold_for_copies() -> None:
    """A copy reserves on its user's account: who may have no more gets none."""
    each = lagging()
    each.state.shares.use(SharesNode(users={"ann": Share(cpus_max=1.0)}))
    assert look(each) == [1]
