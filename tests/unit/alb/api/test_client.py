"""The Python client, over real sockets, against a leader that answers from a script."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed

import pytest
from tests.unit.alb.fake_broker import FakeBroker, succeed

import alb
from alb.core.notices import TaskPlaced
from alb_core import codec, limits
from alb_core.bounds import LimitsNode
from alb_core.messages import (
    Accepted,
    Ack,
    Cancel,
    CancelNoted,
    ClusterPage,
    DumpPage,
    Error,
    Finished,
    Message,
    QueryCluster,
    QueryDump,
    QueryTask,
    QueryTasks,
    Rejected,
    StreamName,
    Submit,
    TaskLine,
    TasksPage,
)
from alb_core.shares import Share
from alb_core.tasks import Result, Stream, TaskState

NameLeader = Callable[[FakeBroker | None], None]


@pytest.fixture
def client(broker: FakeBroker) -> Iterator[alb.Client]:
    """A client of that leader."""
    assert broker
    with alb.Client("zk:2181", user="u", timeout=60) as made:
        yield made


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, at most five seconds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def test_a_command_s_result_comes_back(client: alb.Client, broker: FakeBroker) -> None:
    """The specification travels whole; the result has state, status and output, and is acknowledged."""
    broker.answer = lambda m: (Finished(id=m.id, result=succeed(b"hi\n")),) if isinstance(m, Submit) else ()
    future = client.submit(
        ["/bin/echo", "hi"],
        env={"A": "b"},
        cwd="/tmp",  # noqa: S108
        time_limit=10,
        cpus=0.5,
        memory=1 << 20,
        net=1000,
        labels=["gpu"],
        priority=3,
        on_lost="fail",
        name="n",
    )
    outcome = future.result(5)
    assert (outcome.id, outcome.state, outcome.exit_status) == (future.id, alb.TaskState.SUCCEEDED, 0)
    assert (outcome.stdout, outcome.stderr, outcome.stdout_cut) == (b"hi\n", b"", False)
    assert outcome.check() is outcome
    spec = codec.decode_spec(next(m for m in broker.received if isinstance(m, Submit)).spec)
    assert spec.command == ("/bin/echo", "hi")
    assert (spec.env, spec.cwd, spec.time_limit_s, spec.priority) == ({"A": "b"}, "/tmp", 10, 3)  # noqa: S108
    assert (spec.request.cpus, spec.request.memory_bytes, spec.request.labels) == (0.5, 1 << 20, ("gpu",))
    assert (spec.on_lost, spec.name) == (alb.OnLost.FAIL, "n")
    wait_for(lambda: Ack(id=future.id) in broker.received)


def test_connect_timeout_waits_for_a_leader(broker: FakeBroker, name_leader: NameLeader) -> None:
    """The client is there when a leader has welcomed it; else there is none, but a typed error."""
    assert broker
    with alb.Client("zk:2181", user="u", connect_timeout=60) as client:
        assert client._desk.greeted.is_set()
    name_leader(None)
    with pytest.raises(alb.ZooKeeperUnreachable, match=r"no ZooKeeper server answered .* \(zk:2181\)"):
        alb.Client("zk:2181", user="u", connect_timeout=0.4)


def test_another_exit_status_is_a_result_and_check_raises(client: alb.Client, broker: FakeBroker) -> None:
    """A command that fails is no error of alb; whoever insists on success gets CommandFailed."""
    failed = Result(state=TaskState.FAILED, exit_code=3, attempt=1, worker="w1")
    broker.answer = lambda m: (Finished(id=m.id, result=failed),) if isinstance(m, Submit) else ()
    outcome = client.submit("exit 3").result(5)
    assert outcome.exit_status == 3
    with pytest.raises(alb.CommandFailed, match="exit status 3") as caught:
        outcome.check()
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("state", "error"), [(TaskState.CANCELLED, alb.TaskCancelled), (TaskState.LOST, alb.TaskLost)]
)
def test_a_task_without_an_outcome_of_its_own_raises(
    client: alb.Client, broker: FakeBroker, state: TaskState, error: type[Exception]
) -> None:
    """Cancelled and lost tasks raise; the recorded result is still at hand."""
    broker.answer = lambda m: (
        (Finished(id=m.id, result=Result(state=state)),) if isinstance(m, Submit) else ()
    )
    future = client.submit("true")
    with pytest.raises(error):
        future.result(5)
    assert future.record is not None


def test_a_rejection_raises_its_typed_error(client: alb.Client, broker: FakeBroker) -> None:
    """The code on the wire becomes the error's class."""
    broker.answer = lambda m: (Rejected(id=m.id, code="conflict", why="no"),) if isinstance(m, Submit) else ()
    with pytest.raises(alb.TaskConflict, match="no"):
        client.submit("true").result(5)


