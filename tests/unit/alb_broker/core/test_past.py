"""Tasks that left the table: made anew from their rows, exactly, or refused with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import C1, C2, Desks, attach, ended, of_type, submit, task_id, to_client
from tests.store_rows import finished, output

from alb_broker.core import past as module
from alb_broker.core.actions import Action, GetRows, ScanStore
from alb_broker.core.archive import rows_of
from alb_broker.core.past import is_going, marked_as_going, more_of, tail_of
from alb_broker.store import events
from alb_core import rows
from alb_core.files import FileRef
from alb_core.messages import AttemptEnded, Error, Finished, QueryTask, Rejected, TaskPage
from alb_core.spec import TaskSpec
from alb_core.tasks import Attempt, AttemptState, Cause, Outcome, Result, Stream, TaskRecord

SOME = {str: "text", int: 3, float: 2.5, bool: True, int | None: 4, AttemptState: "over"}
URL = "sqlite:////somewhere"
BINARY = bytes(range(256)) * 40


class Shelf:
    """A leader with a results store that answers at once."""

    def __init__(self, **fields: Any) -> None:
        self.desks = Desks(store=URL, done_kept_max=0, holding_s=0.0, **fields)
        self.desks.greet("ann", "bob")
        self.desks.join("w1")
        self.rows: list[rows.Row] = []
        self.error: str | None = None

    def run(self, number: int, outcome: Outcome, spec: TaskSpec) -> TaskRecord:
        """Let a task run, and move it from the table to the store; returns its record."""
        desks = self.desks
        desks.client(submit(number, spec))
        desks.turn()
        report = msgspec.structs.replace(ended(number), outcome=outcome)
        assert isinstance(report, AttemptEnded)
        desks.worker(report)
        desks.commit()
        record = desks.state.table.done.pop(task_id(number)).record
        assert record is not None
        self.rows += rows_of(record)
        return record

    def answer(self, actions: list[Action]) -> None:
        """Answer what is asked, and what is asked then."""
        while actions:
            for action in actions:
                if isinstance(action, GetRows | ScanStore):
                    found = () if self.error else tuple(self._found(action))
                    event = events.StoreScanned(
                        at=0.0, epoch=1, token=action.token, rows=found, error=self.error
                    )
                    assert self.desks.state.store.on_event(event)
            actions = self.desks.state.take_out()

    def _found(self, action: GetRows | ScanStore) -> list[rows.Row]:
        family = [row for row in self.rows if isinstance(row, action.family)]
        if isinstance(action, GetRows):
            return [row for row in family if rows.key_of(row) in action.keys]
        prefix = action.span.prefix
        found = [row for row in family if rows.key_of(row)[: len(prefix)] == prefix]
        return sorted(found, key=rows.key_of, reverse=True)[: action.limit]

    def ask(self, message: Any) -> Any:
        """Ask, and return what the client hears."""
        self.answer(self.desks.client(message))
        (said,) = to_client(C1, self.desks.commit())
        return said


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(cause=Cause.EXITED, exit_code=0, wall_s=1.5, cpu_s=0.5, memory_bytes=4096),
        Outcome(cause=Cause.EXITED, exit_code=3, stdout=Stream.of(b"some\n", 5), output_open=True),
        Outcome(cause=Cause.SIGNALLED, signal=9, stderr=Stream.of(BINARY, len(BINARY))),
        Outcome(cause=Cause.TIMED_OUT, stdout=Stream.of(b"x" * 9000, 1 << 31, truncated=True)),
        Outcome(
            cause=Cause.EXITED,
            exit_code=0,
            returned=(FileRef(name="a", sha256="0" * 64, size_bytes=5),),
            unreturned="b is too large",
        ),
    ],
)
def test_a_task_is_what_it_was(outcome: Outcome) -> None:
    """Its whole record comes back, and its result to the last byte; the page says where it comes from."""
    shelf = Shelf()
    spec = TaskSpec(command=("echo", "a b"), name="job", env={"A": "b"}, returns=("*",))
    record = shelf.run(1, outcome, spec)
    page = shelf.ask(QueryTask(seq=5, id=task_id(1)))
    assert page == TaskPage(seq=5, task=record, stored=True)
    assert shelf.ask(attach(1)) == Finished(id=task_id(1), result=record.result)


def test_attempts_are_what_they_were() -> None:
    """Also those that failed: with which status; which was a copy, was demoted, or had a reservation."""
    shelf = Shelf()
    record = shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="x"))
    (last,) = record.attempts
    failed = msgspec.structs.replace(last, n=last.n - 1, ended_as="exited", exit_code=7, part="reserved")
    backfilled = msgspec.structs.replace(last, part="backfilled")
    copy = msgspec.structs.replace(last, n=last.n + 1, copy_of=last.n, demoted=5.25, ended_as="outrun")
    tried = msgspec.structs.replace(record, attempts=(failed, backfilled, copy))
    shelf.rows = rows_of(tried)
    page = shelf.ask(QueryTask(seq=5, id=task_id(1)))
    assert page.task.attempts == tried.attempts


def test_copies_of_before_there_was_a_column_are_known() -> None:
    """Then the task's row told of them."""
    shelf = Shelf()
    record = shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="x"))
    (last,) = record.attempts
    both = (last, msgspec.structs.replace(last, n=last.n + 1))
    more = msgspec.json.encode(module.More(copies=((last.n + 1, last.n),))).decode()
    shelf.rows = [
        msgspec.structs.replace(row, more=more) if isinstance(row, rows.FinishedTask) else row
        for row in rows_of(msgspec.structs.replace(record, attempts=both))
    ]
    page = shelf.ask(QueryTask(seq=5, id=task_id(1)))
    assert [attempt.copy_of for attempt in page.task.attempts] == [0, last.n]


