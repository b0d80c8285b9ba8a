"""The part of a client that runs arrays: many tasks of one specification in one submission."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Unpack

import msgspec

from alb.api.array import ArrayFuture, ranges_of
from alb.api.future import TaskFuture
from alb.api.options import Command, TaskOptions, encoded
from alb.api.questions import Questions
from alb.core import events
from alb.core.arrays import PIECE_BYTES, PIECE_LINES
from alb_core import codec, limits
from alb_core.arrays import ENDED_BADLY, ArraySpec, Stretch, Stride, check_array, parse_indexes, without_start
from alb_core.errors import InvalidTask, TaskGone
from alb_core.io.clock import monotonic, new_id
from alb_core.places import Places
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from alb.api.works import Prepared


class Arrays(Questions):
    """Submits and follows arrays."""

    @abstractmethod
    def _prepare(self, command: Command, given_id: str | None, options: TaskOptions) -> Prepared:
        """Make the specification of a command, and check it."""

    @abstractmethod
    def _ship(self, task: Prepared) -> None:
        """Bring its files to the cluster."""

    @abstractmethod
    def _expect_array(self, future: ArrayFuture) -> None:
        """Deliver to this future what concerns its array."""

    @abstractmethod
    def _make_future(self, task_id: str) -> TaskFuture:
        """Make the future of a task."""

    @abstractmethod
    def _post(self, event: events.ClientEvent) -> None:
        """Give the client's thread an event."""

    @abstractmethod
    def _cancel(self, task_id: str, strides: tuple[Stride, ...] = ()) -> None:
        """Ask the cluster to end a task, or some of an array."""

    def array(  # noqa: PLR0913 (one parameter an option)
        self,
        command: Command,
        *,
        indexes: str | Sequence[int] | range | None = None,
        inputs: Iterable[str] | None = None,
        at_once: int | None = None,
        max_fails: int | None = None,
        results: bool = True,
        ordered: bool = False,
        id: str | None = None,  # noqa: A002 (the word that users know)
        **options: Unpack[TaskOptions],
    ) -> ArrayFuture:
        """Run a command many times in one submission: for each index, or for each input.

        In the command ``{}`` stands for the input, which comes last where there is none, and ``{#}`` for the
        index. A task finds its index in ``ALB_INDEX``, too.

        Args:
            command: As in `submit`.
            indexes: ``1-100:2``, ``1-100%10`` (ten at once) or numbers. None: 1, 2, 3 … for each input.
            inputs: A line each; may be endless: they are sent as they come, on a thread of their own.
            at_once: Tasks that may run at once; None: as `indexes` says, else any number.
            max_fails: When more than so many have failed, what is left is cancelled; None: never.
            results: Whether the future yields results; without them it tells only counts and the end.
            ordered: Yield them in the order of the array.
            id: Submitting the same id and array again is the same array. None: a new one.
            **options: See `TaskOptions`, for each task.

        Raises:
            InvalidTask: The command, an index, an input or an option cannot be.
            TransferError: The files cannot be brought to the cluster.
        """
        if indexes is None and inputs is None:
            raise InvalidTask("", "an array needs indexes, or inputs")
        first, batches = ((), None) if inputs is None else split_inputs(inputs)
        return self.feed_array(
            command,
            indexes=indexes,
            first=first,
            batches=batches,
            at_once=at_once,
            max_fails=max_fails,
            results=results,
            ordered=ordered,
            id=id,
            **options,
        )

    def feed_array(  # noqa: PLR0913 (as above)
        self,
        command: Command,
        *,
        indexes: str | Sequence[int] | range | None,
        first: Sequence[str],
        batches: Iterator[Sequence[str]] | None,
        at_once: int | None,
        max_fails: int | None,
        results: bool,
        ordered: bool,
        id: str | None,  # noqa: A002 (as above)
        **options: Unpack[TaskOptions],
    ) -> ArrayFuture:
        """Run an array whose inputs come in batches.

        Args:
            command: As in `array`, and so with the others.
            indexes: As there.
            first: Its first inputs, no more than a message holds.
            batches: The others, some at a time: they are sent as they come, on a thread of their own. None:
                there are none.
            at_once: As there.
            max_fails: As there.
            results: As there.
            ordered: As there.
            id: As there.
            **options: As there.
        """
        strides, percent = _strides(indexes)
        task = self._prepare(command, id, options)
        spec = ArraySpec(
            task=task.spec,
            strides=strides,
            at_once=percent if at_once is None else at_once,
            max_fails=max_fails,
        )
        self._ship(task)
        return self.start_array(
            task.id, spec, first=tuple(first), batches=batches, results=results, ordered=ordered
        )

    def start_array(  # noqa: PLR0913 (what an array is, and what is wanted of it)
        self,
        array_id: str,
        spec: ArraySpec,
        *,
        first: tuple[str, ...] = (),
        batches: Iterator[Sequence[str]] | None = None,
        results: bool,
        ordered: bool,
    ) -> ArrayFuture:
        """Submit an array whose files are in the cluster.

        Args:
            array_id: Its id.
            spec: What it runs.
            first: Its first inputs.
            batches: The others, some at a time, sent as they come, on a thread of their own; None: none.
            results: As in `array`.
            ordered: As there.
        """
        wire = encoded(spec, codec.encode_array, lambda spec, wire: check_array(spec, len(wire)))
        future = self._future(array_id, spec, results=results, ordered=ordered)
        self._post(
            events.ArrayRequested(
                at=monotonic(),
                id=array_id,
                spec=wire,
                inputs=first,
                whole=batches is None,
                results=results,
                ordered=ordered,
            )
        )
        if batches is not None:
            feed = threading.Thread(
                target=future.feed, args=(batches, len(first)), name="alb-inputs", daemon=True
            )
            feed.start()
        return future

    def _future(self, array_id: str, spec: ArraySpec, *, results: bool, ordered: bool) -> ArrayFuture:
        future = ArrayFuture(
            array_id,
            spec,
            ordered=ordered,
            results=results,
            ask_cancel=self._cancel,
            post=self._post,
            make_child=self._make_future,
        )
        self._expect_array(future)
        return future

    def attach_array(self, array_id: str, *, results: bool = True, ordered: bool = False) -> ArrayFuture:
        """Follow an array that was submitted before, by this client or another.

        Of tasks that have ended it yields what is kept: all of it, or only how they ended.

        Args:
            array_id: Its id.
            results: As in `array`.
            ordered: As there.

        Raises:
            TaskGone: The table does not hold the array.
            CoordinationError: Nobody answered in time.
        """
        page = next(self.array_pages(array_id))
        future = self._future(array_id, codec.decode_array(page.spec), results=results, ordered=ordered)
        self._post(
            events.ArrayAttachRequested(
                at=monotonic(), id=array_id, spec=bytes(page.spec), results=results, ordered=ordered
            )
        )
        return future

    def array_stretches(self, array_id: str) -> Iterator[tuple[list[Stride], Stretch]]:
        """Tell how the tasks of an array ended: some neighbours at a time, with their indexes.

        What is in none of them has not ended. Raises as `array_pages`.
        """
        places: Places | None = None
        for page in self.array_pages(array_id):
            places = places or Places(codec.decode_array(page.spec).strides)
            for stretch in page.stretches:
                yield places.strides_of(stretch.first, stretch.count), stretch

    def retry_array(
        self, array_id: str, *, states: Iterable[TaskState] = ENDED_BADLY, results: bool = False
    ) -> list[ArrayFuture]:
        """Run again, as a new array, the tasks of an array that ended so, with their indexes and inputs.

        What the array waited for before it started, the new one does not wait for once more.

        Args:
            array_id: The array; it may still run: then what has ended so by now is taken.
            states: How they ended.
            results: As in `array`.

        Returns:
            The new array, or none where no task ended so; several where one cannot name all the indexes.

        Raises:
            TaskGone: The table does not hold the array.
            CoordinationError: Nobody answered in time.
        """
        wanted, futures = frozenset(states), []
        spec: ArraySpec | None = None
        indexes: list[int] = []
        inputs: list[str] = []
        places: Places | None = None
        begin = 0
        for page in self.array_pages(array_id, inputs=True):
            if spec is None or places is None:
                spec = codec.decode_array(page.spec)
                places = Places(spec.strides)
            for stretch in page.stretches:
                if stretch.state in wanted:
                    positions = range(stretch.first, stretch.first + stretch.count)
                    indexes += map(places.index_at, positions)
                    inputs += page.inputs[stretch.first - begin : positions[-1] + 1 - begin]
            begin = page.until
        if spec is None:
            return []
        if inputs and len(inputs) < len(indexes):
            raise TaskGone(array_id, "its inputs are no longer kept: submit what failed by its lines")
        ranges = ranges_of(indexes)
        for some in (
            ranges[at : at + limits.ARRAY_STRIDES_MAX]
            for at in range(0, len(ranges), limits.ARRAY_STRIDES_MAX)
        ):
            count = sum(map(len, some))
            mine, inputs = inputs[:count], inputs[count:]
            first, batches = split_inputs(mine)
            again = msgspec.structs.replace(spec, strides=tuple(some), task=without_start(spec.task))
            futures.append(
                self.start_array(
                    new_id(), again, first=first, batches=batches, results=results, ordered=False
                )
            )
        return futures


