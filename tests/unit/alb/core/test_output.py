"""Output arrives in order, without gaps, and at the pace of its consumer."""

from __future__ import annotations

from typing import Any

from tests.unit.alb.core.core_driver import BROKERS, TASK, Driver, leader, result

from alb.core import actions, events, notices
from alb.core.output import ASK_AGAIN_QUIET_S
from alb_core.limits import WINDOW_BYTES_MAX
from alb_core.messages import Ack, Attach, Chunk, Finished, Grant, Heartbeat, Rejected, StreamName, TaskMoved
from alb_core.tasks import Result, TaskState

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def chunk(driver: Driver, offset: int, data: bytes, **fields: Any) -> None:
    """Let a chunk of standard output arrive."""
    known = {"attempt": 1, "stream": OUT} | fields
    piece = Chunk(task=TASK, offset=offset, data=data, **known)
    driver.do(events.OutputSaid, link=driver.output_link, chunk=piece)


def take(driver: Driver, offset: int, attempt: int = 1) -> None:
    """Let the consumer take standard output up to an offset."""
    driver.do(events.OutputTaken, id=TASK, attempt=attempt, stream=OUT, offset=offset)


def delivered(driver: Driver) -> list[tuple[int, bytes]]:
    """Return what the last event delivered of standard output."""
    return [(d.offset, d.data) for d in driver.only(actions.DeliverOutput) if d.stream is OUT]


def grants(driver: Driver) -> list[tuple[StreamName, int, int]]:
    """Return what the last event granted: stream, offset, attempt."""
    return [(g.grant.stream, g.grant.offset, g.grant.attempt) for g in driver.only(actions.SendGrant)]


def live(**settings: Any) -> Driver:
    """Return a client with a live task that runs."""
    driver = Driver(**settings).connect()
    driver.submit(live=True)
    assert driver.sent()[0].window == WINDOW_BYTES_MAX  # type: ignore[union-attr]
    driver.accept(state=TaskState.RUNNING, attempt=1, worker="w1")
    return driver


def test_chunks_are_delivered_once_and_in_order() -> None:
    """A repeated chunk is dropped, an overlapping one is cut, another link's is ignored."""
    driver = live()
    chunk(driver, 0, b"abc")
    assert delivered(driver) == [(0, b"abc")]
    chunk(driver, 0, b"abc")
    assert delivered(driver) == []
    chunk(driver, 1, b"bcde")
    assert delivered(driver) == [(3, b"de")]
    driver.do(events.OutputSaid, link=99, chunk=Chunk(task=TASK, attempt=1, stream=OUT, offset=5, data=b"f"))
    assert driver.out == []


def test_a_gap_is_asked_for_once_from_where_it_begins() -> None:
    """Chunks behind the gap are not delivered; the first of them leads to one new grant."""
    driver = live()
    chunk(driver, 0, b"abc")
    chunk(driver, 5, b"fg")
    assert delivered(driver) == []
    assert grants(driver) == [(OUT, 3, 0)]
    chunk(driver, 7, b"hi")
    assert driver.out == []
    chunk(driver, 3, b"defghi")
    assert delivered(driver) == [(3, b"defghi")]


def test_the_next_window_is_granted_when_the_last_has_come_and_was_taken() -> None:
    """A consumer that stops gets no more than it was granted; when it takes, the stream goes on."""
    driver = live()
    chunk(driver, 0, b"x" * WINDOW_BYTES_MAX)
    assert grants(driver) == []
    for _ in range(50):
        driver.now += 0.5
        driver.hear(Heartbeat())
        driver.tick()
        assert OUT not in {stream for stream, _, _ in grants(driver)}
    take(driver, WINDOW_BYTES_MAX)
    assert grants(driver) == [(OUT, WINDOW_BYTES_MAX, 0)]


def test_a_quiet_command_is_asked_again_ever_less_often() -> None:
    """A lost grant is made good within two seconds; a command that says nothing is asked each eight."""
    driver = live()
    times = []
    for _ in range(400):
        driver.now += 0.1
        driver.hear(Heartbeat())
        driver.tick()
        if (OUT, 0, 0) in grants(driver):
            times.append(driver.now)
    assert 1.9 < times[0] < 2.2
    assert ASK_AGAIN_QUIET_S - 0.2 < times[-1] - times[-2] < ASK_AGAIN_QUIET_S + 0.2


