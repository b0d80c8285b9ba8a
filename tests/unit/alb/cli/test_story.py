"""What the person in front of ``alb submit`` is told."""

from __future__ import annotations

from alb.cli.story import PATIENCE_S, Story
from alb.core import notices
from alb_core.tasks import TaskState

TASK = "a" * 32


class Told:
    """A story with a clock of its own, and the lines it said."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.story = Story(self.lines.append, lambda: self.now)

    def tell(self, *told: notices.AnyNotice) -> None:
        """Take notices."""
        for notice in told:
            self.story.tell(notice)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.story.wait()


def placed(
    state: TaskState = TaskState.RUNNING, worker: str = "w1", attempt: int = 1, why: str = ""
) -> notices.TaskPlaced:
    """Make the notice of where the task is."""
    return notices.TaskPlaced(id=TASK, state=state, worker=worker, attempt=attempt, why=why)


def greeted(broker: str, epoch: int, after_s: float = 0.0, *, again: bool = True) -> notices.LeaderGreeted:
    """Make the notice of a leader's welcome."""
    return notices.LeaderGreeted(broker=broker, epoch=epoch, after_s=after_s, again=again)


LOST = notices.LeaderLost(broker="b1", epoch=7, why="closed the connection")


def running() -> Told:
    """Return the story of a task that runs."""
    told = Told()
    told.tell(greeted("b1", 7, again=False), placed())
    return told


def test_a_task_that_goes_well_needs_no_words() -> None:
    """Connected, placed, running: nothing is said, however long it takes."""
    told = running()
    told.wait(60)
    assert told.lines == []


def test_a_failover_is_one_line() -> None:
    """Who was lost, who leads, how long it took, and that the task never stopped."""
    told = running()
    told.tell(LOST)
    told.wait(0.9)
    told.tell(greeted("b2", 8, 0.9), placed())
    assert told.lines == ["b1 lost; b2 leads (epoch 8) after 0.9 s; task still running on w1"]


def test_a_task_that_ended_meanwhile_ends_the_story() -> None:
    """Who leads now is said though the task was not heard of again; and nothing where all is said."""
    told = running()
    told.tell(LOST, greeted("b2", 8, 0.9))
    told.story.end()
    told.story.end()
    assert told.lines == ["b1 lost; b2 leads (epoch 8) after 0.9 s"]


def test_a_leader_that_steps_down_is_not_called_lost() -> None:
    """It lives, and says so itself."""
    told = running()
    told.tell(notices.LeaderLost(broker="b1", epoch=7, why=notices.LEADS_NO_MORE))
    told.wait(4)
    told.tell(greeted("b2", 8, 4.0), placed())
    assert told.lines[0].startswith("b1 leads no more; looking for another leader")


def test_a_long_failover_is_said_while_it_lasts() -> None:
    """After two seconds the person hears what is going on; later, how it ended."""
    told = running()
    told.tell(LOST)
    told.wait(4)
    told.tell(greeted("b2", 8, 4.0), placed())
    assert told.lines == [
        "b1 lost (closed the connection); looking for another leader; the task goes on on w1",
        "b2 leads (epoch 8) after 4.0 s; task still running on w1",
    ]


def test_the_same_broker_may_lead_again() -> None:
    """A link that broke and came back is no change of leader."""
    told = running()
    told.tell(LOST, greeted("b1", 7, 0.2), placed())
    assert told.lines == ["b1 lost; b1 leads again (epoch 7) after 0.2 s; task still running on w1"]


def test_a_new_leader_that_says_nothing_of_the_task_is_told_all_the_same() -> None:
    """The line does not wait for the task's state for ever."""
    told = running()
    told.tell(LOST, greeted("b2", 8, 0.5))
    told.wait(PATIENCE_S + 0.2)
    assert told.lines == ["b1 lost; b2 leads (epoch 8) after 0.5 s"]


def test_a_task_that_runs_again_elsewhere_is_told_with_its_reason() -> None:
    """Queued again, and then running as another attempt."""
    told = running()
    told.tell(placed(TaskState.QUEUED, "", 1, "its worker was lost"), placed(worker="w2", attempt=2))
    assert told.lines == [
        "task is queued again: its worker was lost",
        "task runs again on w2 (attempt 2)",
    ]


def test_a_task_that_waits_for_room_is_told_once() -> None:
    """After two seconds in the queue, and again when it runs."""
    told = Told()
    told.tell(greeted("b1", 7, again=False), placed(TaskState.QUEUED, "", 0))
    told.wait(20)
    told.tell(placed())
    assert told.lines == [
        f"task {TASK} is queued: it waits for its turn and for room: alb explain tells more",
        "task runs on w1",
    ]


def test_a_task_that_no_worker_suits_is_told_why() -> None:
    """Room alone would not help: whoever mistyped a label must not wait for it in vain."""
    told = Told()
    told.tell(greeted("b1", 7, again=False), placed(TaskState.QUEUED, "", 0))
    told.tell(placed(TaskState.QUEUED, "", 0, "no worker has the label sdd"))
    told.wait(20)
    assert told.lines == [f"task {TASK} is queued: no worker has the label sdd"]


def test_nobody_leads_is_waited_for() -> None:
    """ZooKeeper answers: an election may be under way."""
    told = Told()
    told.tell(notices.NobodyLeads(brokers=3))
    told.wait(10)
    assert told.lines == ["no broker leads; trying again"]
    assert not told.story.connected


def test_no_zookeeper_is_waited_for() -> None:
    """Whoever was connected before stays so: a task that runs is waited for."""
    told = Told()
    told.tell(notices.ZooKeeperSilent(why="no ZooKeeper server answered"))
    told.wait(10)
    assert told.lines == ["no ZooKeeper server answered; trying again"]
    assert not told.story.connected
    later = running()
    later.tell(LOST, notices.ZooKeeperSilent(why="no ZooKeeper server answered"))
    later.wait(10)
    assert later.story.connected


def test_the_other_notices_have_words() -> None:
    """Each names who, what, and what happens next."""
    told = running()
    told.tell(
        notices.LeaderWaits(broker="b1", what="ZooKeeper"),
        notices.LeaderWaits(broker="b1", what=""),
        notices.TableFull(id=TASK, delay_s=1.0),
        notices.TableFull(id=TASK, delay_s=1.0),
        notices.OutputRestarted(id=TASK, attempt=2),
        notices.ProgressMissed(broker="b1", why="no answer for 5 s"),
        notices.TableReplaced(before="x", now="y"),
    )
    assert told.lines == [
        "b1 waits for ZooKeeper; commands go on running",
        "b1 goes on",
        "the cluster has no room for another task; trying again every 1.0 s",
        "the output starts again from the beginning: it is that of attempt 2 now",
        "b1 shows no progress (no answer for 5 s); asked the other brokers to look",
        "the cluster has another task table than before; what the old one held may be gone",
    ]


def test_a_task_that_is_held_is_told_with_its_reason() -> None:
    """At once, each reason once; then that it is queued, for the first time."""
    told = Told()
    told.tell(greeted("b1", 7, again=False), placed(TaskState.HELD, ""))
    for why in ("it waits for x", "it waits for x"):
        told.tell(placed(TaskState.HELD, "", 0, why))
    told.wait(60)
    told.tell(placed(TaskState.QUEUED, "", 0))
    assert told.lines == ["task waits: it waits for x", "task is queued"]