@pytest.mark.parametrize(
    ("command", "options", "complaint"),
    [
        ("", {}, "empty"),
        ([], {}, "empty"),
        (["a\0b"], {}, "NUL"),
        ([1], {}, "word 1 is an int"),
        ("x", {"cpus": 0}, "cpus"),
        ("x", {"cpus": "many"}, "give a number"),
        ("x", {"cwd": "relative"}, "absolute"),
        ("x", {"time_limit": -1}, "time limit"),
        ("x", {"on_lost": "shrug"}, "rerun"),
        ("x", {"on_lost": "fail", "preemptible": True}, "preemptible"),
        ("x", {"colour": "red"}, "colour"),
        ("x", {"id": "7"}, "hex digits"),
        ("x" * 70_000, {}, "bytes"),
        ("\udcff", {}, "not valid text"),
        ("x", {"memory": 10**25}, "beyond all bounds"),
    ],
)
def test_a_wrong_specification_is_refused_before_it_is_sent(
    client: alb.Client, command: object, options: dict[str, object], complaint: str
) -> None:
    """The caller learns at once what is wrong."""
    with pytest.raises(alb.InvalidTask, match=complaint):
        client.submit(command, **options)  # type: ignore[arg-type]


def test_a_wrong_request_is_refused_and_harms_nobody(client: alb.Client, broker: FakeBroker) -> None:
    """What cannot be sent is told to the caller; what else this client waits for goes on."""
    broker.answer = lambda m: (Finished(id=m.id, result=succeed()),) if isinstance(m, Submit) else ()
    for ask in (
        lambda: client.set_share("ann", Share(tasks_max=10**25)),
        lambda: client.set_limits(LimitsNode(memory_bytes=10**25)),
        lambda: client.set_policy("x" * limits.MESSAGE_BYTES_MAX),
        lambda: client.array("x", indexes="1-3", memory=10**25),
        lambda: client.array("x", indexes="1-3", cpus="many"),  # type: ignore[arg-type]
    ):
        with pytest.raises(alb.InvalidTask):
            ask()
    assert client.submit("x").result(timeout=60).exit_status == 0


def test_an_id_under_way_is_refused(client: alb.Client, broker: FakeBroker) -> None:
    """Two futures of one client cannot stand for the same task."""
    broker.answer = lambda _: ()
    client.submit("true", id="a" * 32)
    with pytest.raises(ValueError, match="under way"):
        client.submit("true", id="a" * 32)


def test_map_yields_in_order_and_keeps_its_window(client: alb.Client, broker: FakeBroker) -> None:
    """Results come in the order of the commands; an endless iterable is read only as far as needed."""
    taken = []

    def commands() -> Iterator[Sequence[str]]:
        number = 0
        while True:
            taken.append(number)
            yield ("/bin/echo", str(number))
            number += 1

    def answer(message: Message) -> Sequence[Message]:
        if not isinstance(message, Submit):
            return ()
        words = codec.decode_spec(message.spec).command
        return (Finished(id=message.id, result=succeed(words[1].encode())),)

    broker.answer = answer
    results = client.map(commands(), window=10)
    assert [int(next(results).stdout) for _ in range(30)] == list(range(30))
    assert len(taken) <= 41


def test_futures_can_be_awaited(client: alb.Client) -> None:
    """A future works in asyncio as it is."""

    async def main() -> list[int]:
        outcomes = await asyncio.gather(*(client.submit("true") for _ in range(10)))
        return [outcome.exit_status for outcome in outcomes]

    assert asyncio.run(main()) == [0] * 10


def test_futures_fit_concurrent_futures(client: alb.Client) -> None:
    """``as_completed`` takes them."""
    futures = [client.submit("true") for _ in range(10)]
    assert set(as_completed(futures, timeout=60)) == set(futures)


