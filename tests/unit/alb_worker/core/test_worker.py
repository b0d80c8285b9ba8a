"""The whole core: what spans its parts. Given these events, these actions."""

from __future__ import annotations

import msgspec
import pytest
from tests.worker_parts import (
    ENDPOINT,
    NODE,
    OUTPUT,
    PATH,
    Bench,
    attempt,
    ended,
    kinds,
    leader_node,
    of_kind,
    only,
    read_of,
    run,
    said,
)

from alb_core import limits, zk
from alb_core.errors import InvalidTransition
from alb_core.increments import Line
from alb_core.messages import (
    AttemptAck,
    AttemptEnded,
    AttemptProgress,
    AttemptUse,
    Beat,
    Error,
    Grant,
    Heartbeat,
    Kill,
    NotLeader,
    Reader,
    Register,
    Registered,
    Run,
    StreamName,
)
from alb_core.notes import Note
from alb_core.resources import Load
from alb_core.tasks import Cause
from alb_worker.core.actions import (
    ConnectLeader,
    DisconnectLeader,
    Exit,
    KillAttempt,
    LaunchAttempt,
    SendChunk,
    SendToLeader,
)
from alb_worker.core.departure import (
    EXIT_REPLACED,
    EXIT_STOPPED,
    EXIT_STOPPED_TWICE,
    EXIT_TABLE_WENT_BACK,
    KILL_S_MAX,
    REPORT_S_MAX,
)
from alb_worker.core.events import (
    AttemptLaunched,
    Granted,
    LinkClosed,
    LinkOpened,
    LoadMeasured,
    OutputGrew,
    Reported,
    RunnerLost,
    SpoolDropped,
    StopRequested,
    Tick,
    UsesMeasured,
)
from alb_worker.core.link import STALE_S_MAX
from alb_worker.core.worker import REMIND_S

A1 = attempt(1, 1)
A2 = attempt(2, 1)
ELSEWHERE = "tcp://10.0.0.2:7001"
READER = Reader(reader=b"r1", window=limits.WINDOW_BYTES_MAX)


def start(bench: Bench) -> None:
    """Run an attempt until its process is there."""
    bench.handle(said(run(A1)))
    bench.handle(AttemptLaunched(at=1.0, attempt=A1, pid=7))


def new_leader(bench: Bench, epoch: int = 4) -> Register:
    """Let another leader take over; return how the worker introduces itself."""
    look = only(zk.ReadNodes, bench.handle(zk.NodeChanged(at=2.0, path="/leader")))
    bench.answer(look, leader_node(epoch=epoch, workers=ELSEWHERE, broker="b2"), at=2.0)
    return only(Register, bench.handle(LinkOpened(at=2.0, endpoint=ELSEWHERE)))


def test_one_task_from_order_to_acknowledgement() -> None:
    """Run, launched, ended, acknowledged: each is answered at once, and nothing is left."""
    bench = Bench().register()
    assert kinds(bench.handle(said(run(A1)))) == ["LaunchAttempt"]
    assert kinds(bench.handle(AttemptLaunched(at=1.0, attempt=A1, pid=7))) == ["AttemptStarted"]
    assert kinds(bench.handle(ended(A1))) == ["AttemptEnded"]
    assert bench.handle(said(AttemptAck(attempt=A1))) == []
    assert bench.core.attempts.idle


def test_a_leader_change_leaves_commands_running_and_tells_the_new_leader_all() -> None:
    """What runs and what is unacknowledged is named on registering; the reports follow; nothing is killed."""
    bench = Bench().register()
    start(bench)
    bench.handle(said(run(A2)))
    bench.handle(ended(A2))
    greeting = new_leader(bench)
    assert set(greeting.held) == {A1, A2}
    assert greeting.load.running == 1
    actions = bench.handle(said(Registered(broker="b2", output=OUTPUT), at=2.0, epoch=4))
    assert only(AttemptEnded, actions).attempt == A2
    assert not of_kind(KillAttempt, actions)


def test_what_ends_while_nobody_listens_is_reported_later() -> None:
    """Between two leaders nothing is sent; the report waits for the next registration."""
    bench = Bench().register()
    start(bench)
    bench.handle(LinkClosed(at=1.0, endpoint=ENDPOINT))
    assert kinds(bench.handle(ended(A1))) == []
    assert not of_kind(AttemptEnded, bench.handle(Tick(at=1.5)))
    bench.handle(LinkOpened(at=2.0, endpoint=ENDPOINT))
    actions = bench.handle(said(Registered(broker="b1", output=OUTPUT), at=2.0))
    assert only(AttemptEnded, actions).attempt == A1


