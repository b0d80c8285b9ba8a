"""The worker's agent with its real runner and sockets; ZooKeeper and the leader are played by the test."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from tests.worker_parts import TABLE, attempt, kind_desk, leader_node, of_kind, run

from alb_core import codec, zk, znodes
from alb_core.config import WorkerConfig
from alb_core.increments import Line, Resume
from alb_core.io import logs
from alb_core.io.clock import monotonic
from alb_core.io.sockets import Router
from alb_core.messages import (
    AttemptAck,
    AttemptEnded,
    AttemptExited,
    AttemptId,
    AttemptStarted,
    Beat,
    Chunk,
    Grant,
    Increments,
    Kill,
    Leaving,
    Reader,
    Register,
    Registered,
    Run,
    Stored,
    StreamName,
    ToWorker,
)
from alb_core.resources import Capacity
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core.events import StopRequested
from alb_worker.core.worker import WorkerCore
from alb_worker.shell import leftovers
from alb_worker.shell.agent import Agent, Inbox
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.increments import IncrementFiles
from alb_worker.shell.load import Counters, LoadMeter
from alb_worker.shell.runner_link import RunnerLink
from alb_worker.shell.spool import Spool

DEADLINE_S = 60.0
SESSION = 0x77
T = TypeVar("T")


class _ZooKeeper:
    """A ZooKeeper that has a leader and grants every claim, in the form of a session."""

    def __init__(self, inbox: Inbox, leader: zk.NodeRead) -> None:
        self._inbox = inbox
        self.nodes = {znodes.LEADER: leader}

    def start(self) -> None:
        self._inbox.post(zk.SessionConnected(at=monotonic(), session=SESSION, timeout_s=5.0))

    def request(self, request: zk.Request) -> None:
        match request:
            case zk.ReadNodes(token=token, paths=paths):
                found = tuple(self.nodes.get(path) for path in paths)
                self._inbox.post(zk.NodesRead(at=monotonic(), token=token, nodes=found))
            case zk.Multi(token=token, operations=operations):
                for operation in operations:
                    self._apply(operation)
                verdict = zk.Applied((None,) * len(operations))
                self._inbox.post(zk.MultiEnded(at=monotonic(), token=token, verdict=verdict))
            case _:
                raise AssertionError(f"the worker does not ask for {request}")

    def _apply(self, operation: zk.Operation) -> None:
        if isinstance(operation, zk.Create):
            stat = zk.Stat(version=0, mtime_s=0.0, owner=SESSION)
            self.nodes[operation.path] = zk.NodeRead(path=operation.path, data=operation.data, stat=stat)
        else:
            del self.nodes[operation.path]


class Stage:
    """One agent in a thread, and the leader that it serves."""

    def __init__(self, work_dir: Path) -> None:
        config = WorkerConfig(zk="unused:1", name="w1")
        self.orders, self.bulk = Router("127.0.0.1"), Router("127.0.0.1")
        self.inbox = Inbox()
        self.zookeeper = _ZooKeeper(self.inbox, leader_node(workers=self.orders.endpoint))
        self.lock = leftovers.lock_work_dir(str(work_dir))
        self.spool = Spool(str(work_dir), config)
        self.runner = RunnerLink(worker="w1", work_dir=str(work_dir), incarnation="mine")
        self.runner.start()
        capacity = Capacity(cpus=2.0, memory_bytes=1 << 30)
        node = znodes.WorkerNode(worker="w1", incarnation="mine", capacity=capacity)
        nothing = Counters(cpu_s=0.0, memory_bytes=1 << 29, received_bytes=0, sent_bytes=0)
        self.agent = Agent(
            core=WorkerCore(node),
            inbox=self.inbox,
            session=self.zookeeper,  # type: ignore[arg-type]
            runner=self.runner,
            courier=CourierLink(str(work_dir), 2**20, logs.configure("warning")),
            kinds=kind_desk(str(work_dir)),
            spool=self.spool,
            increments=IncrementFiles(str(work_dir)),
            meter=LoadMeter(capacity, lambda: nothing),
            identity=b"w1/mine",
            logger=logs.configure("warning"),
        )
        self.heard: list[Any] = []
        self.exits: list[Any] = []
        self.thread = threading.Thread(target=self._serve)
        self.zookeeper.start()
        self.thread.start()

    def _serve(self) -> None:
        self.exits.append(self.agent.run())
        self.agent.close()

    def register(self, *, stores: bool = False) -> Stage:
        """Be the leader that registers the worker, with a results store or without."""
        self.wait(Register)
        self.send(Registered(broker="b1", output=self.bulk.endpoint, stores=stores))
        return self

    def send(self, *messages: ToWorker) -> None:
        """Send orders."""
        for frame in codec.encode_broker_frames(3, TABLE, messages):
            assert self.orders.send(b"w1/mine", frame)

    def run(self, of: AttemptId, command: str, readers: tuple[Reader, ...] = ()) -> None:
        """Order a shell command."""
        self.send(run(of, TaskSpec(command=command, grace_s=1.0), readers))

    def wait(self, kind: type[T], matching: Callable[[T], bool] = lambda _: True) -> T:
        """Return the first message of a kind that matches, of all that were heard."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for message in of_kind(kind, self.heard):
                if matching(message):
                    return message
            assert time.monotonic() < deadline, f"no {kind.__name__} in {self.heard}"
            self.orders.socket.poll(10)
            for _, frame in self.orders.receive(100):
                self.heard += codec.decode_from_worker(frame)

    def ended(self, of: AttemptId) -> AttemptEnded:
        """Wait for a report, and acknowledge it."""
        report = self.wait(AttemptEnded, lambda message: message.attempt == of)
        self.send(AttemptAck(attempt=of))
        return report

    def chunks(self) -> Iterator[Chunk]:
        """Yield the output as it arrives."""
        while True:
            assert self.bulk.socket.poll(int(DEADLINE_S * 1000)), "no output came"
            for _, frame in self.bulk.receive(100):
                yield from of_kind(Chunk, codec.decode_output(frame))

    def close(self) -> None:
        """End everything."""
        if not self.exits:
            self.inbox.post(StopRequested(at=monotonic()))
            self.inbox.post(StopRequested(at=monotonic()))
        self.thread.join(DEADLINE_S)
        self.runner.close()
        self.spool.close()
        self.orders.close()
        self.bulk.close()
        self.inbox.bell.close()
        self.lock.close()
        assert not self.thread.is_alive()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """An agent whose leader has registered it."""
    made = Stage(tmp_path / "w1")
    try:
        yield made.register()
    finally:
        made.close()