def test_nothing_that_a_result_says_is_forgotten() -> None:
    """A new field of results needs a column, or a place in what else they say."""
    columns = set(rows.FinishedTask.__struct_fields__) | {"stdout", "stderr"}
    assert set(Result.__struct_fields__) <= columns | set(module.More.__struct_fields__)


def test_nothing_that_an_attempt_says_is_forgotten() -> None:
    """Nor is it of attempts, whatever is added to them."""
    shelf = Shelf()
    record = shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="x"))
    told = msgspec.convert({each.name: SOME[each.type] for each in msgspec.structs.fields(Attempt)}, Attempt)
    shelf.rows = rows_of(msgspec.structs.replace(record, attempts=(told,)))
    assert shelf.ask(QueryTask(seq=5, id=task_id(1))).task.attempts == (told,)


def test_what_nobody_holds_is_gone() -> None:
    """The store was asked; the refusal says so."""
    shelf = Shelf()
    error = shelf.ask(QueryTask(seq=5, id=task_id(1)))
    assert isinstance(error, Error)
    assert (error.code, error.seq, "results store" in error.why) == ("gone", 5, True)
    rejected = shelf.ask(attach(1))
    assert isinstance(rejected, Rejected)
    assert (rejected.code, "not run again" in rejected.why) == ("gone", True)


def test_a_task_that_is_leaving_the_store_is_gone() -> None:
    """Parts of it may be; also where it begins to leave while they are read."""
    shelf = Shelf()
    shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0, output_open=True), TaskSpec(command=("true",)))
    (row,) = (each for each in shelf.rows if isinstance(each, rows.FinishedTask))
    marked = marked_as_going(row)
    assert (is_going(row), is_going(marked), "output_open" in marked.more) == (False, True, True)
    others = [each for each in shelf.rows if each is not row]
    shelf.rows = [*others, marked]
    error = shelf.ask(QueryTask(seq=5, id=task_id(1)))
    assert isinstance(error, Error)
    assert error.code == "gone"
    shelf.rows = [*others, row]
    actions = shelf.desks.client(QueryTask(seq=6, id=task_id(1)))
    for action in actions:
        if isinstance(action, GetRows | ScanStore):
            found = tuple(shelf._found(action))
            shelf.desks.state.store.on_event(
                events.StoreScanned(at=0.0, epoch=1, token=action.token, rows=found)
            )
    shelf.rows = [*others, marked]
    shelf.answer(shelf.desks.state.take_out())
    (error,) = to_client(C1, shelf.desks.commit())
    assert isinstance(error, Error)
    assert (error.code, error.seq) == ("gone", 6)


def test_a_store_that_does_not_answer_is_no_reason_to_say_gone() -> None:
    """Both kinds of question are refused with the store's words."""
    shelf = Shelf()
    shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="true"))
    shelf.error = "locked"
    for message in (QueryTask(seq=5, id=task_id(1)), attach(1)):
        refused = shelf.ask(message)
        assert (refused.code, "locked" in refused.why) == ("error", True)
    shelf.error = None
    assert isinstance(shelf.ask(attach(1)), Finished)