def test_reports_are_repeated_by_the_clock_while_registered() -> None:
    """An unacknowledged report goes out again with a tick."""
    bench = Bench().register()
    start(bench)
    bench.handle(ended(A1))
    assert not of_kind(AttemptEnded, bench.handle(Tick(at=1.1)))
    assert of_kind(AttemptEnded, bench.handle(Tick(at=1.0 + limits.RESEND_S)))


@pytest.mark.parametrize("message", [run(A2), Kill(attempt=A1, why="cancelled"), AttemptAck(attempt=A1)])
def test_orders_of_a_deposed_leader_are_refused(message: Run | Kill | AttemptAck) -> None:
    """Once a higher epoch was heard, an older one starts, kills and acknowledges nothing."""
    bench = Bench().register()
    start(bench)
    new_leader(bench)
    assert kinds(bench.handle(said(message, epoch=3))) == ["message_dropped"]
    assert set(bench.core.attempts.records) == {A1}


def test_a_deposed_leader_may_still_say_who_leads() -> None:
    """NotLeader is a hint: it is taken from anybody."""
    bench = Bench().register()
    actions = bench.handle(said(NotLeader(where=ELSEWHERE), epoch=1, at=10.0))
    assert only(ConnectLeader, actions).endpoint == ELSEWHERE
    assert bench.core.link.fence.epoch == 3


def test_an_order_of_a_newer_epoch_over_the_same_link_is_obeyed_and_answered_by_registering() -> None:
    """The broker leads again: its order counts, and it is told who we are."""
    bench = Bench().register()
    actions = bench.handle(said(run(A1), epoch=4))
    assert kinds(actions) == ["Register", "LaunchAttempt"]


def test_a_frame_is_taken_in_its_order() -> None:
    """Each order follows the one before it; a frame of the past is refused whole, and said once."""
    bench = Bench().register()
    actions = bench.handle(said(run(A1), Kill(attempt=A1, why="cancelled"), run(A2)))
    assert kinds(actions) == ["LaunchAttempt", "KillAttempt", "LaunchAttempt"]
    assert kinds(bench.handle(said(run(attempt(3)), run(attempt(4)), epoch=2))) == ["message_dropped"]
    assert bench.core.attempts.held() == (A1, A2)


def test_a_hint_counts_also_in_a_frame_that_is_refused() -> None:
    """Whoever says who leads, and whatever else he says: the worker looks, and obeys nothing."""
    bench = Bench().register()
    actions = bench.handle(said(run(A1), NotLeader(), epoch=2))
    assert kinds(actions) == ["message_dropped", "ReadNodes"]


def test_another_table_forgets_attempt_numbers() -> None:
    """After a restore the same attempt may be ordered again, and its old output makes way."""
    bench = Bench().register()
    start(bench)
    bench.handle(ended(A1, stdout=b"old"))
    bench.handle(said(AttemptAck(attempt=A1)))
    look = only(zk.ReadNodes, bench.handle(zk.NodeChanged(at=2.0, path="/leader")))
    bench.answer(look, leader_node(epoch=1, table="table-2"))
    actions = bench.handle(said(run(A1), epoch=1, table="table-2"))
    assert kinds(actions) == ["DropSpool", "LaunchAttempt"]


def test_a_table_that_went_back_ends_the_worker() -> None:
    """It refuses the leader that is there and would wait for ever: a new life, with no past, does not."""
    bench = Bench().register()
    start(bench)
    bench.handle(LinkClosed(at=1.0, endpoint=ENDPOINT))
    actions: list[object] = []
    for at in (2.0, 2.0 + STALE_S_MAX):
        look = only(zk.ReadNodes, bench.handle(zk.NodeChanged(at=at, path="/leader")))
        actions = bench.answer(look, leader_node(epoch=1), at=at)
    leaving = only(Exit, actions)
    assert leaving.code == EXIT_TABLE_WENT_BACK
    assert "went back" in leaving.why


def test_the_beat_carries_the_load_and_what_runs() -> None:
    """Every heartbeat interval the last measured load goes out, with the count of running attempts."""
    bench = Bench().register()
    bench.handle(LoadMeasured(at=0.5, load=Load(cpu=0.5, running=99)))
    start(bench)
    actions = bench.handle(Tick(at=1.0))
    assert only(Beat, actions).load == Load(cpu=0.5, running=1)
    assert not of_kind(Beat, bench.handle(Tick(at=1.5)))


