"""What workers are asked to give back: attempts that have not begun there, and could begin elsewhere.

An attempt is *revoked* when it has waited for room longer than its worker was reckoned to need, while another
worker has room for it; at once, where its worker is drained or in quarantine. The worker's answer decides: it
was given back, and never begins there, or it has begun, and goes on. So nothing runs twice for being moved,
and a task that came back a few times goes ahead no more, so that nothing bounces.

A worker that is not heard any more loses what it has not begun as far as the leader knows, when somebody
else has room for it: by the rules of loss, so only what may run twice. It gets nothing new until all of that
has ended there.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from alb_broker.core.book import Book, deliverable
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import BEGUN, Worker
from alb_core import limits
from alb_core.messages import AttemptId, Kill, Revoke
from alb_core.notes import Level
from alb_core.resources import Request, Room
from alb_core.spec import OnLost
from alb_core.tasks import Attempt, AttemptState

LOOK_EVERY_S: Final = 0.05
#: A look at the workers that hold something ahead costs little, and turns may come by the thousand.
WORKERS_AT_ONCE: Final = 64
#: That one look meets; the next goes on behind them.
AT_ONCE: Final = 200
#: Attempts of one worker that are asked back together.
PATIENCE_S: Final = limits.LOST_WITHOUT_SESSION_S
#: A worker that is not heard for so long loses what it has not begun, whether its session lives or not.


class _Look(NamedTuple):
    """What one look has found so far: it moves no more than there is room for."""

    rooms: dict[str, Room]
    #: What is left, by worker, of the room that attempts are to be moved to.
    nowhere: set[tuple[str, Request]]
    #: For which there is none.


class Revocations:
    """Asks workers for what they have not begun.

    Args:
        state: The reign's parts.
        book: Carries out what becomes of attempts.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._looked = float("-inf")  #: Own clock of the newest look.

    # --- asking ---------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Look at workers that hold something ahead: what a placement pass left free, nobody else wants."""
        state = self._state
        if not state.workers.rows or state.at - self._looked < LOOK_EVERY_S:
            return
        self._looked = state.at
        look = _Look({}, set())
        for worker in state.workers.take_rows(WORKERS_AT_ONCE):
            if worker.drain is not None or worker.quarantine is not None:
                self.take_back(worker)
            else:
                self._review(worker, worker.ahead, limits.REVOKE_AFTER_S, look)

    def tick(self) -> None:
        """Ask again, and look at what a worker that is not heard has not even confirmed."""
        look = _Look({}, set())
        for worker in [each for each in self._state.workers if each.revoked or each.unconfirmed]:
            if worker.revoked and worker.link:
                self._ask_again(worker)
            if worker.unconfirmed and not worker.link:
                self._review(worker, worker.unconfirmed, limits.REVOKE_AFTER_S, look)

    def take_back(self, worker: Worker) -> None:
        """Ask a worker that is given nothing new for everything that it may not have begun."""
        asked = [
            attempt
            for attempt in dict.fromkeys((*worker.ahead, *worker.unconfirmed))
            if attempt not in worker.revoked and self._find(worker, attempt)[0] is not None
        ]
        self._ask(worker, asked[:AT_ONCE])

    def on_began(self, worker: Worker, attempt: AttemptId) -> None:
        """A worker says that an attempt has begun: whatever the books say, it stays there."""
        if attempt in worker.revoked or attempt in worker.ahead:
            worker.revoked[attempt] = BEGUN

    def _ask(self, worker: Worker, attempts: list[AttemptId]) -> None:
        if not attempts or not worker.link:
            return
        state = self._state
        worker.revoked.update(dict.fromkeys(attempts, state.at))
        state.counters["attempts_revoked"] += len(attempts)
        state.ledger.say(state.worker(worker.peer, Revoke(attempts=tuple(attempts))))

    def _ask_again(self, worker: Worker) -> None:
        state = self._state
        due = state.at - limits.RESEND_S
        late = tuple(islice((a for a, asked in worker.revoked.items() if asked <= due), AT_ONCE))
        if late:
            worker.revoked.update(dict.fromkeys(late, state.at))
            state.ledger.say(state.worker(worker.peer, Revoke(attempts=late)))

    # --- judging --------------------------------------------------------------------------------------------

    def _review(self, worker: Worker, held: Iterable[AttemptId], after_s: float, look: _Look) -> None:
        """Ask for what others could begin by now, or give it up where nobody hears the worker.

        Args:
            worker: Whose attempts they are.
            held: Those that it may not have begun, the oldest first.
            after_s: What was placed since is left alone.
            look: What others have room for.
        """
        state = self._state
        if worker.capacity.cpus == 0:
            return  # it never registered with this leader, which knows nothing of what has begun there
        late: list[tuple[Task, AttemptId]] = []
        for attempt_id in islice(held, AT_ONCE):
            task, attempt = self._find(worker, attempt_id)
            if attempt is not None and state.now() - attempt.placed < after_s:
                break
            if task is not None and worker.revoked.get(attempt_id) != BEGUN:
                late.append((task, attempt_id))
        silent = not worker.link and state.at - worker.heard >= PATIENCE_S
        asked: list[AttemptId] = []
        for task, attempt_id in reversed(late):  # the last in the row would wait longest
            if silent:
                wanted = task.spec.on_lost is OnLost.RERUN
            else:
                wanted = attempt_id not in worker.revoked and not task.bounces
            if not (wanted and self._fits_elsewhere(task, worker, look)):
                continue
            if silent:
                self._give_up(task, attempt_id, worker)
            else:
                asked.append(attempt_id)
        self._ask(worker, asked)

    def _find(self, worker: Worker, attempt_id: AttemptId) -> tuple[Task, Attempt] | tuple[None, None]:
        """Return a task and its attempt, if the worker has it and nobody wants its end."""
        task = self._state.table.live.get(attempt_id.task)
        if task is None or task.cancel or attempt_id in worker.killing:
            return None, None
        attempt = deliverable(task, attempt_id.n, worker.incarnation)
        if attempt is None or attempt.state is not AttemptState.LIVE:
            return None, None
        return task, attempt

    def _fits_elsewhere(self, task: Task, worker: Worker, look: _Look) -> bool:
        """Tell whether another worker has room for a task that no other was moved to; it takes that room."""
        request = task.request
        whose = ("" if self._state.gate is None else task.user, request)
        if whose in look.nowhere:
            return False
        state = self._state
        for other in state.placer.find_room(task, state.workers, state.now(), state.gate):
            if other is worker:
                continue
            room = look.rooms.get(other.name)
            if room is None:
                room = look.rooms[other.name] = other.room.copy()
            if room.holds(request):
                room.take(request)
                return True
        look.nowhere.add(whose)
        return False

    def _give_up(self, task: Task, attempt_id: AttemptId, worker: Worker) -> None:
        """The worker loses an attempt that it has not begun, as far as anybody knows."""
        state = self._state
        self._book.release(worker, attempt_id)
        worker.bar(attempt_id)  # it gets nothing more until this one is gone there
        worker.order_end(attempt_id, state.at)
        state.counters["attempts_given_up"] += 1
        state.note("attempt_given_up", Level.WARNING, task=task.id, attempt=attempt_id.n, worker=worker.name)
        self._book.lose(task, attempt_id.n, worker, state.at, ahead=True, why="did not answer")
        if worker.link:
            state.ledger.say(state.worker(worker.peer, Kill(attempt=attempt_id, why="evicted")))