A1, A2 = attempt(1), attempt(2)


def test_a_command_runs_and_is_reported(stage: Stage) -> None:
    """Both streams, the exit code and the cost come back, and its node is in ZooKeeper."""
    stage.run(A1, "echo out; echo err >&2; exit 3")
    outcome = stage.ended(A1).outcome
    assert (outcome.cause, outcome.exit_code) == (Cause.EXITED, 3)
    assert (outcome.stdout.tail(), outcome.stderr.tail()) == (b"out\n", b"err\n")
    assert outcome.wall_s > 0
    assert outcome.memory_bytes > 0
    assert znodes.worker_path("w1") in stage.zookeeper.nodes


def test_heartbeats_carry_the_load(stage: Stage) -> None:
    """The leader hears every heartbeat interval how busy the machine is and what runs."""
    stage.run(A1, "sleep 60")
    stage.wait(AttemptStarted)
    assert stage.wait(Beat, lambda beat: beat.load.running == 1).load.memory == 0.5


def test_live_output_arrives_before_the_end(stage: Stage, tmp_path: Path) -> None:
    """A reader of the order sees the first line while the command still waits."""
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    stage.run(A1, f"echo first; cat {go_on}; head -c 5000 /dev/zero", (Reader(reader=b"r1", window=1 << 20),))
    chunks = stage.chunks()
    chunk = next(chunks)
    assert (chunk.reader, chunk.stream, chunk.offset, chunk.data) == (b"r1", StreamName.STDOUT, 0, b"first\n")
    go_on.write_text("second\n")
    stage.ended(A1)
    rest = b""
    for chunk in chunks:
        assert chunk.offset == 6 + len(rest)
        rest += chunk.data
        if chunk.end:
            break
    assert rest == b"second\n" + bytes(5000)


