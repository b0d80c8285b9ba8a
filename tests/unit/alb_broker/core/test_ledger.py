"""Group commit: order, bounds, fence, doubt, and that nothing is said before it is true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.broker_parts import applied, read

from alb_broker.core.actions import Exit
from alb_broker.core.ledger import Flight, Lane, Ledger
from alb_core import limits, zk, znodes
from alb_core.znodes import CommitNode


def ledger() -> Ledger:
    """Return the ledger of epoch 7; its claim gave `/epoch` version 3 and `/commit` version 20."""
    return Ledger(epoch=7, fence=3, chain=20)


def say(text: str) -> Exit:
    """Return an action that stands for anything that may be said."""
    return Exit(0, text)


def put(to: Ledger, key: str, *, lane: Lane = Lane.RESULTS, data: bytes = b"", user: str = "ann") -> None:
    """Queue one write to a node of this name, which releases a word of the same name."""
    to.write(lane, key, (zk.SetData(f"/{key}", data),), (say(key),), user)


def send(of: Ledger) -> zk.Multi:
    """Let the next batch leave."""
    return of.next_batch(of.committed + 100, 1.0)


def paths(multi: zk.Multi) -> list[str]:
    """Return what a batch writes, without fence and chain."""
    return [operation.path for operation in multi.operations[2:]]


def accept(of: Ledger, multi: zk.Multi) -> list[str]:
    """Let the batch be applied; returns what is said then."""
    released, failures = of.on_verdict(multi.token, applied(multi, of.chain + 1))
    assert not failures
    return words(released)


def words(actions: list[Any]) -> list[str]:
    """Return what was released."""
    return [action.why for action in actions]


def in_doubt(of: Ledger) -> zk.Multi:
    """Send a batch whose answer is lost, and let `/commit` be asked for."""
    multi = send(of)
    of.on_verdict(multi.token, zk.Unknown())
    asked = of.on_reconnected(token=900)
    assert asked == zk.ReadNodes(token=900, paths=(znodes.COMMIT,), sync=True)
    return multi


# --- what a batch is ----------------------------------------------------------------------------------------


def test_every_batch_carries_the_fence_and_the_chain() -> None:
    """A batch checks the epoch's version, and sets /commit at the version that the last one left."""
    book = ledger()
    put(book, "a")
    first = send(book)
    commit = znodes.encode(CommitNode(epoch=7, batch=1, time=1.0))
    assert first.operations[:2] == (zk.Check(znodes.EPOCH, 3), zk.SetData(znodes.COMMIT, commit, 20))
    accept(book, first)
    second = send(book)
    assert second.operations[1] == zk.SetData(
        znodes.COMMIT, znodes.encode(CommitNode(epoch=7, batch=2, time=1.0)), 21
    )


def test_writes_gather_while_a_batch_is_in_flight() -> None:
    """One transaction at a time: what comes meanwhile leaves together in the next."""
    book = ledger()
    put(book, "a")
    first = send(book)
    put(book, "b")
    put(book, "c")
    assert not book.wants_commit()
    with pytest.raises(AssertionError, match="may not leave"):
        send(book)
    assert accept(book, first) == ["a"]
    assert paths(send(book)) == ["/b", "/c"]


def test_an_idle_ledger_wants_no_commit_but_can_make_an_empty_one() -> None:
    """The commit that proves leadership once a second writes nothing but the chain."""
    book = ledger()
    assert not book.wants_commit()
    assert paths(send(book)) == []


def test_lanes_leave_in_their_order() -> None:
    """Results go first, then submissions, then retention."""
    book = ledger()
    put(book, "old", lane=Lane.RETENTION)
    put(book, "new", lane=Lane.SUBMISSIONS)
    put(book, "done", lane=Lane.RESULTS)
    assert paths(send(book)) == ["/done", "/new", "/old"]


def test_submissions_take_turns_by_user() -> None:
    """A user with many submissions does not delay another one's first."""
    book = ledger()
    for number in range(limits.BATCH_OPERATIONS_MAX):
        put(book, f"a{number}", lane=Lane.SUBMISSIONS, user="ann")
    put(book, "b0", lane=Lane.SUBMISSIONS, user="bob")
    assert paths(send(book))[:2] == ["/a0", "/b0"]