def test_what_attempts_use_fills_the_offer() -> None:
    """However much else of the machine idles; until they end, and where strangers use more, that counts."""
    bench = Bench().register()  # a worker of two processors
    start(bench)
    bench.handle(UsesMeasured(at=0.4, uses=(AttemptUse(attempt=A1, cpus=1.5),)))
    bench.handle(LoadMeasured(at=0.5, load=Load(cpu=0.25, memory=0.5)))
    assert only(Beat, bench.handle(Tick(at=1.0))).load == Load(cpu=0.75, memory=0.5, running=1)
    bench.handle(LoadMeasured(at=1.5, load=Load(cpu=0.9)))
    assert only(Beat, bench.handle(Tick(at=2.0))).load == Load(cpu=0.9, running=1)
    bench.handle(ended(A1))
    bench.handle(LoadMeasured(at=2.5, load=Load()))
    assert only(Beat, bench.handle(Tick(at=3.0))).load == Load()


def test_the_beat_carries_what_attempts_use() -> None:
    """Once; and nothing that was measured while no leader listened."""
    use = AttemptUse(attempt=attempt(1), cpus=0.5)
    bench = Bench()
    bench.handle(UsesMeasured(at=0.1, uses=(use,)))
    bench.register()
    assert only(Beat, bench.handle(Tick(at=1.0))).uses == ()
    bench.handle(UsesMeasured(at=1.1, uses=(use,)))
    assert only(Beat, bench.handle(Tick(at=2.0))).uses == (use,)
    assert only(Beat, bench.handle(Tick(at=3.0))).uses == ()


def test_the_beat_carries_how_far_attempts_have_come() -> None:
    """Once, and whether anybody stores what they report or not."""
    bench = Bench().register()
    start(bench)
    bench.handle(Reported(at=0.5, attempt=attempt(1), lines=(Line("step", "3"),)))
    told = AttemptProgress(attempt=attempt(1), increments=1, step=3)
    assert only(Beat, bench.handle(Tick(at=1.0))).progress == (told,)
    assert only(Beat, bench.handle(Tick(at=2.0))).progress == ()


def test_a_worker_that_waits_says_for_what() -> None:
    """Every REMIND_S the log names what is missing; a registered worker waits for nothing."""
    bench = Bench()
    assert not of_kind(Note, bench.handle(Tick(at=0.0)))
    assert only(Note, bench.handle(Tick(at=REMIND_S))).fields["for"] == "ZooKeeper"
    assert not of_kind(Note, bench.handle(Tick(at=REMIND_S + 1)))
    bench.connect(at=REMIND_S + 2)
    assert only(Note, bench.handle(Tick(at=2 * REMIND_S))).fields["for"] == "a leader"
    bench = Bench().register()
    bench.handle(Tick(at=1.0))
    assert "worker_waiting" not in kinds(bench.handle(Tick(at=3.0)))


def test_heartbeats_of_the_leader_ask_for_nothing() -> None:
    """They only show that it lives."""
    assert Bench().register().handle(said(Heartbeat())) == []


def test_a_refusal_of_the_leader_is_logged() -> None:
    """An Error changes nothing here; the log says what was refused."""
    bench = Bench().register()
    assert kinds(bench.handle(said(Error(code="protocol", why="version 9")))) == ["leader_refused"]


def test_live_output_goes_to_the_readers_of_the_order() -> None:
    """Grants that come with Run are served as the spool grows."""
    bench = Bench().register()
    bench.handle(said(run(A1, readers=(READER,))))
    bench.handle(AttemptLaunched(at=1.0, attempt=A1, pid=7))
    grew = OutputGrew(at=1.0, attempt=A1, stream=StreamName.STDOUT, size_bytes=9)
    assert only(SendChunk, bench.handle(grew)).size_bytes == 9


def test_a_short_command_costs_no_chunk() -> None:
    """Output that fits the result and was never flushed is only in the result."""
    bench = Bench().register()
    bench.handle(said(run(A1, readers=(READER,))))
    assert kinds(bench.handle(ended(A1, stdout=b"hello"))) == ["AttemptEnded"]


def test_a_new_leader_starts_with_no_readers_a_returning_one_keeps_them() -> None:
    """Readers are known by their address at one leader."""
    bench = Bench().register()
    bench.handle(said(run(A1, readers=(READER,))))
    bench.handle(LinkOpened(at=1.0, endpoint=ENDPOINT))
    bench.handle(said(Registered(broker="b1", output=OUTPUT)))
    grew = OutputGrew(at=1.0, attempt=A1, stream=StreamName.STDOUT, size_bytes=9)
    assert of_kind(SendChunk, bench.handle(grew))
    new_leader(bench)
    bench.handle(said(Registered(broker="b2", output=OUTPUT), at=2.0, epoch=4))
    assert not of_kind(SendChunk, bench.handle(msgspec.structs.replace(grew, size_bytes=20)))