def _strides(indexes: str | Sequence[int] | range | None) -> tuple[tuple[Stride, ...], int]:
    if indexes is None:
        return (), 0
    if isinstance(indexes, range) and indexes and indexes.step > 0:
        return (Stride(indexes[0], indexes[-1], indexes.step),), 0
    if not isinstance(indexes, str):
        if not indexes:
            raise InvalidTask("", "an array needs at least one index")
        return tuple(ranges_of(indexes)), 0
    try:
        return parse_indexes(indexes)
    except ValueError as error:
        raise InvalidTask("", str(error)) from None


def split_inputs(inputs: Iterable[str]) -> tuple[tuple[str, ...], Iterator[Sequence[str]] | None]:
    """Return the inputs that go with the submission, and the others in batches.

    Of an iterator none goes with it: whoever makes its items may let us wait.
    """
    if isinstance(inputs, str):  # one text is an iterable of texts, too
        raise InvalidTask("", "the inputs are one text; give a list of lines")
    if not isinstance(inputs, Sequence):
        return (), ((checked_input(line),) for line in inputs)
    first, size = [], 0
    for line in islice(inputs, PIECE_LINES):
        size += len(checked_input(line))
        if size > PIECE_BYTES:
            break
        first.append(line)
    if len(first) == len(inputs):
        return tuple(first), None
    rest = range(len(first), len(inputs), PIECE_LINES)
    return tuple(first), ([checked_input(line) for line in inputs[at : at + PIECE_LINES]] for at in rest)


def checked_input(line: object) -> str:
    """Return an input that can be one; raises InvalidTask."""
    if not isinstance(line, str):
        raise InvalidTask("", f"an input is text, not {type(line).__name__}")
    why = wrong_input(line)
    if why:
        raise InvalidTask("", f"the input {line[:40]!r} {why}")
    return line


def wrong_input(line: str) -> str:
    """Say why a line can be no input; empty: it can."""
    if "\0" in line:
        return "contains a NUL character, which no UNIX program can receive"
    try:
        size = len(line.encode())
    except UnicodeEncodeError:
        return "is not valid text"
    if size > limits.ARRAY_INPUT_BYTES_MAX:
        return f"has {size} bytes, more than {limits.ARRAY_INPUT_BYTES_MAX}: put it into a file"
    return ""
