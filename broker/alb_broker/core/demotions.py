"""Demotion: who has run for a quantum gives its processors to those who wait, and runs on with the rest.

Nothing is killed, and nothing happens while nobody waits. The heads of the queue that find no room are looked
at with each tick; for each, on one worker, the fewest attempts give way that let it fit: those of the user
with the largest share first, then those that have run longest. An attempt gives way to users with a smaller
share, and to its own user's other work; never to its like (its array, or the same program of its user), which
would gain nothing by it: of a batch of long commands the first would stand still for the last. On a worker
that is set aside for a task every other user gives way to it, for it was overtaken for long.

What a user has demoted counts for his place in the queue as before: else it would be his own next command
that gets the processor, again and again. Who gives way is decided by the processors that he holds, over his
weight, whatever else he has: they are what changes hands, and the memory of what is demoted must not be what
keeps its user's next command from them. Nor must his own endless commands elsewhere, where what waits may not
fit: for a task with a time limit only what ends by itself counts against its user.

Memory is not lent. Where it is missing, too, what is preemptible may be ended for it (`Preemptions`), once it
is clear that the processors could be had then, by the same rule.

The mark of demotion is in the table before its worker hears of it, like everything that placement relies
on. It stays until the attempt is over: where nobody else wants the processors, the lowest weight gets all.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from alb_broker.core.book import Book
from alb_broker.core.heads import Heads
from alb_broker.core.lendable import Lendable, Old, Waiting, is_on
from alb_broker.core.lots import Lots
from alb_broker.core.state import State
from alb_broker.core.worker import Worker

FEASIBLE_MAX: Final = 16
#: Workers on which a task could have room made, compared before one is taken.
STEPS_MAX: Final = 8000
#: Of one tick, and one head at least: a step takes some microseconds, and a tenth of the time is enough.


class Demotions:
    """Looks for those who may have to give way.

    Args:
        state: The reign's parts.
        book: Carries demotions out.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._heads: Final = Heads(state)
        self._lots: Final = Lots(self._heads)

    def tick(self) -> None:
        """Make room for those who wait, if somebody has had its quantum."""
        state = self._state
        state.workers.forget_crowds()
        heads = self._heads.take() if is_on(state.config) else []
        if not heads:
            return
        lendable = Lendable(state)
        lot = self._lots.take(state.workers, len(state.workers.by_name))
        for number, head in enumerate(heads):
            if lendable.steps >= STEPS_MAX:
                self._heads.put_back(heads[number:])
                return
            found = self._choose(Waiting(state, head), lot, lendable)
            if found is not None:
                worker, giving_way = found
                for each in giving_way:
                    self._book.demote(each.task, worker, each.id, head, state.at)
                lendable.close(worker, giving_way)

    def _choose(self, who: Waiting, lot: list[Worker], lendable: Lendable) -> tuple[Worker, list[Old]] | None:
        """Choose the worker, and what gives way there."""
        feasible = (
            (worker, found)
            for worker in lot
            if _is_open_to(worker, who) and (found := lendable.enough(who, worker))
        )
        return min(
            islice(feasible, FEASIBLE_MAX),
            key=lambda pair: (-lendable.holds(pair[1][0].task.user), pair[1][0].since),
            default=None,
        )


def _is_open_to(worker: Worker, who: Waiting) -> bool:
    """Tell whether what comes free on a worker may be a task's: it is not set aside for others, nor measured.

    What is demoted runs on and is measured as before: who heeds that finds no more room than it had.
    """
    request = who.task.request
    booked = worker.booked is None or worker.booked.key == who.key
    return booked and (not request.measured or worker.load.leaves(request, worker.capacity))