def test_the_user_who_had_no_room_is_first_in_the_next_batch() -> None:
    """Turns go on where the last batch ended."""
    book = ledger()
    big = b"x" * (limits.BATCH_BYTES_MAX // 2)
    for user in ("ann", "bob", "cid"):
        put(book, user, lane=Lane.SUBMISSIONS, data=big, user=user)
        put(book, f"{user}2", lane=Lane.SUBMISSIONS, data=big, user=user)
    order = []
    while book.pending:
        multi = send(book)
        order += paths(multi)
        accept(book, multi)
    assert order == ["/ann", "/bob", "/cid", "/ann2", "/bob2", "/cid2"]


def test_a_key_keeps_its_order_across_lanes() -> None:
    """A result never overtakes the submission of its own task."""
    book = ledger()
    put(book, "other", lane=Lane.SUBMISSIONS)
    book.write(Lane.SUBMISSIONS, "t", (zk.Create("/t", b"1"),), user="ann")
    book.write(Lane.RESULTS, "t", (zk.Delete("/t"), zk.Create("/d", b"2")))
    assert send(book).operations[2:] == (zk.SetData("/other", b""), zk.Create("/d", b"2"))


def test_a_group_larger_than_the_bound_leaves_alone() -> None:
    """The writes of one event are never split, however large; nothing joins them."""
    book = ledger()
    many = tuple(zk.SetData(f"/n{number}", b"") for number in range(limits.BATCH_OPERATIONS_MAX + 1))
    book.write(Lane.RESULTS, "big", many)
    put(book, "small")
    assert len(send(book).operations) == len(many) + 2


# --- merging ------------------------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/b", "/c"]),
        st.sampled_from(["create", "set", "delete"]),
        st.binary(max_size=2),
    ),
    max_size=12,
)


def _possible(tree: dict[str, bytes], path: str, verb: str) -> bool:
    return (path not in tree) if verb == "create" else (path in tree)


def _apply(tree: dict[str, bytes], operation: zk.Operation) -> None:
    match operation:
        case zk.Create(path, data):
            assert path not in tree
            tree[path] = data
        case zk.SetData(path, data):
            assert path in tree
            tree[path] = data
        case zk.Delete(path):
            del tree[path]


def _operation(path: str, verb: str, data: bytes) -> zk.Operation:
    kinds = {"create": zk.Create(path, data), "set": zk.SetData(path, data), "delete": zk.Delete(path)}
    return kinds[verb]


@given(existing=st.dictionaries(st.sampled_from(["/a", "/b", "/c"]), st.binary(max_size=2)), drawn=OPERATIONS)
def test_a_merged_batch_does_what_its_groups_do_one_by_one(
    existing: dict[str, bytes], drawn: list[tuple[str, str, bytes]]
) -> None:
    """Merging writes to one node into the last changes nothing but their number: one for each node."""
    book, expected = ledger(), dict(existing)
    for path, verb, data in drawn:
        if _possible(expected, path, verb):
            operation = _operation(path, verb, data)
            _apply(expected, operation)
            book.write(Lane.RESULTS, path, (operation,))
    merged = send(book).operations[2:]
    assert len({operation.path for operation in merged}) == len(merged)
    tree = dict(existing)
    for operation in merged:
        _apply(tree, operation)
    assert tree == expected


# --- commit, then speak -------------------------------------------------------------------------------------


def test_nothing_is_released_before_its_batch_is_applied() -> None:
    """What a write releases comes out with the verdict, in the order of the batch."""
    book = ledger()
    put(book, "a")
    put(book, "b")
    assert accept(book, send(book)) == ["a", "b"]


def test_words_without_writes_make_an_empty_commit() -> None:
    """A refusal or an answer proves leadership by a commit of its own where nothing else is written."""
    book = ledger()
    book.say(say("no"))
    assert book.wants_commit()
    multi = send(book)
    assert paths(multi) == []
    assert accept(book, multi) == ["no"]


def test_words_that_can_wait_do_not_hurry_a_commit() -> None:
    """An answer to a ping rides on the next commit, at the latest that of the heartbeat."""
    book = ledger()
    book.say(say("pong"), hurry=False)
    assert not book.wants_commit()
    assert accept(book, send(book)) == ["pong"]


