"""What every results store does, whatever it is made of. Test files inherit it and give the `place`."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text
from tests.store_rows import Ear, attempt, finished, increment, load, output, work
from tests.store_servers import Place

from alb_broker.store.events import StoreFenced, StoreRemoved, StoreScanned, StoreWritten
from alb_broker.store.interface import StaleTerm, Store, StoreUnavailable, StoreUnusable
from alb_broker.store.opening import open_store
from alb_broker.store.sql import SqlStore
from alb_broker.store.thread import StoreThread
from alb_core.io.clock import new_id
from alb_core.rows import FAMILIES, FinishedTask, Increment, LoadSample, Output, Span, Work, key_of

Opened: TypeAlias = Callable[..., Store]
ALL = Span()


def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


def begin_in_time(store: Store, term: int) -> None:
    """Begin a term, as the store's thread does: again, where others have the lock for long."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return store.begin_term(term)
        except StoreUnavailable:
            assert time.monotonic() < deadline, "the store was not to be had"


class StoreContract:
    """The contract."""

    @pytest.fixture
    def table(self) -> str:
        """A table that nobody used before."""
        return new_id()

    @pytest.fixture
    def opened(self, place: Place, table: str) -> Iterator[Opened]:
        """Open one more store of this test's table, or of another one."""
        stores: list[Store] = []

        def open_one(other: str = table, url: str = "") -> Store:
            store = open_store(url or place.url, other)
            stores.append(store)
            store.open()
            return store

        yield open_one
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, opened: Opened) -> Store:
        """An open store of it."""
        return opened()

    # --- reading and writing --------------------------------------------------------------------------------

    def test_every_family_comes_back_as_it_was(self, store: Store) -> None:
        """Each kind of row is read as it was written, with its absent values absent."""
        rows = [
            *(
                output("a"),
                increment("a"),
                attempt("a"),
                attempt("a", 2, ahead=False, exit_code=None, signal=9, copy_of=1),
            ),
            *(finished("a"), finished("b", exit_code=None, signal=15, more="{}"), load("w1", 1.25)),
            work("w", "a"),
        ]
        store.write(1, rows)
        found = [row for family in FAMILIES for row in store.scan(family, ALL, 10)]
        assert sorted(map(repr, found)) == sorted(map(repr, rows))

    def test_people_see_which_attempt_was_a_copy(self, store: Store, table: str) -> None:
        """In the view, beside what else is to be known of an attempt, and its task's user."""
        if not isinstance(store, SqlStore):
            pytest.skip("views are a matter of SQL")
        store.write(1, [finished("a"), attempt("a"), attempt("a", 2, copy_of=1)])
        query = "SELECT n, ahead, copy_of, user_name FROM v_attempts WHERE table_id = :table ORDER BY n"
        with store._engine.connect() as connection:
            seen = connection.execute(text(query), {"table": table}).all()
        assert [tuple(row) for row in seen] == [(1, 1, 0, "ann"), (2, 1, 1, "ann")]

    def test_rows_sort_by_key(self, store: Store) -> None:
        """Texts sort by code point, numbers by value, whatever the order of writing."""
        keys = [("B", 1, 5), ("a", 1, 0), ("a", 1, 9), ("a", 1, 10), ("a", 2, 0), ("a ", 1, 0), ("a.1", 1, 0)]
        rows = [output(task, offset, attempt=number) for task, number, offset in sorted(keys)]
        store.write(1, rows[::-1])
        assert store.scan(Output, ALL, 100) == rows
        assert store.scan(Output, ALL, 100, newest_first=True) == rows[::-1]
        assert store.scan(Output, ALL, 2) == rows[:2]
        assert store.scan(Output, ALL, 2, newest_first=True) == rows[:-3:-1]

    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            (Span(prefix=("b",)), [10, 11, 12, 20]),
            (Span(prefix=("b", 1)), [10, 11, 12]),
            (Span(prefix=("b", 1, "stdout", 1)), [11]),
            (Span(prefix=("b", 1, "stdout"), after=("b", 1, "stdout", 0)), [11, 12]),
            (Span(prefix=("b", 1, "stdout"), before=("b", 1, "stdout", 2)), [10, 11]),
            (Span(after=("b", 1, "stdout", 1)), [12, 20, 30]),
            (Span(after=("b",)), [30]),
            (Span(after=("a",), before=("c",)), [10, 11, 12, 20]),
            (Span(after=("b", 1)), [20, 30]),
            (Span(before=("b", 2)), [0, 10, 11, 12]),
            (Span(prefix=("b",), after=("b", 1, "stdout", 1), before=("b", 2, "stdout", 1)), [12, 20]),
            (Span(prefix=("b",), after=("c",)), []),
            (Span(prefix=("b",), before=("b",)), []),
            (Span(after=("c",), before=("b",)), []),
            (Span(prefix=("nobody",)), []),
        ],
    )
    def test_spans_cut_out_keys(self, store: Store, span: Span, expected: list[int]) -> None:
        """Prefix, after and before, of whole keys or of their first fields, each alone and together."""
        places = {
            0: ("a", 1, 0),
            10: ("b", 1, 0),
            11: ("b", 1, 1),
            12: ("b", 1, 2),
            20: ("b", 2, 0),
            30: ("c", 1, 0),
        }
        for number, (task, n, offset) in places.items():
            store.write(1, [output(task, offset, b"%d" % number, attempt=n)])
        assert [int(row.data) for row in store.scan(Output, span, 100)] == expected
        found = store.scan(Output, span, 100, newest_first=True)
        assert [int(row.data) for row in found] == expected[::-1]
        assert store.count(Output, span) == len(expected)

    def test_fractions_in_keys_sort_by_value(self, store: Store) -> None:
        """Times sort as numbers, to the last bit, negative ones too."""
        times = [-2.5, -1.0, 0.0, 1e-9, 1.0, 1795363200.1234567, 1795363200.123457]
        store.write(1, [load("w", when) for when in reversed(times)])
        assert [row.time for row in store.scan(LoadSample, ALL, 100)] == times
        (row,) = store.scan(LoadSample, Span(prefix=("w", times[-2])), 100)
        assert row.time == times[-2]

    def test_any_bytes_and_texts(self, store: Store) -> None:
        """256 KiB of every byte, nothing at all, all of Unicode that databases take, and 64-bit numbers."""
        rows = [
            output("a", 0, bytes(range(256)) * 1024),
            output("a", 1, b""),
            output("a", 2, b"\0'\\\"%s:x"),
        ]
        store.write(1, rows)
        assert store.scan(Output, ALL, 10) == rows
        texts = ["", "ü€😀", "a'b\"c\\d%s:x\n\t ", '{"a":[1]}' * 20_000]
        increments = [increment("a", seq, text, text) for seq, text in enumerate(texts)]
        store.write(1, increments)
        assert store.scan(Increment, ALL, 10) == increments
        large = finished("a", memory_bytes=2**63 - 1, wall_s=1.7e308, cpu_s=5e-324)
        store.write(1, [large])
        assert store.scan(FinishedTask, ALL, 1) == [large]

    def test_what_no_database_takes_is_replaced(self, store: Store) -> None:
        """NUL and lone surrogates in texts, and numbers beyond all bounds, hold up nothing."""
        odd = finished("a", why="a\0b\ud800c", user="u" * 300, memory_bytes=2**70, wall_s=float("nan"))
        store.write(1, [odd, finished("b", wall_s=float("inf"))])
        first, second = store.scan(FinishedTask, ALL, 10)
        assert (first.why, first.user) == ("a\ufffdb\ufffdc", "u" * 255)
        assert (first.memory_bytes, first.wall_s) == (2**63 - 1, 0.0)
        assert second.wall_s > 1e308

    def test_ten_thousand_rows(self, store: Store) -> None:
        """Many rows are one write, and are read page by page."""
        store.write(1, [output("a", offset, b"%d" % offset) for offset in range(10_000)])
        assert store.count(Output, ALL) == 10_000
        found: list[Output] = []
        while page := store.scan(
            Output, Span(after=("a", 1, "stdout", found[-1].offset) if found else ()), 999
        ):
            found += page
        assert [row.offset for row in found] == list(range(10_000))
        assert store.size_bytes() > 0

    def test_what_was_written_is_there_after_reopening(self, store: Store, opened: Opened) -> None:
        """A store that is closed and opened again, and another one, read the same."""
        store.write(1, [output("a")])
        store.close()
        store.close()
        store.open()
        assert store.scan(Output, ALL, 10) == opened().scan(Output, ALL, 10) == [output("a")]

    def test_tables_do_not_see_each_other(self, opened: Opened, store: Store) -> None:
        """Two clusters in one store: the same keys, other rows, terms of their own."""
        other = opened(new_id())
        store.write(5, [output("a", 0, b"ours"), output("b")])
        other.write(1, [output("a", 0, b"theirs, longer")])
        assert [row.data for row in store.scan(Output, ALL, 10)] == [b"ours", b"x"]
        assert other.remove(1, Output, [ALL], 10) == 1
        assert store.count(Output, ALL) == 2

    def test_it_knows_whose_rows_it_holds(
        self, place: Place, opened: Opened, store: Store, table: str
    ) -> None:
        """Whoever looks into it later need not know the clusters' ids, and need not open it."""
        other = new_id()
        store.begin_term(1)
        opened(other).write(1, [finished("a")])
        assert {table, other} <= set(open_store(place.url, "").tables())

    def test_rows_are_read_by_their_keys(self, store: Store, opened: Opened) -> None:
        """Many at once, of one key field or of several; those that are not there are left out."""
        tasks = [finished(f"t{number}") for number in range(300)]
        pieces = [output("a", offset) for offset in (0, 1, 2)]
        store.write(1, [*tasks, *pieces, work("w1", "t1"), load("w", 1.5)])
        opened(new_id()).write(1, [finished("other")])
        found = store.get(FinishedTask, [("other",), *((f"t{number}",) for number in range(100, 400))])
        assert sorted(found, key=key_of) == sorted(tasks[100:], key=key_of)
        keys = [("a", 1, "stdout", 1), ("a", 1, "stdout", 7), ("a", 1, "stderr", 0)]
        assert store.get(Output, keys) == [pieces[1]]
        assert store.get(LoadSample, [("w", 1.5)]) == [load("w", 1.5)]
        assert store.get(Work, [("w1",), ("w2",)]) == [work("w1", "t1")]
        assert store.get(Output, []) == []

    # --- the same key again ---------------------------------------------------------------------------------

    def test_the_same_rows_again_change_nothing(self, store: Store) -> None:
        """Writing twice, in one batch or in two, leaves one row of each."""
        rows = [output("a"), increment("a"), finished("a"), attempt("a"), load("w", 1.0), work("w", "a")]
        store.write(1, [*rows, *rows])
        store.write(1, rows)
        assert [row for family in FAMILIES for row in store.scan(family, ALL, 10)] == [
            *(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5])
        ]

    @pytest.mark.parametrize("together", [True, False])
    def test_which_of_two_rows_stays(self, store: Store, together: bool) -> None:  # noqa: FBT001
        """The first increment, the last task, the longest piece of output: in one batch or in two."""
        first = [increment("a", value="1"), finished("a", state="LOST"), output("a", 0, b"long"), output("b")]
        second = [increment("a", value="2"), finished("a"), output("a", 0, b"lo"), output("b", 0, b"longer")]
        for rows in [[*first, *second]] if together else [first, second]:
            store.write(1, rows)
        assert [row.value for row in store.scan(Increment, ALL, 10)] == ["1"]
        assert [row.state for row in store.scan(FinishedTask, ALL, 10)] == ["SUCCEEDED"]
        assert [row.data for row in store.scan(Output, ALL, 10)] == [b"long", b"longer"]

    def test_a_batch_that_fails_leaves_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether we or the database refuse a row in the middle: nothing is there; the next write works."""
        with pytest.raises(TypeError):
            store.write(1, [output("a"), increment("a", value=object()), finished("a")])  # type: ignore[arg-type]
        monkeypatch.setattr("alb_core.columns.storable", lambda column, _: column)
        bad: Any = {"memory_bytes": object()}
        with pytest.raises(Exception, match=r".") as caught:
            store.write(1, [output("a"), increment("a"), finished("a", **bad), load("w", 1.0)])
        assert not isinstance(caught.value, StaleTerm)
        monkeypatch.undo()
        store.close()
        store.open()
        assert [store.count(family, ALL) for family in FAMILIES] == [0] * len(FAMILIES)
        store.write(1, [output("a")])
        assert store.count(Output, ALL) == 1

    # --- removing -------------------------------------------------------------------------------------------

    def test_removing_is_bounded_and_exact(self, store: Store) -> None:
        """A span loses its smallest keys first, up to the limit; a whole key names one row."""
        rows = [output(task, offset) for task in "abc" for offset in range(10)]
        store.write(1, rows)
        assert store.remove(1, Output, [Span(prefix=("b",))], 4) == 4
        assert [row.offset for row in store.scan(Output, Span(prefix=("b",)), 100)] == [4, 5, 6, 7, 8, 9]
        assert store.remove(1, Output, [Span(prefix=("b",)), Span(before=("a", 1, "stdout", 3))], 100) == 9
        assert store.remove(1, Output, [Span(prefix=("c", 1, "stdout", 7)), Span(prefix=("d",))], 100) == 1
        assert store.count(Output, ALL) == 7 + 9
        assert store.remove(1, Output, [ALL], 16) == 16
        assert store.scan(Output, ALL, 1) == []

    def test_many_tasks_are_removed_at_once(self, store: Store) -> None:
        """All rows of each, however many spans there are; of one with more than the limit, that many."""
        tasks = [f"{number:03}" for number in range(300)]
        store.write(1, [output(task, offset) for task in tasks for offset in range(2)])
        store.write(1, [output("large", offset) for offset in range(30)] + [output("001.5")])
        store.write(1, [finished(task) for task in [*tasks, "001.5"]])
        spans = [Span(prefix=(task,)) for task in [*tasks[:250], "large", tasks[0]]]
        assert store.remove(1, Output, spans, 20) == 250 * 2 + 20
        assert store.count(Output, ALL) == 50 * 2 + 10 + 1
        assert store.remove(1, Output, spans, 20) == 10
        assert store.remove(1, FinishedTask, spans, 1) == 250
        assert [row.task for row in store.scan(FinishedTask, ALL, 2)] == ["001.5", "250"]

    def test_what_was_removed_takes_no_room(self, store: Store) -> None:
        """The size grows with the rows and falls with them, soon, also where files stay as large."""
        before = store.size_bytes()
        data = random.Random(1).randbytes(1000)
        for task in range(8):
            store.write(1, [output(f"{task}", offset, data) for offset in range(1000)])
        store.write(1, [output("late", offset, data * 100) for offset in range(40)])
        within(10, lambda: 11e6 < store.size_bytes() - before < 25e6)
        while store.remove(1, Output, [Span(before=("late",))], 2_000):
            pass
        within(30, lambda: 3e6 < store.size_bytes() - before < 8e6)

    # --- terms ----------------------------------------------------------------------------------------------

    def test_a_later_term_ends_the_earlier_one(self, opened: Opened) -> None:
        """A deposed leader writes, removes and begins nothing any more; reading it may."""
        old, new = opened(), opened()
        old.begin_term(3)
        old.write(3, [output("a")])
        new.begin_term(4)
        new.begin_term(4)
        for deed in (
            lambda: old.write(3, [output("a", 0, b"overwritten"), output("b")]),
            lambda: old.remove(3, Output, [ALL], 10),
            lambda: old.begin_term(3),
            lambda: old.write(3, []),
        ):
            with pytest.raises(StaleTerm, match="term 3 is over: term 4"):
                deed()
        assert old.scan(Output, ALL, 10) == [output("a")]
        new.write(4, [output("b")])
        old.write(5, [output("c")])  # it leads again: its new term begins with its first write
        with pytest.raises(StaleTerm):
            new.write(4, [])

    def test_terms_that_race(self, opened: Opened) -> None:
        """Once a term has begun, not one more row of the earlier one appears, however fast that writes."""
        old, new = opened(), opened()
        old.begin_term(1)
        written: list[int] = []
        told: list[StaleTerm] = []

        def write_on() -> None:
            for _ in range(100_000):
                try:
                    old.write(1, [output("a", len(written))])
                    written.append(len(written))
                except StaleTerm as error:
                    told.append(error)
                    return
                except StoreUnavailable:
                    continue  # the other one has the lock, on a slow disk for long

        writer = threading.Thread(target=write_on)
        writer.start()
        deadline = time.monotonic() + 30
        while len(written) < 20 and time.monotonic() < deadline:
            time.sleep(0.001)
        begin_in_time(new, 2)
        seen = new.count(Output, ALL)
        writer.join(30)
        assert len(told) == 1
        assert seen == new.count(Output, ALL) == len(written) >= 20

    def test_many_terms_that_begin_at_once(self, opened: Opened) -> None:
        """Of leaders that begin together on a new table, the latest wins; the others learn it."""
        stores = [opened() for _ in range(4)]
        stale: list[int] = []

        def begin(epoch: int, store: Store) -> None:
            while True:
                try:
                    store.begin_term(epoch)
                except StaleTerm:
                    stale.append(epoch)
                except StoreUnavailable:  # a deadlock, say: it may be tried again
                    continue
                return

        threads = [threading.Thread(target=begin, args=each) for each in enumerate(stores, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert 4 not in stale
        stores[0].write(4, [])
        with pytest.raises(StaleTerm):
            stores[0].write(3, [])

    # --- opening --------------------------------------------------------------------------------------------

    def test_three_processes_open_it_at_once(self, place: Place, opened: Opened) -> None:
        """Brokers that start together on an empty database all come up, and the schema is whole."""
        url, table = place.fresh(), new_id()
        program = (
            "import sys; from alb_broker.store.opening import open_store\n"
            "from alb_broker.store.interface import StoreUnavailable\n"
            "store = open_store(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.readline()\n"
            "for tries in range(10):\n"  # as a broker does, where the others take long
            "    try: store.open(); store.begin_term(1); store.close(); sys.exit(0)\n"
            "    except StoreUnavailable as error: told = error\n"
            "raise told"
        )
        starters = [
            subprocess.Popen(
                [sys.executable, "-c", program, url, table],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(3)
        ]
        for starter in starters:
            assert starter.stdout is not None
            starter.stdout.readline()
        for starter in starters:
            assert starter.stdin is not None
            starter.stdin.write(b"\n")
            starter.stdin.flush()
        said = [starter.communicate(timeout=60)[1].decode() for starter in starters]
        assert [starter.returncode for starter in starters] == [0, 0, 0], said
        store = opened(table, url)
        store.write(1, [finished("a"), load("w", 1.0)])
        assert store.count(FinishedTask, ALL) == 1

    def test_a_newer_schema_is_refused(self, place: Place, opened: Opened) -> None:
        """A broker that is too old says so, and touches nothing."""
        url, table = place.fresh(), new_id()
        opened(table, url)
        place.raise_schema(url, table)
        with pytest.raises(
            StoreUnusable, match=r"schema of .* is 9999, which this version of alb does not know"
        ):
            opened(table, url)

    # --- the thread -----------------------------------------------------------------------------------------

    @pytest.fixture
    def ear(self) -> Ear:
        """Hears what the threads post."""
        return Ear()

    @pytest.fixture
    def make_thread(self, place: Place, table: str, ear: Ear) -> Iterator[Callable[[int], StoreThread]]:
        """Start a thread of a term."""
        threads: list[StoreThread] = []

        def make(epoch: int) -> StoreThread:
            thread = StoreThread(lambda: open_store(place.url, table), epoch, ear.post)
            threads.append(thread)
            thread.start()
            return thread

        yield make
        for thread in threads:
            thread.stop(0)

    def test_the_thread_writes_in_order_and_tells(
        self, make_thread: Callable[[int], StoreThread], ear: Ear, store: Store
    ) -> None:
        """Every token is acknowledged once, in order; removals come in their turn; scans are answered."""
        thread = make_thread(1)
        for token in range(500):
            thread.put(token, [output("a", token), increment("a", token)])
        thread.remove(500, Output, [Span(before=("a", 1, "stdout", 100))], 1000)
        thread.put(501, [output("a", 3)])
        ear.wait(lambda: 501 in ear.tokens())
        thread.scan(7, Output, Span(prefix=("a",)), 2)
        thread.get(8, Output, [("a", 1, "stdout", 400)])
        ear.wait(lambda: len(ear.of(StoreScanned)) == 2)
        assert ear.tokens() == [*range(500), 501]
        assert [(event.token, event.count) for event in ear.of(StoreRemoved)] == [(500, 100)]
        scanned, got = ear.of(StoreScanned)
        assert (scanned.token, scanned.error) == (7, None)
        assert (got.token, got.rows) == (8, (output("a", 400),))
        assert [row.offset for row in scanned.rows if isinstance(row, Output)] == [3, 100]
        assert all(event.epoch == 1 for event in ear.heard)
        assert len(ear.of(StoreWritten)) < 400  # they shared transactions
        assert store.count(Output, ALL) == 401
        assert thread.waiting == (0, 0)

    def test_the_thread_flushes_when_it_stops(
        self, make_thread: Callable[[int], StoreThread], store: Store
    ) -> None:
        """What was handed over before `stop` is durable when it returns true."""
        thread = make_thread(1)
        for token in range(200):
            thread.put(token, [output("a", token)])
        assert thread.stop(30)
        assert store.count(Output, ALL) == 200

    def test_the_thread_of_a_deposed_leader_ends(
        self, make_thread: Callable[[int], StoreThread], ear: Ear, store: Store
    ) -> None:
        """It says so once, drops what waits, and nothing of it appears."""
        thread = make_thread(1)
        thread.put(1, [output("a")])
        ear.wait(lambda: ear.tokens() == [1])
        store.begin_term(2)
        thread.put(2, [output("b")])
        ear.wait(lambda: len(ear.of(StoreFenced)) == 1)
        assert ear.tokens() == [1]
        assert store.count(Output, ALL) == 1
