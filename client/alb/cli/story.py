"""What happens to a task meanwhile, worded for the person who waits in front of the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from alb.cli.values import format_duration, format_size
from alb.core import notices
from alb.core.notices import LEADS_NO_MORE
from alb_core.tasks import TaskState

PATIENCE_S: Final = 2.0
#: What is over sooner needs no words of its own.


class Story:
    """Turns notices into lines, and says what is waited for where nothing happens.

    Notices come from the client's thread, questions from the main one.

    Args:
        say: Takes each line.
        now: Monotonic seconds.
    """

    def __init__(self, say: Callable[[str], None], now: Callable[[], float]) -> None:
        self._say = say
        self._now = now
        self._lock = threading.RLock()
        self.connected = False
        #: Whether a leader welcomed us, ever.
        self.trouble = ""
        #: Why there is no leader.
        self.searching = False
        #: Whether the leader was lost, and no other has welcomed us yet.
        self.placed: notices.TaskPlaced | None = None
        #: Where the task is, as last heard.
        self._lacks = ""
        #: What no worker has that the task asks for, while it is queued; empty: it waits for room.
        self._since = now()
        #: When the present state of affairs began.
        self._lost: notices.LeaderLost | None = None
        self._lost_told = False
        self._greeted: notices.LeaderGreeted | None = None
        self._told: set[str] = set()
        #: Sentences of the present state of affairs; each is said once.

    def tell(self, notice: notices.AnyNotice) -> None:
        """Take a notice."""
        with self._lock:
            match notice:
                case notices.LeaderLost():
                    self._lost, self._lost_told, self._greeted = notice, False, None
                    self.searching = True
                    self._turn()
                case notices.LeaderGreeted():
                    self._on_greeted(notice)
                case notices.TaskPlaced():
                    self._on_placed(notice)
                case notices.FileMoves(name=name, size_bytes=size_bytes, back=back):
                    self._say(f"{'fetching' if back else 'sending'} {name} ({format_size(size_bytes)})")
                case notices.DepotsSilent(why=why):
                    self._once(f"{why}; trying again")
                case _:
                    self._on_other(notice)

    def _turn(self) -> None:
        self._since = self._now()
        self._told.clear()

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def _on_greeted(self, notice: notices.LeaderGreeted) -> None:
        self.connected = True
        self.trouble = ""
        self.searching = False
        if notice.again:
            self._greeted = notice
            if self.placed is None:
                self._tell_change("")
        self._turn()

    def _on_placed(self, notice: notices.TaskPlaced) -> None:
        before, self.placed = self.placed, notice
        running = notice.state is TaskState.RUNNING
        still = before is not None and (before.state, before.attempt) == (notice.state, notice.attempt)
        if self._greeted is not None:
            where = f"on {notice.worker}" if running else notice.state.value.lower()
            self._tell_change(f"; task still {'running ' if running else ''}{where}" if still else "")
        if not still:
            self._on_new_place(before, notice)
        if notice.state is not TaskState.QUEUED:
            self._lacks = ""
        elif still or before is None:
            self._lacks = notice.why or self._lacks
        if notice.state is TaskState.HELD and notice.why:
            self._once(f"task waits: {notice.why}")

    def _on_new_place(self, before: notices.TaskPlaced | None, notice: notices.TaskPlaced) -> None:
        running = notice.state is TaskState.RUNNING
        if running and notice.attempt > 1:
            self._say(f"task runs again on {notice.worker} (attempt {notice.attempt}){_because(notice.why)}")
        elif running and self._told:
            self._say(f"task runs on {notice.worker}")
        elif notice.state is TaskState.QUEUED and before is not None:
            again = "" if before.state is TaskState.HELD else " again"
            self._say(f"task is queued{again}{_because(notice.why)}")
        self._turn()

    def _tell_change(self, task: str) -> None:
        lost, greeted = self._lost, self._greeted
        self._lost = self._greeted = None
        if lost is None or greeted is None:
            return
        after = format_duration(greeted.after_s)
        again = " again" if lost.broker == greeted.broker else ""
        head = "" if self._lost_told else f"{_loss(lost)}; "
        self._say(f"{head}{greeted.broker} leads{again} (epoch {greeted.epoch}) after {after}{task}")

    def _on_other(self, notice: notices.AnyNotice) -> None:
        match notice:
            case notices.ZooKeeperSilent(why=why):
                self.trouble = why
            case notices.NobodyLeads(brokers=brokers):
                self.trouble = "no broker leads" if brokers else "no broker is registered"
            case notices.LeaderWaits(broker=broker, what=what):
                self._say(
                    f"{broker} waits for {what}; commands go on running" if what else f"{broker} goes on"
                )
            case notices.TableFull(delay_s=delay_s, why=why):
                why = why or "the cluster has no room for another task"
                self._once(f"{why}; trying again every {format_duration(delay_s)}")
            case notices.OutputRestarted(attempt=attempt):
                self._say(f"the output starts again from the beginning: it is that of attempt {attempt} now")
            case notices.ProgressMissed(broker=broker, why=why):
                self._once(f"{broker} shows no progress ({why}); asked the other brokers to look")
            case notices.BrokerRefused(why=why):
                self.trouble = f"the broker refuses this client: {why}"
            case notices.TableReplaced():
                self._say("the cluster has another task table than before; what the old one held may be gone")
            case _:
                pass

    def end(self) -> None:
        """Say what was not said yet of a change of leaders: the task ended before it was heard of again."""
        with self._lock:
            if self._greeted is not None:
                self._tell_change("")

    def wait(self) -> None:
        """Say what is waited for, if that takes long. Call it now and then."""
        with self._lock:
            if self._now() - self._since < PATIENCE_S:
                return
            if self._greeted is not None:
                self._tell_change("")
            elif self._lost is not None and not self._lost_told:
                self._lost_told = True
                task = self._where()
                self._say(f"{_loss(self._lost, because=True)}; looking for another leader{task}")
            elif self.trouble:
                self._once(f"{self.trouble}; trying again")
            elif not self.connected:
                self._once("looking for the leader")
            elif self.placed is not None and self.placed.state is TaskState.QUEUED:
                waits = self._lacks or "it waits for its turn and for room: alb explain tells more"
                self._once(f"task {self.placed.id} is queued: {waits}")

    def _where(self) -> str:
        if self.placed is None:
            return ""
        if self.placed.state is TaskState.RUNNING:
            return f"; the task goes on on {self.placed.worker}"
        return f"; the task stays {self.placed.state.value.lower()}"


def _loss(lost: notices.LeaderLost, *, because: bool = False) -> str:
    """Say that a leader is gone, or, where it says so itself, that it leads no more."""
    if lost.why == LEADS_NO_MORE:
        return f"{lost.broker} {LEADS_NO_MORE.removeprefix('it ')}"
    return f"{lost.broker} lost ({lost.why})" if because else f"{lost.broker} lost"


def _because(why: str) -> str:
    return f": {why}" if why else ""
