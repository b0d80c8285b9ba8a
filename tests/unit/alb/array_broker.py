"""A leader of a script that runs arrays: every task ends at once, but those that are told to sleep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from tests.unit.alb.fake_broker import succeed

from alb_core import codec
from alb_core.arrays import ArrayLine, ArraySpec, Counts, Stretch, indexes
from alb_core.messages import (
    Accepted,
    Ack,
    ArrayInputs,
    ArrayMoved,
    ArrayPage,
    ArraysPage,
    Attach,
    AttachArray,
    Cancel,
    CancelNoted,
    Error,
    Finished,
    FoundId,
    IdsPage,
    InputsKept,
    Message,
    QueryArray,
    QueryArrays,
    QueryIds,
    Rejected,
    SubmitArray,
    TaskMoved,
)
from alb_core.places import Places
from alb_core.tasks import Result, Stream, TaskState

BAD = {TaskState.FAILED, TaskState.LOST}
LACKS = "nothing to return matches '*.csv'"
KEEPS = "the file 'a.csv' did not come back: no depot takes it"


def result_of(command: str) -> Result:
    """Return how a command ends here, by a word in it: most succeed, and write themselves."""
    if "false" in command:
        return Result(state=TaskState.FAILED, exit_code=3, attempt=1, worker="w1")
    if "lost" in command:
        return Result(state=TaskState.LOST, why="its worker was lost")
    if "long" in command:
        stdout = Stream.of(b"x" * 4096, 10_000_000, truncated=True)
        return Result(state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", stdout=stdout)
    if "lacks" in command:
        return msgspec.structs.replace(succeed(), why=LACKS)
    if "keeps" in command:
        return msgspec.structs.replace(succeed(), unreturned=KEEPS)
    return succeed(f"{command}\n".encode())


class ArrayModel:
    """One array.

    Args:
        array: Its id.
        wire: Its encoded specification.
        whole: Whether all inputs are there.
    """

    def __init__(self, array: str, wire: bytes, *, whole: bool) -> None:
        self.id = array
        self.wire = wire
        self.spec: ArraySpec = codec.decode_array(wire)
        self.places = Places(self.spec.strides)
        self.inputs: list[str] = []
        self.whole = whole
        self.results: dict[int, Result] = {}
        #: By position.
        self.cancelled = False
        self.gone = False
        #: The records of its tasks are no longer kept.
        self.acknowledged: set[int] = set()

    @property
    def total(self) -> int:
        """How many positions are known."""
        return len(list(indexes(self.spec.strides))) if self.spec.strides else len(self.inputs)

    def command(self, position: int) -> str:
        """Return what runs at a position: the words of the template, with {} and {#} filled in."""
        words = self.spec.task.command
        text = words if isinstance(words, str) else " ".join(words)
        if self.inputs:
            text = text if "{}" in text else f"{text} {{}}"
            text = text.replace("{}", self.inputs[position])
        return text.replace("{#}", str(self.places.index_at(position)))

    def run(self) -> list[int]:
        """Let what can end, end; returns the positions that ended now."""
        new = []
        ready = min(self.total, len(self.inputs)) if self.inputs or not self.spec.strides else self.total
        failed = sum(each.state in BAD for each in self.results.values())
        most = self.spec.max_fails
        for position in range(ready):
            if position in self.results:
                continue
            if self.cancelled or (most is not None and failed > most):
                what = Result(state=TaskState.CANCELLED)
            elif "sleep" in self.command(position):
                continue
            else:
                what = result_of(self.command(position))
            failed += what.state in BAD
            self.results[position] = what
            new.append(position)
        return new

    def line(self) -> ArrayLine:
        """Return how it is."""
        states = [each.state for each in self.results.values()]
        counts = Counts(
            succeeded=states.count(TaskState.SUCCEEDED),
            failed=sum(state in BAD for state in states),
            cancelled=states.count(TaskState.CANCELLED),
        )
        state = TaskState.RUNNING
        if self.whole and len(states) == self.total:
            state = TaskState.FAILED if counts.failed else TaskState.SUCCEEDED
            state = TaskState.CANCELLED if self.cancelled else state
        return ArrayLine(
            id=self.id,
            user="u",
            state=state,
            total=self.total,
            whole=self.whole,
            cursor=self.total,
            counts=counts,
            running=self.total - len(states),
            command=str(self.spec.task.command),
        )

    def stretches(self) -> Iterator[Stretch]:
        """Yield how its positions ended, each by itself."""
        for position, what in sorted(self.results.items()):
            yield Stretch(position, 1, what.state, what.exit_status())


class ArrayMixin:
    """The part of a leader that runs arrays; every client follows all of them."""

    arrays: dict[str, ArrayModel]
    refuse_after: int
    #: How many inputs an array takes; -1: any number.

    def answer_array(  # noqa: C901, PLR0911 (a flat table)
        self, message: Message
    ) -> Sequence[Message] | None:
        """Answer what concerns arrays; None: it does not."""
        match message:
            case SubmitArray():
                return self._submit_array(message)
            case ArrayInputs(id=array, first=first, lines=lines, whole=whole):
                model = self.arrays[array]
                if lines and 0 <= self.refuse_after < first + len(lines):
                    return (Rejected(id=array, code="invalid", why="the array has enough inputs"),)
                model.inputs[first:] = lines
                model.whole = model.whole or whole
                return (InputsKept(id=array, count=len(model.inputs)), *self._go_on(model))
            case AttachArray(id=array):
                if array not in self.arrays:
                    return (Rejected(id=array, code="gone", why="there is no such array"),)
                return (ArrayMoved(array=self.arrays[array].line()),)
            case Attach(id=task) if task.partition(".")[0] in self.arrays:
                return self._attach_child(task)
            case Cancel(id=array, strides=strides) if array in self.arrays:
                return self._cancel_array(self.arrays[array], [*indexes(strides)])
            case QueryArrays(seq=seq):
                return (ArraysPage(seq=seq, arrays=tuple(each.line() for each in self.arrays.values())),)
            case QueryIds(seq=seq, part=part):
                alike = [each for each in self.arrays if each.startswith(part) or each.endswith(part)]
                return (IdsPage(seq=seq, found=tuple(FoundId(id=each, state=None) for each in alike)),)
            case QueryArray(seq=seq, id=array):
                if array not in self.arrays:
                    return (Error(seq=seq, code="gone", why="there is no such array"),)
                return (self._array_page(message),)
            case Ack(id=task):
                return self._acknowledge(task)
        return None

    def _submit_array(self, message: SubmitArray) -> Sequence[Message]:
        model = ArrayModel(message.id, bytes(message.spec), whole=message.whole)
        model = self.arrays.setdefault(message.id, model)
        model.inputs[: len(message.inputs)] = message.inputs
        return (Accepted(id=message.id), *self._go_on(model))

    def _go_on(self, model: ArrayModel) -> list[Message]:
        told: list[Message] = [self._finished(model, position) for position in model.run()]
        return [*told, ArrayMoved(array=model.line())]

    @staticmethod
    def _finished(model: ArrayModel, position: int) -> Finished:
        return Finished(id=f"{model.id}.{model.places.index_at(position)}", result=model.results[position])

    def _attach_child(self, task: str) -> Sequence[Message]:
        array, _, index = task.partition(".")
        model = self.arrays[array]
        position = model.places.position_of(int(index))
        if position is None or model.gone:
            return (Rejected(id=task, code="gone", why="not in the table"),)
        if position not in model.results:
            return (TaskMoved(id=task, state=TaskState.RUNNING, attempt=1, worker="w1"),)
        return (self._finished(model, position),)

    def _cancel_array(self, model: ArrayModel, some: list[int]) -> Sequence[Message]:
        if not some:
            model.cancelled = True
            return (CancelNoted(id=model.id), *self._go_on(model))
        ended = []
        for index in some:
            position = model.places.position_of(index)
            if position is not None and position not in model.results:
                model.results[position] = Result(state=TaskState.CANCELLED)
                ended.append(self._finished(model, position))
        return (CancelNoted(id=model.id), *ended, ArrayMoved(array=model.line()))

    def _array_page(self, message: QueryArray) -> ArrayPage:
        model = self.arrays[message.id]
        return ArrayPage(
            seq=message.seq,
            array=model.line(),
            spec=msgspec.Raw(model.wire),
            stretches=tuple(each for each in model.stretches() if each.first >= message.after),
            inputs=tuple(model.inputs[message.after :]) if message.inputs else (),
            until=model.total,
        )

    def _acknowledge(self, task: str) -> Sequence[Message] | None:
        array, dot, index = task.partition(".")
        if array not in self.arrays:
            return None
        if dot:
            position = self.arrays[array].places.position_of(int(index))
            assert position is not None
            self.arrays[array].acknowledged.add(position)
        return ()