def test_words_are_not_bound_to_a_batch_that_left_before_them() -> None:
    """The batch in flight may come before a deposition, and the word after it: it needs the next."""
    book = ledger()
    put(book, "a")
    first = send(book)
    book.say(say("late"))
    assert accept(book, first) == ["a"]
    assert accept(book, send(book)) == ["late"]


def test_words_follow_everything_that_was_written_before_them() -> None:
    """An answer that a batch had no room for the facts of waits for the facts."""
    book = ledger()
    big = b"x" * limits.BATCH_BYTES_MAX
    put(book, "a", data=big)
    put(book, "b", data=big)
    book.say(say("answer"))
    assert accept(book, send(book)) == ["a"]
    assert accept(book, send(book)) == ["b", "answer"]


# --- verdicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_a_broken_fence_or_chain_deposes_for_good(index: int) -> None:
    """After another broker's claim nothing is released, and nothing leaves any more."""
    book = ledger()
    put(book, "a")
    multi = send(book)
    assert book.on_verdict(multi.token, zk.Refused(index, "BadVersion")) == ([], [])
    assert book.deposed
    put(book, "b")
    assert not book.wants_commit()
    with pytest.raises(AssertionError, match="may not leave"):
        send(book)


def test_a_refused_batch_is_tried_group_by_group() -> None:
    """One group whose nodes somebody else changed harms no other: only it fails."""
    book = ledger()
    for key in ("a", "b", "c"):
        put(book, key)
    multi = send(book)
    assert book.on_verdict(multi.token, zk.Refused(3, "NoNode")) == ([], [])
    said, failed = [], []
    while book.wants_commit():
        single = send(book)
        assert len(paths(single)) == 1
        verdict = zk.Refused(2, "NoNode") if paths(single) == ["/b"] else applied(single, book.chain + 1)
        released, failures = book.on_verdict(single.token, verdict)
        said += words(released)
        failed += [(failure.group.key, failure.error) for failure in failures]
    assert (said, failed) == (["a", "c"], [("b", "NoNode")])


def test_what_waits_behind_a_failed_group_of_its_key_fails_with_it() -> None:
    """A placement does not overwrite the node that kept its task from being created."""
    book = ledger()
    book.write(Lane.SUBMISSIONS, "t", (zk.Create("/t", b"1"),), user="ann")
    book.write(Lane.RESULTS, "t", (zk.SetData("/t", b"2"),))
    put(book, "other")
    multi = send(book)
    book.on_verdict(multi.token, zk.Refused(2, "NodeExists"))
    put(book, "t", data=b"3")
    single = send(book)
    _, failures = book.on_verdict(single.token, zk.Refused(2, "NodeExists"))
    assert [failure.group.key for failure in failures] == ["t", "t", "t"]
    assert paths(send(book)) == ["/other"]
    assert book.pending == 0


def test_words_wait_for_every_group_of_a_refused_batch() -> None:
    """The groups of a refused batch are tried in the order of their writing, whatever lanes they had."""
    book = ledger()
    put(book, "first", lane=Lane.SUBMISSIONS)
    book.say(say("about first"))
    put(book, "second")
    put(book, "third")
    book.on_verdict(send(book).token, zk.Refused(2, "NoNode"))
    said: list[str] = []
    while book.wants_commit():
        said += accept(book, send(book))
    assert said.index("about first") > said.index("first")
    assert sorted(said) == ["about first", "first", "second", "third"]


def test_verdicts_of_other_transactions_are_ignored() -> None:
    """A late answer to something else releases nothing."""
    book = ledger()
    put(book, "a")
    multi = send(book)
    assert book.on_verdict(multi.token + 1, applied(multi, 21)) == ([], [])
    assert book.flight is Flight.SENT


# --- unknown outcomes ---------------------------------------------------------------------------------------


def test_a_lost_answer_keeps_everything_back() -> None:
    """Until it is known what became of a batch, nothing is released and no other batch leaves."""
    book = ledger()
    put(book, "a")
    multi = send(book)
    assert book.on_verdict(multi.token, zk.Unknown()) == ([], [])
    put(book, "b")
    assert book.flight is Flight.DOUBTFUL
    assert not book.wants_commit()