def test_output_of_a_finished_command_is_served_from_the_spool(stage: Stage) -> None:
    """Whoever grants after the end gets the bytes, window by window."""
    size = 3_000_000
    stage.run(A1, f"head -c {size} /dev/zero | tr '\\0' x")
    report = stage.ended(A1)
    assert report.outcome.stdout.size_bytes == size
    received, chunks = 0, None
    while received < size:
        grant = Grant(task=A1.task, stream=StreamName.STDOUT, offset=received, window=1 << 20, reader=b"r")
        (frame,) = codec.encode_frames([grant])
        wait_for(lambda frame=frame: stage.bulk.send(b"w1/mine", frame))  # type: ignore[misc]
        chunks = chunks or stage.chunks()
        until = min(received + (1 << 20), size)
        while received < until:
            chunk = next(chunks)
            assert chunk.offset == received
            assert chunk.data == b"x" * len(chunk.data)
            received += len(chunk.data)
    assert chunk.end


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_kill_ends_the_command(stage: Stage) -> None:
    """The leader's Kill ends the tree, and the report says who did it."""
    stage.run(A1, "trap '' TERM; sleep 60 & wait; wait")
    stage.wait(AttemptStarted)
    stage.send(Kill(attempt=A1, why="cancelled"))
    assert stage.ended(A1).outcome.cause is Cause.KILLED


def test_a_dead_runner_interrupts_its_commands_and_another_one_serves(stage: Stage) -> None:
    """Kill -9 of the runner: its commands are gone, reported as interrupted, and new ones run."""
    stage.run(A1, "sleep 60")
    stage.wait(AttemptStarted)
    pid = stage.runner.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert stage.ended(A1).outcome.cause is Cause.INTERRUPTED
    stage.run(A2, "true")
    assert stage.ended(A2).outcome.exit_code == 0


def test_a_stop_interrupts_reports_and_leaves_no_node(stage: Stage) -> None:
    """Asked to stop, the worker says so, kills, waits for the acknowledgement, and deletes its node."""
    stage.run(A1, "sleep 60")
    stage.wait(AttemptStarted)
    stage.inbox.post(StopRequested(at=monotonic()))
    stage.wait(Leaving)
    assert stage.ended(A1).outcome.cause is Cause.INTERRUPTED
    stage.thread.join(DEADLINE_S)
    assert [exit_.code for exit_ in stage.exits] == [0]
    assert znodes.worker_path("w1") not in stage.zookeeper.nodes


def test_frames_that_cannot_be_read_do_no_harm(stage: Stage) -> None:
    """A malformed frame on either link is dropped; the next order is served."""
    for junk in (b"", b"\xc1", msgspec.msgpack.encode([1, "t", [{"type": "Nonsense"}]])):
        assert stage.orders.send(b"w1/mine", junk)
    wait_for(lambda: stage.bulk.send(b"w1/mine", b"\xc1"))
    stage.run(A1, "true")
    assert stage.ended(A1).outcome.exit_code == 0


def test_a_leader_at_an_impossible_address_is_survived(tmp_path: Path) -> None:
    """``/leader`` names nonsense: the worker waits for a better one."""
    stage = Stage(tmp_path / "w1")
    try:
        stage.zookeeper.nodes[znodes.LEADER] = leader_node(epoch=4, workers="nonsense")
        stage.inbox.post(zk.NodeChanged(at=monotonic(), path=znodes.LEADER))
        wait_for(lambda: stage.agent._core.link.endpoint == "nonsense")
        stage.zookeeper.nodes[znodes.LEADER] = leader_node(epoch=5, workers=stage.orders.endpoint)
        stage.inbox.post(zk.NodeChanged(at=monotonic(), path=znodes.LEADER))
        wait_for(lambda: stage.agent._core.link.endpoint == stage.orders.endpoint)
        stage.heard.clear()
        stage.wait(Register)
    finally:
        stage.close()


# --- what the results store is to have --------------------------------------------------------------------


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Stage]:
    """An agent whose leader has a results store."""
    made = Stage(tmp_path / "w1")
    try:
        yield made.register(stores=True)
    finally:
        made.close()


def test_increments_arrive_before_the_end(keeper: Stage, tmp_path: Path) -> None:
    """While the command runs; the end is told when the last of them is stored, and its file is gone then."""
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    report = """echo '{"key":"epoch","value":%d}' >>"$ALB_INCREMENTS"; """
    keeper.run(A1, f"{report % 1}cat {go_on}; {report % 2}printf last >>$ALB_INCREMENTS")
    first = keeper.wait(Increments)
    assert (first.attempt, first.first, first.lines) == (A1, 1, (Line("epoch", "1"),))
    assert not of_kind(AttemptExited, keeper.heard)
    keeper.send(Stored(attempt=A1, increments=1))
    go_on.write_text("")
    rest = keeper.wait(Increments, lambda message: message.first == 2)
    assert rest.lines == (Line("epoch", "2"), Line("", '"last"'))
    keeper.wait(AttemptExited)
    assert not of_kind(AttemptEnded, keeper.heard)
    keeper.send(Stored(attempt=A1, increments=3))
    assert keeper.ended(A1).outcome.exit_code == 0
    assert list((tmp_path / "w1" / "increments").iterdir()) == []


