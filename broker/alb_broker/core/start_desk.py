"""What keeps tasks from being queued: dependencies, likes of theirs, times, and holds; and who lets them go.

A task that something keeps is HELD in the table. Each is looked at when what it waits for moves
(``holds.py`` knows when that is), and goes on, waits on, or ends because it would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from alb_broker.core.array import Array
from alb_broker.core.book import Book
from alb_broker.core.clients import Client
from alb_broker.core.fates import Fate, Fates, is_met
from alb_broker.core.holds import Waiting
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_core import ids
from alb_core.messages import Done, Error, HoldTasks, Message, ReleaseTasks
from alb_core.spec import Dependency, Start
from alb_core.tasks import NO_TIME, TaskRecord, TaskState

LOOKS_MAX: Final = 2000
#: Tasks looked at in one turn: as many as a batch of writes holds.
CIRCLE_MAX: Final = 10_000
#: Tasks that a search for circles goes through.
IDS_MAX: Final = 1000
#: Of one request to hold or to release.
REASONS_MAX: Final = 5
#: Told of one task.
NO_START: Final = Start()
#: Of what nothing keeps.


class Judgement(NamedTuple):
    """What keeps a task."""

    reasons: tuple[str, ...]
    #: Sentences; none: nothing keeps it.
    met: tuple[int, ...]
    #: Places of the dependencies that came true.
    doomed: str = ""
    #: Why it would wait for ever; empty: it need not.
    look_at: float = float("inf")
    #: Cluster time at which to look again, whatever moves.


class StartDesk:
    """Decides when tasks are queued.

    Args:
        state: The reign's parts.
        book: Carries out what becomes of them.
        fates: Knows what became of others.
    """

    def __init__(self, state: State, book: Book, fates: Fates) -> None:
        self._state: Final = state
        self._book: Final = book
        self.fates: Final = fates
        state.arrays.why_kept = self.why_array

    # --- new tasks ------------------------------------------------------------------------------------------

    def begin(self, record: TaskRecord) -> TaskRecord | str:
        """Return a new task's record in the state in which it is accepted; or what is wrong with its start.

        Args:
            record: Of a task that is not in the table.
        """
        start = record.spec.start
        if start == NO_START:
            return record
        circle = self.circle(record.id, start.dependencies)
        if circle:
            return circle
        begins = not_before(start, record.submitted)
        held = msgspec.structs.replace(record, state=TaskState.HELD, not_before=begins)
        judged = self.judge(held)
        if judged.reasons or judged.doomed:
            return msgspec.structs.replace(held, met=judged.met)
        return msgspec.structs.replace(held, state=TaskState.QUEUED, met=judged.met, not_before=NO_TIME)

    def awaits_unknown(self, start: Start) -> bool:
        """Tell whether a new task would wait for one that may not have been submitted yet."""
        return any(self.fates.of(each.task) in (Fate.UNKNOWN, Fate.NONE) for each in start.dependencies)

    def circle(self, new_id: str, dependencies: Sequence[Dependency]) -> str:
        """Return why a task or array would wait for itself, if so: only what is waited for already can.

        Args:
            new_id: Of what is not in the table.
            dependencies: What it is to wait for.
        """
        if any(_is_of(dependency.task, new_id) for dependency in dependencies):
            return "it depends on itself"
        if not dependencies or not self._state.holds.awaits_part_of(new_id):
            return ""
        ahead = [dependency.task for dependency in dependencies]
        seen = set(ahead)
        while ahead:
            task = self._kept(ahead.pop())
            if task is None:
                continue
            for place, dependency in enumerate(task.spec.start.dependencies):
                if _is_of(dependency.task, new_id):
                    other = self._said(task.id)
                    return f"it would wait for itself: {other}, for which it is to wait, waits for it"
                if place not in task.met and dependency.task not in seen:
                    seen.add(dependency.task)
                    ahead.append(dependency.task)
            if len(seen) > CIRCLE_MAX:
                return f"more than {CIRCLE_MAX} tasks come before it: submit it before those that wait for it"
        return ""

    def _said(self, name: str) -> str:
        return f"{'task' if self._state.arrays.get(name) is None else 'array'} {name}"

    def _kept(self, name: str) -> Waiting | None:
        """Return what would have to start before a task or an array can: it, or its array; None: nothing."""
        task = self._state.table.live.get(name)
        if task is not None:
            return task if task.state is TaskState.HELD and not task.array else None
        array = self._state.arrays.get(ids.array_of(name) or name)
        return array if array is not None and array.record.kept else None

    # --- looking --------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Look at those for whom something moved, a bounded number."""
        holds, live, going = self._state.holds, self._state.table.live, self._state.arrays.going
        self.fates.end_turn()
        if holds.alarms.times:
            holds.ring(self._state.now())
        for _ in range(min(LOOKS_MAX, len(holds.woken))):
            task_id = next(iter(holds.woken))
            del holds.woken[task_id]
            task = live.get(task_id)
            if task is not None and task.state is TaskState.HELD:
                self._look(task)
            elif task is not None and task.postponed:
                self._state.line_up(task)
            array = going.get(task_id)
            if array is not None and array.record.kept:
                self._look_at_array(array)

    def on_settled(self, task_id: str) -> None:
        """What happened to a task or an array is in the table: whoever waits for it may act on it."""
        array = self._state.arrays.get(task_id)
        if array is not None and not array.written.record.finished:
            self.fates.of(task_id)  # many of its tasks move: who waits is looked at if this is news
        elif task_id in self._state.table.live:
            self._state.holds.moved(task_id)
        else:
            self._state.holds.ended(task_id)

    def tick(self) -> None:
        """Look on at what nobody could tell."""
        self.fates.tick()

    def _look(self, task: Task) -> None:
        judged = self.judge(task)
        if judged.doomed:
            self._book.doom(task, judged.doomed)
            return
        if judged.met != task.met:
            for place in judged.met:
                self._state.holds.settle(task.id, task.spec.start.dependencies[place].task)
            self._book.note_met(task, judged.met)
        if not judged.reasons:
            self._book.free(task)
        elif judged.look_at < float("inf"):
            self._state.holds.alarms.set(task.id, judged.look_at)

    def _look_at_array(self, array: Array) -> None:
        arrays, judged = self._state.arrays, self.judge(array)
        if judged.doomed:
            arrays.stop(array, judged.doomed)
            return
        if judged.met != array.met:
            for place in judged.met:
                self._state.holds.settle(array.id, array.spec.start.dependencies[place].task)
            arrays.note_met(array, judged.met)
        if not judged.reasons:
            arrays.free(array)
        elif judged.look_at < float("inf"):
            self._state.holds.alarms.set(array.id, judged.look_at)

    def judge(self, task: Waiting) -> Judgement:
        """Return what keeps something back: a task, or an array as one thing."""
        state, start = self._state, task.spec.start
        reasons: list[str] = []
        met = list(task.met)
        look_at = float("inf")
        if task.held_by:
            reasons.append(f"{task.held_by} holds it: alb release {task.id}")
        elif start.hold and not task.released:
            reasons.append(f"it was submitted to be held: alb release {task.id}")
        if task.not_before > state.now():
            look_at = task.not_before
            reasons.append(f"it begins in {task.not_before - state.now():.0f} s")
        for place, dependency in enumerate(start.dependencies):
            if place in met:
                continue
            fate = self.fates.of(dependency.task)
            came_true = is_met(dependency, fate)
            if came_true is None and fate is Fate.UNKNOWN:
                given_up = max(task.submitted, state.clock.claimed) + state.config.holding_s
                came_true = None if state.now() < given_up else False
                look_at = min(look_at, given_up)
            if came_true:
                met.append(place)
            elif came_true is None:
                reasons.append(f"it waits for {_named(dependency)}, {_SAID[fate]}")
            else:
                why = f"dependency {_named(dependency)} cannot be met: {_SAID_LAST[fate]}"
                return Judgement((why,), task.met, doomed=why)
        earlier = state.holds.earlier(task.id, task.user, task.spec.name) if start.singleton else ""
        if earlier:
            reasons.append(f"{self._said(earlier)} of the same name has not ended")
        return Judgement(tuple(reasons), tuple(sorted(met)), look_at=look_at)

    def why(self, task: Task) -> str:
        """Return why a task that waits does, as a sentence; empty: it waits for room, or does not wait."""
        if task.state is TaskState.HELD:
            return _shown(self.judge(task).reasons)
        if task.postponed:
            left = max(0.0, task.not_before - self._state.now())
            return f"it failed {task.failures} times, and is tried again in {left:.0f} s"
        if not task.waits_for_room:
            return ""
        state = self._state
        bounded = state.shares.why_not(task.user, task.request)
        never = bounded or state.workers.why_never(task.request)
        return never or state.why_barred(task) or state.why_declined(task)

    def why_array(self, array: Array) -> str:
        """Return what keeps an array of which nothing runs, as a sentence; empty: it waits for room."""
        if array.record.kept:
            return _shown(self.judge(array).reasons)
        if array.held_by:
            return f"{array.held_by} holds what is left of it: alb release {array.id}"
        first = next(iter(array.live.values()), None)  # of tasks that are alike but for their command
        return "" if first is None else self.why(first)

    # --- holding and releasing ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {HoldTasks: self._on_hold, ReleaseTasks: self._on_release}

    def _on_hold(self, client: Client, request: HoldTasks) -> None:
        live = self._state.table.live
        for held_id in request.ids:
            task = live.get(held_id)
            if task is not None and task.state is TaskState.RUNNING:
                why = f"task {held_id} runs already, and what runs is not held: alb cancel ends it"
                self._refuse(client, request.seq, why)
                return
        by = client.user
        self._on_each(
            client,
            request,
            self._not_held,
            lambda task: self._book.hold(task, by),
            lambda array: self._state.arrays.hold(array, by),
        )

    def _on_release(self, client: Client, request: ReleaseTasks) -> None:
        self._on_each(client, request, self._not_released, self._book.let_go, self._state.arrays.release)

    def _on_each(
        self,
        client: Client,
        request: HoldTasks | ReleaseTasks,
        wrong_with: Callable[[str], str],
        step: Callable[[Task], None],
        step_array: Callable[[Array], None],
    ) -> None:
        """Do something to all tasks and arrays of a request; Done follows the last write of all of them."""
        if not 0 < len(request.ids) <= IDS_MAX:
            self._refuse(client, request.seq, f"{len(request.ids)} ids are not between 1 and {IDS_MAX}")
            return
        live, going = self._state.table.live, self._state.arrays.going
        others = [held_id for held_id in request.ids if held_id not in live and held_id not in going]
        wrong = next((why for held_id in others if (why := wrong_with(held_id))), "")
        if wrong:
            self._refuse(client, request.seq, wrong)
            return
        for held_id in request.ids:
            task, array = live.get(held_id), going.get(held_id)
            if task is not None:
                step(task)
            elif array is not None:
                step_array(array)
        self._state.ledger.say(self._state.client(client.peer, Done(seq=request.seq)))

    def _not_held(self, held_id: str) -> str:
        """Return why something that does not go on cannot be held."""
        if held_id in self._state.table.done or self._state.arrays.get(held_id) is not None:
            return f"{self._said(held_id)} has ended already"
        return self._not_made(held_id) or _unknown(held_id)

    def _not_released(self, held_id: str) -> str:
        """What ended meanwhile was let go, perhaps by this very request, said twice."""
        if held_id in self._state.table.done or self._state.arrays.get(held_id) is not None:
            return ""
        return self._not_made(held_id) or _unknown(held_id)

    def _not_made(self, held_id: str) -> str:
        if not self._state.arrays.is_to_come(held_id):
            return ""
        whole = ids.array_of(held_id)
        return f"task {held_id} is not made yet: hold or release its array, {whole}, with all that is left"

    def _refuse(self, client: Client, seq: int, why: str) -> None:
        self._state.tell(client.peer, Error(code="invalid", why=why, seq=seq))