def test_a_doubtful_batch_that_commit_names_was_applied() -> None:
    """`/commit` holds my epoch and my batch: it is in the table, and is released."""
    book = ledger()
    put(book, "a")
    in_doubt(book)
    node = read(znodes.COMMIT, CommitNode(epoch=7, batch=1, time=1.0), version=21)
    released, again = book.on_commit_read(node)
    assert (words(released), again) == (["a"], None)
    assert (book.committed, book.chain, book.flight) == (1, 21, Flight.NONE)


def test_a_doubtful_batch_that_did_not_come_is_sent_again_as_it_was() -> None:
    """`/commit` is as it was before: the same bytes go again, so a late first copy cannot apply twice."""
    book = ledger()
    put(book, "a")
    multi = in_doubt(book)
    put(book, "b")
    released, again = book.on_commit_read(read(znodes.COMMIT, CommitNode(epoch=7, batch=0), version=20))
    assert (released, again) == ([], zk.Multi(multi.token, multi.operations))
    assert accept(book, multi) == ["a"]


@pytest.mark.parametrize(
    "node",
    [
        read(znodes.COMMIT, CommitNode(epoch=8, batch=0), version=21),
        read(znodes.COMMIT, CommitNode(epoch=8, batch=1), version=22),
        read(znodes.COMMIT, b"not json", version=21),
        None,
    ],
)
def test_anything_else_in_commit_deposes(node: zk.NodeRead | None) -> None:
    """Somebody else wrote `/commit`: this leader's time is over, and it says nothing more."""
    book = ledger()
    put(book, "a")
    in_doubt(book)
    assert book.on_commit_read(node) == ([], None)
    assert book.deposed


def test_without_doubt_nothing_is_asked() -> None:
    """A reconnection without doubt reads nothing, and an answer nobody asked for changes nothing."""
    book = ledger()
    put(book, "a")
    send(book)
    assert book.on_reconnected(token=1) is None
    assert book.on_commit_read(None) == ([], None)
    assert not book.deposed


# --- any interleaving ---------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.sampled_from(list(Lane)),
            st.sampled_from(["k1", "k2", "k3", "k4"]),
            st.sampled_from(["ann", "bob"]),
            st.sampled_from([1, 40_000, limits.BATCH_BYTES_MAX // 2, limits.BATCH_BYTES_MAX]),
        ),
        st.tuples(st.just("say"), st.booleans()),
        st.tuples(st.just("send")),
        st.tuples(st.just("verdict"), st.sampled_from(["applied", "refused", "lost", "late"])),
    ),
    max_size=60,
)