def test_output_outlives_the_acknowledgement_until_the_spool_drops_it() -> None:
    """A finished attempt is served until SpoolDropped, then its loss is said."""
    bench = Bench().register()
    start(bench)
    bench.handle(ended(A1, stdout=b"hello"))
    bench.handle(said(AttemptAck(attempt=A1)))
    grant = Granted(at=2.0, grant=Grant(task=A1.task, stream=StreamName.STDOUT, offset=1, window=99))
    assert only(SendChunk, bench.handle(grant)).size_bytes == 4
    bench.handle(SpoolDropped(at=3.0, attempt=A1))
    assert only(SendChunk, bench.handle(grant)).lost


def test_a_lost_runner_interrupts_what_ran_and_ends_its_streams() -> None:
    """Reported as INTERRUPTED; who asked for the output hears the end."""
    bench = Bench().register()
    start(bench)
    bench.handle(
        Granted(at=1.0, grant=Grant(task=A1.task, stream=StreamName.STDOUT, offset=0, window=99, reader=b"r"))
    )
    actions = bench.handle(RunnerLost(at=2.0))
    assert kinds(actions) == ["runner_lost", "SendChunk", "AttemptEnded"]
    assert only(AttemptEnded, actions).outcome.cause is Cause.INTERRUPTED
    assert only(SendChunk, actions).end


def test_a_superseded_attempt_that_waited_ends_its_streams() -> None:
    """An attempt that never reached the runner leaves no output that somebody waits for."""
    bench = Bench().register()
    start(bench)
    bench.handle(said(run(attempt(1, 2), readers=(READER,))))
    actions = bench.handle(said(Kill(attempt=attempt(1, 2), why="cancelled")))
    assert kinds(actions) == ["AttemptEnded"]
    assert not bench.core.streams.open(attempt(1, 2))


def test_a_broken_session_stops_nothing() -> None:
    """Commands run and are reported while ZooKeeper is away."""
    bench = Bench().register()
    start(bench)
    assert kinds(bench.handle(zk.SessionSuspended(at=1.0))) == ["session_unusable"]
    assert kinds(bench.handle(zk.SessionExpired(at=2.0))) == ["session_unusable"]
    assert kinds(bench.handle(ended(A1, at=3.0))) == ["AttemptEnded"]


def test_after_a_lost_session_the_node_is_made_again_with_the_same_incarnation() -> None:
    """A new session registers what the old one had; attempts go on."""
    bench = Bench().register()
    start(bench)
    bench.handle(zk.SessionExpired(at=1.0))
    own, _ = bench.connect(session=0x52, at=2.0)
    claim = only(zk.Multi, bench.answer(own, None))
    assert b'"incarnation":"mine"' in claim.operations[0].data  # type: ignore[union-attr]
    assert A1 in bench.core.attempts.records


def test_answers_that_nobody_expects_are_ignored() -> None:
    """Tokens of a former session come back late."""
    bench = Bench().register()
    assert bench.handle(zk.NodesRead(at=1.0, token=999, nodes=(None,))) == []
    assert bench.handle(zk.MultiEnded(at=1.0, token=999, verdict=zk.Applied((None,)))) == []
    assert bench.handle(zk.ChildrenListed(at=1.0, token=999, names=())) == []


def replace(bench: Bench, at: float = 2.0) -> list[object]:
    """Let a newer incarnation take the node."""
    look = only(zk.ReadNodes, bench.handle(zk.NodeChanged(at=at, path=PATH)))
    other = msgspec.structs.replace(NODE, incarnation="newer")
    return list(bench.answer(look, read_of(PATH, other, owner=0x99), at=at))


def test_a_replaced_worker_kills_all_says_nothing_and_exits() -> None:
    """Another process has the name: no grace, no report, a clear reason."""
    bench = Bench().register()
    start(bench)
    bench.handle(said(run(attempt(1, 2))))
    actions = replace(bench)
    assert of_kind(DisconnectLeader, actions)
    assert only(KillAttempt, actions).grace_s == 0.0
    assert not of_kind(SendToLeader, actions)
    assert bench.handle(said(run(A2))) == []
    actions = bench.handle(ended(A1, cause=Cause.KILLED))
    assert kinds(actions) == ["Exit"]
    assert only(Exit, actions).code == EXIT_REPLACED
    assert "newer" in only(Exit, actions).why
    assert not of_kind(LaunchAttempt, actions)


