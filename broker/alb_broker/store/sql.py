"""The results store on an SQL database, by SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    false,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from alb_broker.store.databases import KINDS, READS
from alb_broker.store.interface import StaleTerm, StoreError, StoreUnavailable, StoreUnusable
from alb_broker.store.schema import TABLES, TERMS
from alb_broker.store.upgrade import upgrade
from alb_core import rows as forms
from alb_core.columns import columns_of
from alb_core.rows import AnyRow, Key, KeyPart, Row, Span


class SqlStore:
    """A `Store` in an SQL database.

    Args:
        url: SQLAlchemy's form; the driver is chosen here.
        table: The id of the cluster's table.

    Raises:
        StoreUnusable: The URL cannot be read.
        ModuleNotFoundError: The driver is not installed.
    """

    def __init__(self, url: str, table: str) -> None:
        try:
            parsed = make_url(url)
        except (SQLAlchemyError, ValueError):  # its text may hold the password
            raise StoreUnusable(
                "the URL of the results store cannot be read; check its host, port and path"
            ) from None
        driver, kind = KINDS[parsed.get_backend_name()]
        self._database: Final = kind()
        self._place: Final = f"the results store {parsed.render_as_string(hide_password=True)}"
        self._engine: Final[Engine] = self._database.engine(parsed.set(drivername=driver))
        self._table: Final = table
        self._writer: Connection | None = None
        self._reader: Connection | None = None

    def open(self) -> None:
        """Connect, and bring the schema up to date."""
        with self._translated(), self._engine.connect() as connection:
            upgrade(connection, self._place, self._database.locked)

    def close(self) -> None:
        """Let go of the connections."""
        held, self._writer, self._reader = (self._writer, self._reader), None, None
        for connection in held:
            if connection is not None:
                with suppress(Exception):  # it may be broken already, in the driver's own way
                    connection.close()

    def begin_term(self, epoch: int) -> None:
        """Begin a leader's term."""
        self.write(epoch, ())

    def write(self, epoch: int, rows: Sequence[Row]) -> None:
        """Write rows, all or none."""
        found = columns_of(rows)
        with self._term(epoch) as connection:
            for family, columns in found.items():
                table = [self._table] * len(columns[0])
                self._database.write(connection, family, [table, *columns])

    def scan(
        self, family: type[AnyRow], span: Span, limit: int, *, newest_first: bool = False
    ) -> list[AnyRow]:
        """Return rows in the order of their keys."""
        table = TABLES[family]
        columns = [table.c[name] for name in forms.columns(family)]
        order = [table.c[name].desc() if newest_first else table.c[name] for name in family.key_fields]
        query = select(*columns).where(*self._within(family, span)).order_by(*order).limit(limit)
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [cast("AnyRow", forms.make(family, values)) for values in found]

    def get(self, family: type[AnyRow], keys: Sequence[Key]) -> list[AnyRow]:
        """Return the rows that have these keys."""
        table = TABLES[family]
        columns = [table.c[name] for name in forms.columns(family)]
        named = [table.c[name] for name in family.key_fields]
        if len(named) == 1:
            chosen: ColumnElement[bool] = named[0].in_([key[0] for key in keys])
        else:
            chosen = or_(false(), *(and_(*(c == v for c, v in zip(named, key, strict=True))) for key in keys))
        query = select(*columns).where(table.c.table_id == self._table, chosen)
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [cast("AnyRow", forms.make(family, values)) for values in found]

    def remove(self, epoch: int, family: type[Row], spans: Sequence[Span], limit: int) -> int:
        """Remove rows, all or none."""
        with self._term(epoch) as connection:
            firsts, others = _parted(spans)
            gone, full = self._remove_whole(connection, family, firsts, limit)
            others += [Span(prefix=(first,)) for first in full]
            return gone + sum(self._remove(connection, family, span, limit) for span in others)

    def count(self, family: type[Row], span: Span) -> int:
        """Return how many rows there are."""
        query = select(func.count()).select_from(TABLES[family]).where(*self._within(family, span))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def tables(self) -> list[str]:
        """Return the ids of the clusters that have begun a term in it."""
        with self._reading() as connection:
            return sorted(connection.execute(select(TERMS.c.table_id)).scalars())

    def size_bytes(self) -> int:
        """Return about how much room the store takes."""
        with self._reading() as connection:
            return self._database.size_bytes(connection)

    # --- transactions ---------------------------------------------------------------------------------------

    @contextmanager
    def _term(self, epoch: int) -> Iterator[Connection]:
        """A transaction of a term: nobody else can write, or begin a term, until it ends."""
        with self._translated():
            if self._writer is None:
                self._writer = self._engine.connect()
            with self._writer.begin():
                self._hold_term(self._writer, epoch)
                yield self._writer

    def _hold_term(self, connection: Connection, epoch: int) -> None:
        own = TERMS.c.table_id == self._table
        newest = select(TERMS.c.epoch).where(own).with_for_update()
        held = connection.execute(newest).scalar()
        if held is None:
            with suppress(IntegrityError), connection.begin_nested():  # another broker may insert it first
                connection.execute(TERMS.insert().values(table_id=self._table, epoch=0))
            held = connection.execute(newest).scalar_one()
        if held > epoch:
            raise StaleTerm(epoch, held)
        if held < epoch:
            connection.execute(update(TERMS).where(own).values(epoch=epoch))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._translated():
            if self._reader is None:
                self._reader = self._engine.connect().execution_options(**{READS: True})
            with self._reader.begin():
                yield self._reader

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except SQLAlchemyError as error:
            raise self._database.trouble(error, self._place) from error
        except OSError as error:
            raise StoreUnavailable(f"{self._place}: {error}") from error

    # --- keys -----------------------------------------------------------------------------------------------

    def _remove(self, connection: Connection, family: type[Row], span: Span, limit: int) -> int:
        """Remove up to the first key that must stay: a limit on DELETE is not for every database."""
        table = TABLES[family]
        keys = [table.c[name] for name in family.key_fields]
        within = self._within(family, span)
        beyond = connection.execute(
            select(*keys).where(*within).order_by(*keys).offset(limit).limit(1)
        ).first()
        if beyond is not None:
            within.append(_compared(connection, keys, tuple(beyond), before=True))
        return connection.execute(delete(table).where(*within)).rowcount

    def _remove_whole(
        self, connection: Connection, family: type[Row], firsts: list[KeyPart], limit: int
    ) -> tuple[int, list[KeyPart]]:
        """Remove all rows whose key begins with one of these values, by one statement.

        Returns:
            How many went, and the values that have more rows than the limit: nothing was done about those.
        """
        if not firsts:
            return 0, []
        table = TABLES[family]
        first = table.c[family.key_fields[0]]
        within = (table.c.table_id == self._table, first.in_(firsts))
        full: list[KeyPart] = []
        if len(family.key_fields) > 1:
            many = select(first).where(*within).group_by(first).having(func.count() > limit)
            full = list(connection.execute(many).scalars())
        rest = (*within, first.not_in(full)) if full else within
        return connection.execute(delete(table).where(*rest)).rowcount, full

    def _within(self, family: type[Row], span: Span) -> list[ColumnElement[bool]]:
        table = TABLES[family]
        keys = [table.c[name] for name in family.key_fields]
        conditions = [table.c.table_id == self._table]
        conditions += [column == value for column, value in zip(keys, span.prefix, strict=False)]
        fixed = len(span.prefix)
        for bound, before in ((span.after, False), (span.before, True)):
            if not bound:
                continue
            skipped = fixed if bound[:fixed] == span.prefix and len(bound) > fixed else 0
            conditions.append(_compared(self._engine, keys[skipped:], bound[skipped:], before=before))
        return conditions