def test_an_output_link_that_opens_gets_every_grant_again() -> None:
    """What was granted before the link was there may have been answered into nothing."""
    driver = live()
    chunk(driver, 0, b"abc")
    driver.do(events.LinkOpened, link=driver.output_link)
    assert grants(driver) == [(OUT, 3, 0), (ERR, 0, 0)]


def test_after_a_failover_output_goes_on_at_the_byte_reached() -> None:
    """Attach names the offsets; nothing is delivered twice."""
    driver = live()
    chunk(driver, 0, b"abc")
    driver.do(events.LinkClosed, link=driver.link)
    driver.epoch = 2
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=BROKERS)
    driver.welcome("b2")
    assert Attach(id=TASK, stdout=3, window=WINDOW_BYTES_MAX) in driver.sent()
    chunk(driver, 3, b"def")
    assert delivered(driver) == [(3, b"def")]


def test_a_newer_attempt_starts_its_output_anew() -> None:
    """Its first byte is byte 0 again, the person is told, and what the old attempt still says is dropped."""
    driver = live()
    chunk(driver, 0, b"abc")
    driver.hear(TaskMoved(id=TASK, state=TaskState.RUNNING, attempt=2, worker="w2"))
    assert driver.told() == [notices.OutputRestarted(id=TASK, attempt=2)]
    chunk(driver, 3, b"def", attempt=1)
    assert driver.out == []
    chunk(driver, 0, b"xyz", attempt=2)
    assert delivered(driver) == [(0, b"xyz")]


def test_a_small_result_completes_live_output_by_itself() -> None:
    """What was not read yet comes from the result's own copy; then the task settles."""
    driver = live()
    chunk(driver, 0, b"abc")
    driver.finish(result(b"abcdef"))
    assert delivered(driver) == [(3, b"def")]
    assert isinstance(driver.out[-1], actions.Settle)


def test_a_task_settles_only_when_its_large_output_is_complete() -> None:
    """The result waits, unacknowledged, until the last byte that it lacks has come."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    size = 10_000
    what = result(b"z" * 4096, size=size)
    driver.finish(what)
    assert grants(driver) == [(OUT, 0, 1)]
    assert driver.only(actions.Settle) == []
    driver.hear(Finished(id=TASK, result=what))
    assert driver.out == []
    chunk(driver, 0, b"y" * 6000)
    assert driver.only(actions.Settle) == []
    chunk(driver, 6000, b"z" * 4000, end=True)
    assert driver.sent() == [Ack(id=TASK)]
    assert driver.only(actions.Settle) == [actions.Settle(TASK, what)]


def test_output_that_nobody_wants_is_not_fetched() -> None:
    """Without `output` the result's own copy has to do."""
    driver = Driver().connect()
    driver.submit(output=False)
    driver.finish(result(b"z" * 4096, size=10_000))
    assert len(driver.only(actions.Settle)) == 1
    assert grants(driver) == []


def test_lost_output_is_said_with_its_first_byte() -> None:
    """A worker that no longer has the bytes ends the wait; the settlement says what is missing."""
    driver = Driver().connect()
    driver.submit()
    driver.finish(result(b"z" * 4096, size=10_000))
    chunk(driver, 0, b"y" * 100)
    chunk(driver, 100, b"", end=True, lost="the worker is gone")
    (settle,) = driver.only(actions.Settle)
    missing = notices.OutputMissing(id=TASK, stream=OUT, offset=100, why="the worker is gone")
    assert settle.missing == (missing,)


def test_output_lost_while_the_command_runs_is_not_given_up() -> None:
    """Its worker may come back, or another attempt may run: only with the result is a loss final."""
    driver = live()
    chunk(driver, 0, b"", end=True, lost="the worker has no link")
    driver.finish(result(b"all"))
    assert delivered(driver) == [(0, b"all")]
    (settle,) = driver.only(actions.Settle)
    assert settle.missing == ()


def test_a_result_of_an_earlier_attempt_replaces_what_was_read_of_a_later_one() -> None:
    """A worker thought lost may deliver first: its output is the task's."""
    driver = live()
    chunk(driver, 0, b"half", attempt=2)
    driver.finish(result(b"whole", attempt=1))
    assert driver.told() == [notices.OutputRestarted(id=TASK, attempt=1)]
    assert delivered(driver) == [(0, b"whole")]