@pytest.mark.parametrize("fields", [{"spec": "{"}, {"state": "NEVER HEARD"}, {"more": "[]"}])
def test_a_row_that_cannot_be_read_is_an_error(fields: dict[str, str]) -> None:
    """Perhaps a later version wrote it, or somebody with SQL: the leader says so and lives."""
    shelf = Shelf()
    shelf.rows.append(finished(task_id(1), **fields))
    refused = shelf.ask(attach(1))
    assert (refused.code, "cannot be read" in refused.why) == ("error", True)


def test_output_that_was_removed_from_the_store_is_cut() -> None:
    """Nobody takes an empty stream for the whole."""
    shelf = Shelf()
    record = shelf.run(
        1, Outcome(cause=Cause.EXITED, exit_code=0, stdout=Stream.of(b"some\n", 5)), TaskSpec(command="true")
    )
    shelf.rows = [row for row in shelf.rows if not isinstance(row, rows.Output)]
    told = shelf.ask(attach(1))
    assert record.result is not None
    assert (told.result.stdout.size_bytes, told.result.stdout.truncated) == (5, True)


def test_everybody_who_asks_is_answered_once() -> None:
    """Several clients, several questions, and the same one again: one reading of the store."""
    shelf = Shelf()
    shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="true"))
    actions = shelf.desks.client(attach(1), QueryTask(seq=1, id=task_id(1)), attach(1))
    actions += shelf.desks.client(attach(1), peer=C2)
    assert len(of_type(GetRows, actions)) == 1
    shelf.answer(actions)
    said = shelf.desks.commit()
    assert sorted(type(each).__name__ for each in to_client(C1, said)) == ["Finished", "TaskPage"]
    assert [type(each) for each in to_client(C2, said)] == [Finished]


def test_a_client_that_asks_twice_is_answered_twice() -> None:
    """Two questions of one client about one task are two, and one that is sent again is none more."""
    shelf = Shelf()
    shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="x"))
    asked = [shelf.desks.client(QueryTask(seq=seq, id=task_id(1))) for seq in (5, 6, 5)]
    shelf.answer([action for actions in asked for action in actions])
    assert [page.seq for page in to_client(C1, shelf.desks.commit())] == [5, 6]


def test_so_many_are_read_at_once_and_the_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is refused until very many wait; each is answered in the end."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    monkeypatch.setattr(module, "RECALLS_MAX", 4)
    shelf = Shelf()
    for number in range(1, 6):
        shelf.run(number, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="true"))
    actions = shelf.desks.client(*(attach(number) for number in range(1, 6)))
    assert len(of_type(GetRows, actions)) == 2
    shelf.answer(actions)
    said = to_client(C1, shelf.desks.commit())
    assert sorted(type(each).__name__ for each in said) == ["Finished"] * 4 + ["Rejected"]


def test_without_a_store_the_table_is_all_there_is() -> None:
    """Nobody waits for a store that is not there."""
    desks = Desks()
    desks.greet("ann")
    assert desks.client(attach(1), QueryTask(seq=2, id=task_id(1))) == []
    said = to_client(C1, desks.commit())
    assert [(type(each), each.code) for each in said if isinstance(each, Rejected | Error)] == [
        (Rejected, "gone"),
        (Error, "gone"),
    ]


def test_the_tail_is_put_together_from_pieces() -> None:
    """Pieces overlap and come in any order; a gap ends it; no more than a result keeps."""
    text = bytes(index % 251 for index in range(10_000))
    pieces = [output("a", begin, text[begin:end]) for begin, end in ((0, 6000), (5000, 9000), (9000, 9990))]
    pieces += [output("a", 9980, text[9980:]), output("a", 7000, text[7000:7100])]
    assert tail_of(pieces, 10_000) == text[-4096:]
    assert tail_of(pieces[::-1], 10_000) == text[-4096:]
    assert tail_of([pieces[0], pieces[3]], 10_000) == text[9980:]
    assert tail_of([], 5) == b""
    assert tail_of([output("a", 0, b"12345")], 5) == b"12345"


def test_results_mostly_say_nothing_more() -> None:
    """The column costs nothing then."""
    shelf = Shelf()
    record = shelf.run(1, Outcome(cause=Cause.EXITED, exit_code=0), TaskSpec(command="true"))
    assert record.result is not None
    assert more_of(record.result) == ""
