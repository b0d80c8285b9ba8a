"""Ids as people write them: by their end, or their beginning, in the table and in history."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tests.store_rows import finished
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli import short_ids
from alb.cli.main import run
from alb_core.messages import (
    Cancel,
    CancelNoted,
    Error,
    FoundId,
    HistoryPage,
    IdsPage,
    Message,
    QueryHistory,
    QueryIds,
    QueryTask,
    Submit,
    TaskPage,
)
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord, TaskState

ZK = ("--zk", "zk:2181", "--user", "u")
HEAD = "019ad3f0c1d27"
#: Of what was submitted within a second.
ONE, TWO, PAST = (HEAD + end for end in ("000000000000000beef", "11111111111111cafe1", "222222222222222d00d"))


class Leader:
    """Answers from a table of some ids, and from a history.

    Args:
        table: Ids in the table.
        past: Ids that the results store has; None: there is no store.
    """

    def __init__(self, table: Sequence[str] = (ONE, TWO), past: Sequence[str] | None = ()) -> None:
        self.table = table
        self.past = past
        self.looks = 0
        #: Pages of history that were asked for.

    def __call__(self, message: Message) -> Sequence[Message]:
        """Answer a question about ids."""
        match message:
            case QueryIds(part=part, seq=seq):
                alike = [each for each in self.table if each.startswith(part) or each.endswith(part)]
                found = tuple(FoundId(id=each, state=TaskState.QUEUED) for each in alike[:4])
                return (IdsPage(seq=seq, found=found),)
            case QueryHistory():
                return (self._history(message),)
            case QueryTask(id=task, seq=seq):
                record = TaskRecord(
                    id=task,
                    state=TaskState.QUEUED,
                    user="u",
                    digest="d",
                    spec=TaskSpec(command="true"),
                    submitted=0.0,
                )
                return (TaskPage(seq=seq, task=record),)
            case Cancel(id=task):
                return (CancelNoted(id=task),)
        return ()

    def _history(self, query: QueryHistory) -> Message:
        self.looks += 1
        if self.past is None:
            return Error(code="invalid", why="this cluster keeps no history", seq=query.seq)
        alike = [each for each in self.past if each.startswith(query.prefix) and each.endswith(query.ending)]
        cursor = "" if query.prefix else f"{self.looks:032x}"  # an ending may always be further back
        return HistoryPage(seq=query.seq, tasks=tuple(map(finished, alike)), cursor=cursor)


def told(capfd: pytest.CaptureFixture[str]) -> str:
    """Return which task was shown."""
    return str(json.loads(capfd.readouterr().out)[0]["id"])


@pytest.mark.parametrize("text", ["beef", "0beef", ONE[:-3], ONE, "f"])
def test_an_id_may_be_a_few_digits_of_it(
    text: str, broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its end, its beginning or all of it, however short, as long as that is one task's."""
    broker.answer = Leader()
    assert run(["status", *ZK, "--json", text]) == 0
    assert told(capfd) == ONE


def test_what_several_ids_share_is_refused(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """With some of them and how they are, and what to write instead: nothing is guessed."""
    broker.answer = Leader((ONE, TWO, PAST, HEAD + "3" * 19))
    assert run(["cancel", *ZK, HEAD]) == 125
    said = capfd.readouterr().err
    assert f"several ids begin or end with '{HEAD}'; write more of the end" in said
    assert f"{ONE} (QUEUED), {TWO} (QUEUED), {PAST} (QUEUED) …" in said
    assert not [message for message in broker.received if isinstance(message, Cancel)]


def test_history_is_searched_where_the_table_knows_none(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the beginning in all of it, by the end in its newest part, however long it is."""
    leader = broker.answer = Leader(past=(PAST, f"{PAST[:-1]}e.7"))
    assert run(["status", *ZK, "--json", "d00d"]) == 0
    assert told(capfd) == PAST
    assert leader.looks == 1 + short_ids.PAST_PAGES
    assert run(["status", *ZK, "--json", PAST[:20]]) == 0
    assert told(capfd) == PAST


@pytest.mark.parametrize(("past", "where"), [((), "in history"), (None, "no task in the table has")])
def test_an_id_that_nobody_knows_is_said_to_be_unknown(
    past: Sequence[str] | None, where: str, broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """And where it was looked for."""
    broker.answer = Leader(past=past)
    assert run(["status", *ZK, "feed"]) == 125
    said = capfd.readouterr().err
    assert "begins or ends with 'feed'" in said
    assert where in said


@pytest.mark.parametrize("text", ["xyz", "BEEF", "", "beef.", "beef.x", "a" * 33])
def test_what_is_in_no_id_is_wrong_usage(
    text: str, broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said before anybody is asked."""
    broker.answer = Leader()
    assert run(["status", *ZK, text]) == 125
    assert "no task id: those have 32 lower-case hex digits" in capfd.readouterr().err
    assert not [message for message in broker.received if isinstance(message, QueryIds)]


def test_a_task_of_an_array_is_named_by_the_end_of_the_array(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """And its index."""
    broker.answer = Leader()
    assert run(["status", *ZK, "--json", "cafe1.12"]) == 0
    assert told(capfd) == f"{TWO}.12"


def test_what_a_task_waits_for_is_named_as_short(broker: FakeBroker) -> None:
    """The whole id is submitted."""
    leader = Leader()

    def answer(message: Message) -> Sequence[Message]:
        return broker.finish(message) if isinstance(message, Submit) else leader(message)

    broker.answer = answer
    assert run(["submit", *ZK, "-d", "afterok:beef", "true"]) == 0
    (sent,) = (message for message in broker.received if isinstance(message, Submit))
    assert ONE.encode() in bytes(sent.spec)