def test_a_replaced_worker_does_not_wait_for_what_cannot_be_killed() -> None:
    """After its bound it exits, and the runner ends with it."""
    bench = Bench().register()
    start(bench)
    replace(bench)
    assert bench.handle(Tick(at=2.0 + KILL_S_MAX - 0.1)) == []
    assert kinds(bench.handle(Tick(at=2.0 + KILL_S_MAX))) == ["Exit"]


def test_a_replaced_worker_that_is_asked_to_stop_leaves_at_once() -> None:
    """It ends anyway; the reason stays the newer incarnation."""
    bench = Bench().register()
    start(bench)
    replace(bench)
    assert only(Exit, bench.handle(StopRequested(at=2.1))).code == EXIT_REPLACED


def test_an_idle_worker_stops_at_once() -> None:
    """It says that it leaves, deletes its node, says goodbye and exits with 0."""
    bench = Bench().register()
    actions = bench.handle(StopRequested(at=5.0))
    assert kinds(actions) == ["worker_stopping", "Leaving", "Multi"]
    delete = only(zk.Multi, actions)
    assert delete.operations == (zk.Delete(PATH, 0),)
    actions = bench.handle(zk.MultiEnded(at=5.1, token=delete.token, verdict=zk.Applied((None,))))
    assert kinds(actions) == ["Goodbye", "Exit"]
    assert only(Exit, actions).code == EXIT_STOPPED
    assert bench.handle(Tick(at=6.0)) == []


def test_a_stopping_worker_reports_what_it_interrupted_before_it_leaves() -> None:
    """Kill, report until acknowledged, delete the node, exit."""
    bench = Bench().register()
    start(bench)
    assert kinds(bench.handle(StopRequested(at=5.0))) == ["worker_stopping", "Leaving", "KillAttempt"]
    report = only(AttemptEnded, bench.handle(said(run(A2), at=5.1)))
    assert report.outcome.cause is Cause.GIVEN_BACK
    report = only(AttemptEnded, bench.handle(ended(A1, at=5.2, cause=Cause.KILLED)))
    assert report.outcome.cause is Cause.INTERRUPTED
    assert bench.handle(said(AttemptAck(attempt=A1), at=5.3)) == []
    assert kinds(bench.handle(said(AttemptAck(attempt=A2), at=5.4))) == ["Multi"]


def test_a_stopping_worker_does_not_wait_for_ever() -> None:
    """Unacknowledged for REPORT_S_MAX, and ZooKeeper silent: it exits all the same."""
    bench = Bench().register()
    start(bench)
    bench.handle(StopRequested(at=5.0))
    bench.handle(ended(A1, at=5.2, cause=Cause.KILLED))
    assert not of_kind(zk.Multi, bench.handle(Tick(at=5.1 + REPORT_S_MAX)))
    assert of_kind(zk.Multi, bench.handle(Tick(at=5.2 + REPORT_S_MAX)))
    assert of_kind(Exit, bench.handle(Tick(at=6.3 + REPORT_S_MAX)))


def test_a_stopping_worker_without_zookeeper_leaves_the_node_to_its_session() -> None:
    """Nothing to delete with: exit at once."""
    bench = Bench().register()
    bench.handle(zk.SessionSuspended(at=4.0))
    assert kinds(bench.handle(StopRequested(at=5.0)))[-1] == "Exit"


def test_a_new_leader_learns_that_the_worker_leaves() -> None:
    """Leaving is said again to whoever registers us meanwhile."""
    bench = Bench().register()
    start(bench)
    bench.handle(StopRequested(at=1.0))
    new_leader(bench)
    actions = bench.handle(said(Registered(broker="b2", output=OUTPUT), at=2.0, epoch=4))
    assert "Leaving" in kinds(actions)


def test_asked_twice_to_stop_the_worker_leaves_at_once() -> None:
    """The second signal does not wait for anything."""
    bench = Bench().register()
    start(bench)
    bench.handle(StopRequested(at=5.0))
    assert only(Exit, bench.handle(StopRequested(at=5.1))).code == EXIT_STOPPED_TWICE


def test_a_defect_of_the_runner_leaves_the_state_as_it_was() -> None:
    """An event that cannot be raises, and changes nothing."""
    bench = Bench().register()
    start(bench)
    with pytest.raises(InvalidTransition):
        bench.handle(ended(A2))
    assert kinds(bench.handle(ended(A1))) == ["AttemptEnded"]
