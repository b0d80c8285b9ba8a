"""What a client asks the leader: tasks, workers, the cluster, history; and what operators tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import msgspec

from alb.api.stored import StoredData, checked
from alb_core.arrays import ArrayLine
from alb_core.bounds import LimitsNode
from alb_core.choices import Choice, Parameter
from alb_core.copies import CopiesNode
from alb_core.errors import InvalidTask
from alb_core.messages import (
    ArrayPage,
    ArraysPage,
    ClusterPage,
    CopiesPage,
    Done,
    DrainWorkers,
    DumpPage,
    FoundId,
    HistoryPage,
    HoldTasks,
    IdsPage,
    PoliciesPage,
    QueryArray,
    QueryArrays,
    QueryCluster,
    QueryCopies,
    QueryDump,
    QueryHistory,
    QueryIds,
    QueryPolicies,
    QueryRows,
    QueryShares,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    ReleaseTasks,
    RowsPage,
    SetCopies,
    SetLimits,
    SetPolicy,
    SetShare,
    SharesPage,
    TaskLine,
    TaskPage,
    TasksPage,
    UndrainWorkers,
    WorkerLine,
    WorkersPage,
)
from alb_core.rows import AnyRow, FinishedTask
from alb_core.shares import Share
from alb_core.tasks import TaskRecord, TaskState


class Questions(StoredData):
    """The part of a client that asks."""

    def tasks(
        self, *, ids: Sequence[str] = (), prefix: str = "", states: Sequence[TaskState] = (), user: str = ""
    ) -> Iterator[TaskLine]:
        """List tasks, in the order of their ids, which is that of their making.

        Args:
            ids: Only these; empty: all.
            prefix: Only those whose id begins so.
            states: Only those in one of these states; empty: all.
            user: Only this user's.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        cursor = ""
        while True:
            query = QueryTasks(
                seq=0, ids=tuple(ids), prefix=prefix, states=tuple(states), user=user, cursor=cursor
            )
            page = self._ask(query, TasksPage)
            yield from page.tasks
            cursor = page.cursor
            if not cursor:
                return

    def named(self, part: str) -> tuple[FoundId, ...]:
        """Return the tasks and arrays in the table whose id begins or ends so; of many a few."""
        return self._ask(QueryIds(seq=0, part=part), IdsPage).found

    def task(self, task_id: str) -> TaskRecord:
        """Return everything that the cluster knows of a task; raises TaskGone.

        What has left the table comes from the results store, where there is one.
        """
        return self.task_page(task_id).task

    def task_page(self, task_id: str, *, explain: bool = False) -> TaskPage:
        """Return what `task` does, and where it comes from; if wanted, also why the task is where it is."""
        return self._ask(QueryTask(seq=0, id=checked(task_id), explain=explain), TaskPage)

    def arrays(self, *, prefix: str = "", user: str = "") -> Iterator[ArrayLine]:
        """List arrays, in the order of their making.

        Args:
            prefix: Only those whose id begins so.
            user: Only this user's.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        cursor = ""
        while True:
            page = self._ask(QueryArrays(seq=0, prefix=prefix, user=user, cursor=cursor), ArraysPage)
            yield from page.arrays
            cursor = page.cursor
            if not cursor:
                return

    def array_pages(self, array_id: str, *, inputs: bool = False) -> Iterator[ArrayPage]:
        """Read how the tasks of an array ended, page by page, in the order of their positions.

        Args:
            array_id: The array.
            inputs: Also the inputs of each page's positions.

        Raises:
            TaskGone: The table does not hold the array.
            CoordinationError: Nobody answered in time.
        """
        after = 0
        while True:
            page = self._ask(QueryArray(seq=0, id=checked(array_id), after=after, inputs=inputs), ArrayPage)
            yield page
            if page.until >= page.array.total or page.until <= after:
                return
            after = page.until

    def array_line(self, array_id: str) -> ArrayLine:
        """Return how an array is; raises as `array_pages`."""
        return next(self.array_pages(array_id)).array

    def workers(self, names: Sequence[str] = (), *, tasks: bool = False) -> tuple[WorkerLine, ...]:
        """Return the workers that the leader knows: all, or those of these names; also what they hold."""
        return self.workers_page(names, tasks=tasks).workers

    def workers_page(self, names: Sequence[str] = (), *, tasks: bool = False) -> WorkersPage:
        """Return what `workers` does, and the drains of workers that the leader does not know now."""
        return self._ask(QueryWorkers(seq=0, names=tuple(names), tasks=tasks), WorkersPage)

    def drain(self, workers: Sequence[str], *, reason: str = "", deadline: float | None = None) -> None:
        """Give workers nothing new, until `undrain`. Returns once that is in the table.

        Args:
            workers: Their names.
            reason: For people.
            deadline: Seconds after which tasks that still run there are ended and run elsewhere, except for
                those that must not run twice; None: everything may end there.

        Raises:
            InvalidTask: A name is not known, or something is out of bounds. Nobody is drained then.
            CoordinationError: Nobody answered in time.
        """
        self._ask(DrainWorkers(seq=0, workers=tuple(workers), reason=reason, deadline_s=deadline), Done)

    def undrain(self, workers: Sequence[str]) -> None:
        """Give workers tasks again. Returns once that is in the table; raises as `drain` does."""
        self._ask(UndrainWorkers(seq=0, workers=tuple(workers)), Done)

    def hold(self, ids: Sequence[str]) -> None:
        """Keep tasks, and arrays, that wait from being placed. Returns once that is in the table.

        Raises:
            InvalidTask: One of them runs, has ended or is not known. None is held then.
            CoordinationError: Nobody answered in time.
        """
        self._ask(HoldTasks(seq=0, ids=tuple(map(checked, ids))), Done)

    def release(self, ids: Sequence[str]) -> None:
        """Let held tasks and arrays go on. Returns once that is in the table; raises as `hold` does."""
        self._ask(ReleaseTasks(seq=0, ids=tuple(map(checked, ids))), Done)

    def cluster(self, *, timeout: float | None = None) -> ClusterPage:
        """Return the state of the cluster as its leader sees it.

        Args:
            timeout: How long to wait for the answer, in seconds; None: as long as for other questions.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        return self._ask(QueryCluster(seq=0), ClusterPage, timeout)

    def history(  # noqa: PLR0913 (one parameter a filter)
        self,
        *,
        user: str = "",
        states: Sequence[str] = (),
        worker: str = "",
        name: str = "",
        since: float = 0.0,
        until: float = 0.0,
        prefix: str = "",
        ending: str = "",
        pages: int | None = None,
    ) -> Iterator[FinishedTask]:
        """List finished tasks from the results store, those that were made last first.

        Args:
            user: Only this user's.
            states: Only those that ended in one of these states; empty: all.
            worker: Only those whose result this worker delivered.
            name: Only those of this name.
            since: Only those that ended then or later, in cluster time (seconds since 1970); 0: all.
            until: Only those that ended before; 0: all.
            prefix: Only those whose id begins so.
            ending: Only those whose id ends so. No store has an index of that: all are looked at.
            pages: Look at so many pages at most, of 200 tasks each; None: at all of them.

        Raises:
            InvalidTask: The cluster has no results store.
            CoordinationError: Nobody answered in time, or the store does not.
        """
        cursor = ""
        for _ in count() if pages is None else range(pages):
            query = QueryHistory(
                seq=0,
                user=user,
                states=tuple(states),
                worker=worker,
                name=name,
                since=since,
                until=until,
                cursor=cursor,
                prefix=prefix,
                ending=ending,
            )
            page = self._ask(query, HistoryPage)
            yield from (row for row in page.tasks if row.task.endswith(ending))
            cursor = page.cursor
            if not cursor:
                return

    def rows(self, family: type[AnyRow], after: tuple[str | float, ...] = ()) -> tuple[list[AnyRow], bool]:
        """Read a page of the results store's rows, in the order of their keys; raises as `history`.

        Args:
            family: Finished tasks, past attempts or load samples.
            after: Only those whose key, cut to this length, sorts after it.

        Returns:
            The rows, and whether there are more.
        """
        page = self._ask(QueryRows(seq=0, family=family.family, after=after), RowsPage)
        return msgspec.msgpack.decode(page.rows, type=list[family]), page.more  # type: ignore[valid-type]

    def policies(self) -> PoliciesPage:
        """Return the policies that the leader has, which one is in force, how it does, and who chose what.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        return self._ask(QueryPolicies(seq=0), PoliciesPage)

    def set_policy(
        self, policy: str, parameters: Mapping[str, Parameter] | None = None, *, try_for: float = 0.0
    ) -> None:
        """Place tasks by this policy from now on. Returns once that is in the table.

        Args:
            policy: Its name.
            parameters: In place of its own.
            try_for: Seconds after which the former one places again by itself; 0: for good.

        Raises:
            InvalidTask: The leader has none of that name, or it refuses the parameters.
            CoordinationError: Nobody answered in time.
        """
        query = SetPolicy(seq=0, policy=policy, parameters=dict(parameters or {}), try_s=try_for)
        self._ask(query, Done)

    def rollback_policy(self) -> Choice:
        """Place tasks by the policy that was chosen before the present one; ends a try. Returns what that is.

        Raises:
            InvalidTask: Nothing was chosen before, or a try ended by itself: that is rolled back already.
            CoordinationError: Nobody answered in time.
        """
        former = self.policies().node.former
        if former is None:
            raise InvalidTask(
                "",
                "there is nothing to go back to: nothing was chosen before the present policy, or it came "
                "back when a try ended; alb policy history shows all, alb policy set NAME chooses one",
            )
        query = SetPolicy(seq=0, policy=former.policy, parameters=former.parameters, rollback=True)
        self._ask(query, Done)
        return former

    def limits(self) -> LimitsNode:
        """Return the limits of tasks that set none themselves.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        page = self.cluster()
        return LimitsNode(**msgspec.structs.asdict(page.bounds), time_limit_s=page.time_limit_s)

    def set_limits(self, limits: LimitsNode) -> None:
        """Limit attempts to this that start from now on, where their tasks say nothing.

        Returns once that is in the table.

        Args:
            limits: All of them: what is None here is not limited.

        Raises:
            InvalidTask: One of them is out of bounds. Nothing is changed then.
            CoordinationError: Nobody answered in time.
        """
        self._ask(SetLimits(seq=0, limits=limits), Done)

    def shares(self) -> SharesPage:
        """Return what users may have of the cluster, and what those have who have tasks.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        return self._ask(QueryShares(seq=0), SharesPage)

    def set_share(self, user: str, share: Share | None) -> None:
        """Let a user have so much from now on.

        Returns once that is in the table.

        Args:
            user: The user; empty: everybody who is not named.
            share: All of it: what is None here is as everybody has it. None: nothing is said of the user.

        Raises:
            InvalidTask: Some of it is out of bounds. Nothing is changed then.
            CoordinationError: Nobody answered in time.
        """
        self._ask(SetShare(seq=0, user=user, share=share), Done)

    def copies(self) -> CopiesPage:
        """Return the bounds of copies of stragglers, and what became of the copies of this leader.

        Raises:
            CoordinationError: Nobody answered in time.
        """
        return self._ask(QueryCopies(seq=0), CopiesPage)

    def set_copies(self, copies: CopiesNode) -> None:
        """Let copies of stragglers have these bounds from now on.

        Returns once that is in the table. What is copied already goes on.

        Raises:
            InvalidTask: One of them makes no sense. Nothing is changed then.
            CoordinationError: Nobody answered in time.
        """
        self._ask(SetCopies(seq=0, copies=copies), Done)

    def dump(self) -> bytes:
        """Return the leader's whole state as JSON."""
        data, cursor = bytearray(), 0
        while True:
            page = self._ask(QueryDump(seq=0, cursor=cursor), DumpPage)
            data += page.data
            cursor = page.cursor
            if not cursor:
                return bytes(data)