def test_a_command_goes_on_where_another_attempt_stopped(keeper: Stage) -> None:
    """It finds the newest value, and all of them; what it reports gets the numbers behind theirs."""
    spec = TaskSpec(command='echo "$ALB_RESUME"; cat "$ALB_RESUME_FILE"; echo 8 >"$ALB_INCREMENTS"')
    resume = Resume(seq=41, lines=(Line("loss", "0.5"), Line("epoch", "7")))
    order = Run(attempt=attempt(1, 2), spec=msgspec.Raw(codec.encode_spec(spec)), resume=resume)
    keeper.send(order)
    assert keeper.wait(Increments).first == 42
    keeper.send(Stored(attempt=order.attempt, increments=42))
    printed = keeper.ended(order.attempt).outcome.stdout.tail()
    assert printed == b'7\n{"key":"loss","value":0.5}\n{"key":"epoch","value":7}\n'


def test_steps_go_on_where_another_attempt_stopped(keeper: Stage) -> None:
    """The first that runs is the one behind the newest that is stored; each is reported when it is over."""
    spec = TaskSpec(command='echo "$ALB_STEP of $ALB_STEPS"', steps=4)
    resume = Resume(seq=2, lines=(Line("step", "2"),), step=2)
    order = Run(attempt=attempt(1, 2), spec=msgspec.Raw(codec.encode_spec(spec)), resume=resume)
    keeper.send(order)
    reported: list[Line] = []
    while len(reported) < 2:
        first = 3 + len(reported)
        reported += keeper.wait(Increments, lambda message, first=first: message.first == first).lines  # type: ignore[misc]
        keeper.send(Stored(attempt=order.attempt, increments=2 + len(reported)))
    assert reported == [Line("step", "3"), Line("step", "4")]
    assert keeper.ended(order.attempt).outcome.stdout.tail() == b"3 of 4\n4 of 4\n"


def test_long_output_goes_to_the_store_before_the_end(keeper: Stage) -> None:
    """Byte for byte, without a reader; the end waits for it."""
    keeper.run(A1, "seq 200000")
    whole = "".join(f"{number}\n" for number in range(1, 200_001)).encode()
    received = b""
    for chunk in keeper.chunks():
        assert (chunk.reader, chunk.stream, chunk.offset) == (b"", StreamName.STDOUT, len(received))
        received += chunk.data
        if len(received) == len(whole):
            break
        assert not of_kind(AttemptEnded, keeper.heard)
    assert received == whole
    keeper.wait(AttemptExited)
    keeper.send(Stored(attempt=A1, stdout=len(whole)))
    assert keeper.ended(A1).outcome.stdout.size_bytes == len(whole)


def test_what_a_dead_runner_s_commands_reported_is_not_lost(keeper: Stage) -> None:
    """Every whole line; half a one is none, for nobody knows what it was to be."""
    keeper.run(A1, 'printf "1\n2\n3" >"$ALB_INCREMENTS"; echo there; sleep 60')
    assert keeper.wait(Increments).lines == (Line("", "1"), Line("", "2"))
    pid = keeper.runner.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    keeper.wait(AttemptExited)
    keeper.send(Stored(attempt=A1, increments=2))
    assert keeper.ended(A1).outcome.cause is Cause.INTERRUPTED


def test_a_resume_file_that_cannot_be_written_ends_the_attempt_and_not_the_worker(
    keeper: Stage, tmp_path: Path
) -> None:
    """The report says why; the next command runs."""
    later = attempt(1, 2)
    (tmp_path / "w1" / "increments" / f"{later.task}.2.resume").mkdir()
    spec = msgspec.Raw(codec.encode_spec(TaskSpec(command="true")))
    keeper.send(Run(attempt=later, spec=spec, resume=Resume(seq=1, lines=(Line("k", "1"),))))
    outcome = keeper.ended(later).outcome
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, 125)
    assert "what earlier attempts reported could not be written for it" in outcome.why
    keeper.run(A2, "true")
    assert keeper.ended(A2).outcome.exit_code == 0
