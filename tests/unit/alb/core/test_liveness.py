"""A leader that shows no progress is noticed, and told to the standbys."""

from __future__ import annotations

from tests.unit.alb.core.core_driver import ENDPOINTS, TASK, Driver, leader

from alb.core import actions, events, notices
from alb.core.liveness import PING_TASKS_MAX
from alb_core.messages import Attach, Heartbeat, Message, Ping, Pong, Pulse
from alb_core.tasks import TaskState


def alive(driver: Driver, seconds: float, answer: bool = True, **pulse: object) -> list[Message]:  # noqa: FBT001, FBT002
    """Let a leader live that beats its heart and (if `answer`) answers every Ping; return what was sent."""
    sent: list[Message] = []
    suspects: list[actions.SendSuspect] = []
    for _ in range(round(seconds * 10)):
        driver.now += 0.1
        driver.hear(Heartbeat())
        driver.tick()
        suspects += driver.only(actions.SendSuspect)
        for message in driver.sent():
            sent.append(message)
            if isinstance(message, Ping) and answer:
                pulses = tuple(Pulse(id=task, **pulse) for task in message.tasks)  # type: ignore[arg-type]
                sent += [
                    a.message
                    for a in driver.hear(Pong(seq=message.seq, tasks=pulses))
                    if isinstance(a, actions.Send)
                ]
    driver.suspects = suspects  # type: ignore[attr-defined]
    return sent


def suspects(driver: Driver) -> list[actions.SendSuspect]:
    """Return the suspicions of the last `alive`."""
    return driver.suspects  # type: ignore[attr-defined, no-any-return]


def running() -> Driver:
    """Return a client with one accepted task."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    return driver


def test_a_long_silent_command_is_progress_while_its_worker_is_heard() -> None:
    """Pings ask about the silent task; good answers raise no suspicion."""
    driver = running()
    sent = alive(driver, 30, state=TaskState.RUNNING, silent_s=0.5)
    assert any(isinstance(message, Ping) and message.tasks == (TASK,) for message in sent)
    assert suspects(driver) == []


def test_a_queued_task_is_progress() -> None:
    """The leader that knows it is doing its work."""
    driver = running()
    alive(driver, 30, state=TaskState.QUEUED)
    assert suspects(driver) == []


def test_a_leader_that_beats_its_heart_but_answers_nothing_is_suspected() -> None:
    """After five seconds without a Pong the standbys are told, and ZooKeeper is asked who leads."""
    driver = running()
    alive(driver, 5, answer=False)
    assert suspects(driver) == []
    alive(driver, 3, answer=False)
    (suspect,) = suspects(driver)
    assert (set(suspect.endpoints), suspect.epoch) == ({ENDPOINTS["b2"], ENDPOINTS["b3"]}, 1)


def test_a_task_whose_worker_is_silent_is_suspicious() -> None:
    """Pongs that name no living worker count as no sign of life."""
    driver = running()
    alive(driver, 10, state=TaskState.RUNNING, silent_s=9.0)
    assert suspects(driver)


def test_suspicion_is_told_at_most_once_in_five_seconds() -> None:
    """A dead leader is not drummed out: one Suspect each timeout."""
    driver = running()
    alive(driver, 26, answer=False)
    assert 3 <= len(suspects(driver)) <= 5


def test_suspicion_looks_up_who_leads_and_follows_a_higher_epoch() -> None:
    """A deposed leader that goes on beating is left as soon as ZooKeeper names another."""
    driver = running()
    driver.do(events.LookUpFailed, why="")
    while not driver.only(actions.SendSuspect):
        driver.now += 0.1
        driver.hear(Heartbeat())
        driver.tick()
    assert actions.LookUp() in driver.out
    assert [type(notice) for notice in driver.told()] == [notices.ProgressMissed]
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=())
    assert driver.out == []
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=())
    assert [action.endpoint for action in driver.only(actions.Connect)] == [ENDPOINTS["b2"]]


def test_a_ping_asks_about_a_bounded_number_of_tasks_and_gets_round_to_all() -> None:
    """At most 64 at a time, the longest silent first."""
    driver = Driver().connect()
    tasks = {f"{number:032x}" for number in range(150)}
    for task in sorted(tasks):
        driver.submit(task)
        driver.accept(task)
    sent = alive(driver, 6, state=TaskState.QUEUED)
    pings = [message for message in sent if isinstance(message, Ping)]
    assert max(len(ping.tasks) for ping in pings) == PING_TASKS_MAX
    assert {task for ping in pings for task in ping.tasks} == tasks


def test_a_task_that_the_leader_does_not_know_is_attached_to_again() -> None:
    """A pulse without a state, or of a task that has ended, means that the leader does not serve us."""
    for state in (None, TaskState.SUCCEEDED):
        driver = running()
        sent = alive(driver, 4, state=state)
        assert Attach(id=TASK) in sent


def test_an_idle_client_shows_itself_now_and_then() -> None:
    """The leader forgets clients that are silent: an idle one pings each few seconds."""
    sent = alive(Driver().connect(), 30)
    assert 5 <= len([message for message in sent if isinstance(message, Ping)]) <= 8


def test_the_leader_s_waiting_is_told_once() -> None:
    """``waiting for ZooKeeper`` in its heartbeats is told when it begins and when it ends."""
    driver = Driver().connect()
    told = []
    for waiting in ("ZooKeeper", "ZooKeeper", ""):
        driver.hear(Heartbeat(waiting=waiting))
        told += driver.told()
    assert told == [
        notices.LeaderWaits(broker="b1", what="ZooKeeper"),
        notices.LeaderWaits(broker="b1", what=""),
    ]