def test_where_no_attempt_delivered_what_was_read_stays() -> None:
    """Nothing starts again: a lost task says that the rest is gone, a cancelled one that this is all."""
    for state, lost in ((TaskState.LOST, True), (TaskState.CANCELLED, False)):
        driver = live()
        chunk(driver, 0, b"half")
        driver.finish(Result(state=state, why="w1 was lost"))
        assert delivered(driver) == []
        missing = [notices.OutputMissing(id=TASK, stream=OUT, offset=4, why="w1 was lost")]
        missing.append(notices.OutputMissing(id=TASK, stream=ERR, offset=0, why="w1 was lost"))
        (settled,) = driver.only(actions.Settle)
        assert list(settled.missing) == (missing if lost else [])
        assert driver.told() == []


def test_a_truncated_stream_is_read_to_where_the_worker_stopped() -> None:
    """The recorded size is more than the spool kept: its last bytes are not taken for the missing ones."""
    driver = Driver().connect()
    driver.submit()
    what = result(b"z" * 4096, size=10_000, truncated=True)
    driver.finish(what)
    chunk(driver, 0, b"y" * 8000)
    assert driver.only(actions.Settle) == []
    chunk(driver, 8000, b"", end=True, lost="the command wrote more than is kept")
    (settle,) = driver.only(actions.Settle)
    assert settle.missing[0].offset == 8000


def test_a_failover_while_output_is_fetched_goes_on_with_the_next_leader() -> None:
    """The new leader is told of the task, so that it learns which worker to ask; then the fetch goes on."""
    driver = Driver().connect()
    driver.submit()
    driver.finish(result(b"z" * 4096, size=10_000))
    chunk(driver, 0, b"y" * 5000)
    driver.do(events.LinkClosed, link=driver.link)
    driver.epoch = 2
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=BROKERS)
    driver.welcome("b2")
    assert Attach(id=TASK) in driver.sent()
    driver.do(events.LinkOpened, link=driver.output_link)
    assert grants(driver) == [(OUT, 5000, 1)]
    driver.finish(result(b"z" * 4096, size=10_000))
    assert driver.out == []
    chunk(driver, 5000, b"y" * 5000, end=True)
    assert len(driver.only(actions.Settle)) == 1


def test_a_record_that_vanishes_while_output_is_fetched_keeps_the_result() -> None:
    """The result is here already; what is missing of the output is said."""
    driver = Driver().connect()
    driver.submit()
    driver.finish(result(b"z" * 4096, size=10_000))
    driver.hear(Rejected(id=TASK, code="gone", why="no longer in the table"))
    (settle,) = driver.only(actions.Settle)
    assert [missing.offset for missing in settle.missing] == [0]


def test_only_some_large_outputs_are_fetched_at_the_same_time() -> None:
    """The leader holds no more windows than a few; the others follow as they complete."""
    driver = Driver().connect()
    tasks = [f"{number:032x}" for number in range(40)]
    fetched: set[str] = set()
    for task in tasks:
        driver.submit(task)
        driver.finish(result(b"z" * 4096, size=5000), task=task)
        fetched |= {grant.grant.task for grant in driver.only(actions.SendGrant)}
    assert len(fetched) == 16
    settled: list[str] = []
    while fetched:
        task = fetched.pop()
        piece = Chunk(task=task, attempt=1, stream=OUT, offset=0, data=b"z" * 5000, end=True)
        driver.do(events.OutputSaid, link=driver.output_link, chunk=piece)
        settled += [settle.id for settle in driver.only(actions.Settle)]
        fetched |= {grant.grant.task for grant in driver.only(actions.SendGrant)}
    assert sorted(settled) == tasks


def test_a_reader_that_begins_behind_the_end_is_done_at_once() -> None:
    """Attached at an offset that the stream never reaches, it settles with nothing delivered."""
    driver = Driver().connect()
    driver.do(events.AttachRequested, id=TASK, live=True, stdout=2**62, stderr=2**62)
    driver.finish(result(b"z" * 4096, size=10_000))
    assert delivered(driver) == []
    assert len(driver.only(actions.Settle)) == 1


def test_a_grant_names_the_attempt_only_when_that_is_final() -> None:
    """While the task runs the newest attempt is asked; afterwards the one that delivered."""
    driver = live()
    chunk(driver, 5, b"x")
    assert driver.only(actions.SendGrant)[0].grant == Grant(
        task=TASK, stream=OUT, offset=0, window=WINDOW_BYTES_MAX
    )
    driver.finish(result(b"z" * 4096, size=10_000, attempt=1))
    assert grants(driver) == [(OUT, 0, 1)]