_SAID: Final = {
    Fate.NONE: "of which the results store is asked",
    Fate.UNKNOWN: "which neither the table nor the results store knows (submit it soon, or it ends)",
    Fate.GOING: "which has not begun",
    Fate.STARTED: "which has not ended",
}
_SAID_LAST: Final = {
    Fate.UNKNOWN: "neither the table nor the results store knows it",
    Fate.SUCCEEDED: "it ended well",
    Fate.FAILED: "it did not end well",
}


def not_before(start: Start, submitted: float) -> float:
    """Return the cluster time before which something does not start; 0: none.

    Args:
        start: What keeps it.
        submitted: Cluster time of its acceptance.
    """
    return (max(start.begin, submitted + start.delay_s) if start.delay_s else start.begin) or NO_TIME


def _shown(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - REASONS_MAX} more" if len(reasons) > REASONS_MAX else ""
    return "; ".join(reasons[:REASONS_MAX]) + more


def _is_of(name: str, new_id: str) -> bool:
    """Tell whether an id is this one, or of a task of this array."""
    return new_id in (name, ids.array_of(name))


def _named(dependency: Dependency) -> str:
    return f"{dependency.after.value}:{dependency.task}"


def _unknown(held_id: str) -> str:
    return f"there is no task or array {held_id[:80]} that could be held or released"