def _parted(spans: Sequence[Span]) -> tuple[list[KeyPart], list[Span]]:
    """Return the first key fields of spans that say nothing else, and the other spans."""
    firsts: dict[KeyPart, None] = {}
    others: list[Span] = []
    for span in spans:
        if len(span.prefix) == 1 and not span.after and not span.before:
            firsts[span.prefix[0]] = None
        else:
            others.append(span)
    return list(firsts), others


def _compared(
    engine: Engine | Connection, keys: Sequence[Any], bound: Key, *, before: bool
) -> ColumnElement[bool]:
    """Return the condition that keys, cut to the bound's length, sort before or after it."""
    keys = keys[: len(bound)]
    if len(keys) == 1:
        return cast("ColumnElement[bool]", keys[0] < bound[0] if before else keys[0] > bound[0])
    if engine.dialect.name not in {"mariadb", "mysql"}:
        return tuple_(*keys) < bound if before else tuple_(*keys) > bound
    # MariaDB finds no index for a comparison of tuples.
    steps = [
        and_(
            *(column == value for column, value in zip(keys[:length], bound, strict=False)),
            keys[length] < bound[length] if before else keys[length] > bound[length],
        )
        for length in range(len(keys))
    ]
    return and_(keys[0] <= bound[0] if before else keys[0] >= bound[0], or_(*steps))