def test_cancelling_a_future_cancels_the_task(client: alb.Client, broker: FakeBroker) -> None:
    """The cluster is asked, and its word ends the future; an ended one cannot be cancelled."""

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, Submit):
            return (Accepted(id=message.id),)
        if isinstance(message, Cancel):
            over = Finished(id=message.id, result=Result(state=TaskState.CANCELLED))
            return (CancelNoted(id=message.id), over)
        return ()

    broker.answer = answer
    future = client.submit("sleep 100")
    assert future.cancel()
    with pytest.raises(alb.TaskCancelled):
        future.result(5)
    assert not future.cancel()


def test_cancelling_an_unknown_task_says_that_it_is_gone(client: alb.Client, broker: FakeBroker) -> None:
    """The table does not hold it."""
    broker.answer = lambda m: (Rejected(id=m.id, code="gone", why="no"),) if isinstance(m, Cancel) else ()
    with pytest.raises(alb.TaskGone):
        client.cancel("a" * 32)


def test_a_stream_yields_output_at_the_pace_of_its_reader(client: alb.Client, broker: FakeBroker) -> None:
    """Five megabytes arrive whole and in order, and never more than asked for is under way."""
    data = bytes(range(256)) * 20_480
    broker.output = data
    running = Accepted(id="", state=TaskState.RUNNING, attempt=1, worker="w1")

    def answer(message: Message) -> Sequence[Message]:
        if not isinstance(message, Submit):
            return ()
        record = Stream.of(data[-4096:], len(data))
        over = Result(state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", stdout=record)
        accepted = Accepted(id=message.id, state=running.state, attempt=1, worker="w1")
        return (accepted, Finished(id=message.id, result=over))

    broker.answer = answer
    stream = client.stream("cat data")
    assert b"".join(piece for name, piece in stream if name is StreamName.STDOUT) == data
    assert stream.result(5).exit_status == 0


@pytest.mark.parametrize("offset", [-1, 2**62 + 1, 2**64])
def test_an_offset_that_cannot_be_is_refused(client: alb.Client, offset: int) -> None:
    """At once: it would end the client's thread. The client goes on to work."""
    for streams in ({"stdout": offset}, {"stderr": offset}):
        with pytest.raises(alb.InvalidTask, match="an offset must be between"):
            client.attach_stream("a" * 32, **streams)
    assert client.submit("true").result(5).record.exit_code == 0


def test_large_output_is_fetched_and_its_capture_is_bounded(
    broker: FakeBroker, name_leader: NameLeader
) -> None:
    """A future keeps the last bytes of each stream, and says that it is not all."""
    name_leader(broker)
    data = bytes(range(256)) * 400
    broker.output = data
    record = Stream.of(data[-4096:], len(data))
    over = Result(state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", stdout=record)
    broker.answer = lambda m: (Finished(id=m.id, result=over),) if isinstance(m, Submit) else ()
    with alb.Client("zk:2181", user="u") as client:
        whole = client.submit("cat").result(5)
        assert (whole.stdout, whole.stdout_cut) == (data, False)
    with alb.Client("zk:2181", user="u", capture_bytes=10_000) as client:
        cut = client.submit("cat").result(5)
        assert (cut.stdout, cut.stdout_cut) == (data[-10_000:], True)


def test_questions_are_answered_and_pages_are_put_together(client: alb.Client, broker: FakeBroker) -> None:
    """Lists and dumps come in pages; an error raises its type."""
    lines = [TaskLine(id=f"{n:032x}", state=TaskState.QUEUED, user="u") for n in range(5)]

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case QueryTasks(seq=seq, cursor=cursor):
                begin = int(cursor or 0)
                more = str(begin + 2) if begin + 2 < len(lines) else ""
                return (TasksPage(seq=seq, tasks=tuple(lines[begin : begin + 2]), cursor=more),)
            case QueryDump(seq=seq, cursor=cursor):
                return (DumpPage(seq=seq, data=b"ab"[cursor : cursor + 1], cursor=(cursor + 1) % 2),)
            case QueryTask(seq=seq):
                return (Error(seq=seq, code="gone", why="no such task"),)
            case QueryCluster(seq=seq):
                page = {"broker": "b1", "epoch": 1, "batch": 2, "table": "t", "policy": "p"}
                times = {"since": 0.0, "now": 1.0, "session_timeout_s": 3.0}
                return (ClusterPage(seq=seq, counts={}, counters={}, **page, **times),)  # type: ignore[arg-type]
            case _:
                return ()

    broker.answer = answer
    assert list(client.tasks()) == lines
    assert client.dump() == b"ab"
    assert client.cluster().policy == "p"
    with pytest.raises(alb.TaskGone, match="no such task"):
        client.task("a" * 32)


def test_without_zookeeper_a_question_says_so(name_leader: NameLeader) -> None:
    """The error names the cause, within the time given."""
    name_leader(None)
    with (
        alb.Client("zk:2181", user="u", timeout=0.3) as client,
        pytest.raises(alb.ZooKeeperUnreachable, match="no ZooKeeper server answered"),
    ):
        client.workers()


def test_closing_ends_what_is_under_way(client: alb.Client, broker: FakeBroker) -> None:
    """Futures and questions raise ClientClosed, a new one too, and no thread is left."""
    broker.answer = lambda _: ()
    future = client.submit("sleep 100")
    client.close()
    for attempt in (future.result, lambda: client.submit("true").result()):
        with pytest.raises(alb.ClientClosed, match="go on in the cluster"):
            attempt()
    assert "alb-client" not in {thread.name for thread in threading.enumerate()}


def test_a_forgotten_client_closes_itself(broker: FakeBroker) -> None:
    """Without a reference to it, its thread ends."""
    assert broker
    client = alb.Client("zk:2181", user="u")
    client.submit("true").result(5)
    del client
    gc.collect()
    wait_for(lambda: "alb-client" not in {thread.name for thread in threading.enumerate()})


def test_a_broker_that_dies_and_returns_loses_no_task(name_leader: NameLeader) -> None:
    """What the first leader accepted or never answered is carried to the second, once each."""
    notices: list[object] = []

    def accept_one(message: Message) -> Sequence[Message]:
        first_one = isinstance(message, Submit) and codec.decode_spec(message.spec).command == "one"
        return (Accepted(id=message.id),) if isinstance(message, Submit) and first_one else ()

    with FakeBroker(answer=accept_one) as first:
        name_leader(first)
        client = alb.Client("zk:2181", user="u", on_notice=notices.append)
        accepted = client.submit("one", moves=True)
        unanswered = client.submit("two")
        wait_for(lambda: any(isinstance(notice, TaskPlaced) for notice in notices))
        wait_for(lambda: sum(isinstance(m, Submit) for m in first.received) == 2)

    def finish(message: Message) -> Sequence[Message]:
        return (Finished(id=message.id, result=succeed()),) if hasattr(message, "id") else ()

    with client, FakeBroker(answer=lambda m: () if isinstance(m, Ack) else finish(m), epoch=2) as second:
        name_leader(second)
        assert accepted.result(10).exit_status == 0
        assert unanswered.result(10).exit_status == 0
        wait_for(lambda: sum(isinstance(m, Ack) for m in second.received) == 2)
        kinds = sorted(type(m).__name__ for m in second.received if getattr(m, "id", ""))
    assert kinds == ["Ack", "Ack", "Attach", "Submit"]
    assert {type(notice).__name__ for notice in notices} >= {"LeaderGreeted", "LeaderLost"}


def test_importing_alb_is_light() -> None:
    """Neither sockets nor the command line come with the bare package."""
    heavy = "{'zmq', 'kazoo', 'click', 'rich', 'structlog'}"
    script = f"import alb, sys; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert alb.Client.__module__ == "alb.api.client"
    with pytest.raises(AttributeError, match="nonsense"):
        alb.nonsense  # noqa: B018


def test_a_child_is_told_that_its_parents_client_is_not_there(client: alb.Client, broker: FakeBroker) -> None:
    """Whatever it asks of it or of its futures: nobody would ever answer. The parent notices nothing."""
    broker.answer = lambda _: ()
    future = client.submit("sleep 1")
    asks: list[Callable[[], object]] = [
        lambda: client.submit("true"),
        lambda: client.stream("true"),
        lambda: client.attach("f" * 32),
        lambda: client.cancel(future.id),
        client.cluster,
        future.result,
        future.exception,
        future.cancel,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the client's threads, from Python 3.12 on
        child = os.fork()
    if not child:
        try:
            for ask in asks:
                with pytest.raises(RuntimeError, match="does not survive a fork"):
                    ask()
            client.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not future.done()