class Referee:
    """Knows what is in the table, and holds a ledger to its promises.

    Every write creates a node of its own number below its key, so the table tells what was applied.
    """

    def __init__(self) -> None:
        self.book = ledger()
        self.number = 0
        self.table: list[tuple[str, int]] = []  #: Key and number, in the order of application.
        self.written: dict[int, str] = {}
        self.said: dict[int, int] = {}  #: Word to the newest write before it.
        self.released: set[int] = set()
        self.flying: zk.Multi | None = None

    def step(self, step: tuple[Any, ...]) -> None:
        """Take one drawn step, where it is possible."""
        match step:
            case ("write", lane, key, user, size):
                self.number += 1
                self.written[self.number] = key
                operation = zk.Create(f"/{key}/{self.number}", b"x" * size)
                self.book.write(lane, key, (operation,), (Exit(self.number, "write"),), user)
            case ("say", hurry):
                newest, self.number = self.number, self.number + 1
                self.said[self.number] = newest
                self.book.say(Exit(self.number, "say"), hurry=hurry)
            case ("send",) if self.flying is None:
                self.send()
            case ("verdict", kind) if self.flying is not None:
                self.verdict(kind)

    def send(self) -> None:
        """Let a batch leave, and hold it to its bounds."""
        self.flying = self.book.next_batch(self.number + 1000, 1.0)
        body = self.flying.operations[2:]
        size = sum(len(operation.data) for operation in body if isinstance(operation, zk.Create))
        assert len(body) <= limits.BATCH_OPERATIONS_MAX
        assert size <= limits.BATCH_BYTES_MAX or len(body) == 1

    def verdict(self, kind: str) -> None:
        """Let the batch in flight be applied, be refused for its contents, or be lost before or after."""
        multi, self.flying = self.flying, None
        assert multi is not None
        if (
            kind == "refused" and len(multi.operations) > 3
        ):  # whole batches only: a single group that fails is gone
            self.release(self.book.on_verdict(multi.token, zk.Refused(2, "NoNode"))[0])
        elif kind in ("applied", "refused"):
            self.apply(multi)
            self.release(self.book.on_verdict(multi.token, applied(multi, self.book.chain + 1))[0])
        else:
            self.lose(multi, arrived=kind == "late")

    def lose(self, multi: zk.Multi, *, arrived: bool) -> None:
        """Let the answer be lost, the batch having arrived or not, and let `/commit` decide."""
        book = self.book
        before = book.chain
        self.release(book.on_verdict(multi.token, zk.Unknown())[0])
        assert book.on_reconnected(1) is not None
        batch = book.committed + 1 if arrived else book.committed
        if arrived:
            self.apply(multi)
        node = read(znodes.COMMIT, CommitNode(epoch=7, batch=batch), version=before + arrived)
        released, again = book.on_commit_read(node)
        assert (again is None) is arrived
        self.flying = again
        self.release(released)

    def apply(self, multi: zk.Multi) -> None:
        """Write into the table."""
        for operation in multi.operations[2:]:
            _, key, number = operation.path.split("/")
            self.table.append((key, int(number)))

    def release(self, actions: list[Any]) -> None:
        """Hold what is released to what is in the table."""
        present = {number for _, number in self.table}
        for action in actions:
            assert action.code not in self.released, "said twice"
            self.released.add(action.code)
            if action.why == "write":
                assert action.code in present, "said before it was written"
            else:
                needed = {number for number in self.written if number <= self.said[action.code]}
                assert needed <= present, "said before what it follows was written"

    def finish(self) -> None:
        """Let everything come to an end, all going well."""
        for _ in range(1000):
            if self.flying is not None:
                self.verdict("applied")
            elif self.released != {*self.written, *self.said}:
                self.send()
            else:
                return
        raise AssertionError("something is never written, or never said")


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_any_interleaving_keeps_the_promises(steps: list[tuple[Any, ...]]) -> None:
    """Whatever comes in which order: everything is written once, in the order of its key, within the bounds.

    And nothing is said before what it depends on is in the table, nothing twice, and everything in the end.
    """
    referee = Referee()
    for step in steps:
        referee.step(step)
    referee.finish()
    for key in set(referee.written.values()):
        order = [number for each, number in referee.table if each == key]
        assert order == [number for number, each in referee.written.items() if each == key]


class Counter:
    """Stands for what many groups change: its node holds the sum of what was applied."""

    size_bytes = 100

    def __init__(self) -> None:
        self.total = self.next = 0

    def fold(self, changes: Any) -> list[zk.Operation]:
        """Return the one write of all changes."""
        self.next = self.total + sum(changes)
        return [zk.SetData("/sum", str(self.next).encode())]

    def settle(self) -> None:
        """It was applied."""
        self.total = self.next


def test_what_many_groups_change_is_written_once() -> None:
    """Before their own writes, and only for those that are in the batch."""
    each, counter = ledger(), Counter()
    for number in range(1, 4):
        each.write(
            Lane.RESULTS, f"t{number}", (zk.Create(f"/sum/{number}", b""),), folded=(counter, (number,))
        )
    multi = send(each)
    assert multi.operations[2] == zk.SetData("/sum", b"6")
    assert paths(multi) == ["/sum", "/sum/1", "/sum/2", "/sum/3"]
    accept(each, multi)
    assert counter.total == 6


def test_a_refused_batch_folds_nothing_and_each_group_alone_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the failing group would have changed is never written."""
    each, counter = ledger(), Counter()
    for number in (1, 2):
        each.write(Lane.RESULTS, f"t{number}", (zk.Delete(f"/x/{number}"),), folded=(counter, (number,)))
    multi = send(each)
    each.on_verdict(multi.token, zk.Refused(3, "NoNode"))
    assert counter.total == 0
    alone = send(each)
    _, failures = each.on_verdict(alone.token, zk.Refused(3, "NoNode"))
    assert [failure.group.changes for failure in failures] == [(1,)]
    accept(each, send(each))
    assert counter.total == 2
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 300)
    for number in range(5):
        each.write(Lane.RESULTS, f"u{number}", (zk.Delete(f"/y/{number}"),), folded=(counter, (1,)))
    assert 1 < len(paths(send(each))) < 5
