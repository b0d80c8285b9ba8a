"""The migrations make the tables that the program knows, and the rows declare what both rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from tests.store_rows import attempt, finished, output, work

from alb_broker.store.interface import Span
from alb_broker.store.opening import open_store
from alb_broker.store.schema import METADATA, TABLES, VERSION_TABLE
from alb_core.rows import FAMILIES, FinishedTask, Output, PastAttempt, Row, Work, columns


def test_the_migrations_make_the_schema(tmp_path: Path) -> None:
    """Tables, columns, types and indexes are the same, and the views can be read."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, "t")
    store.open()
    store.close()
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
        for view in ("v_tasks", "v_attempts", "v_worker_load", "v_output_size"):
            assert connection.execute(text(f"SELECT * FROM {view}")).all() == []  # noqa: S608
    engine.dispose()


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """What it held is there afterwards, and a step that was cut off half way is finished."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, "t")
    store.open()
    store.write(1, [finished("a"), attempt("a"), output("a")])
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alb_works"))
        connection.execute(text("DROP VIEW v_tasks"))
        connection.execute(text("DROP VIEW v_attempts"))
        connection.execute(text("ALTER TABLE alb_tasks DROP COLUMN more"))
        connection.execute(text("ALTER TABLE alb_attempts DROP COLUMN copy_of"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))  # noqa: S608
    for cut_off in (False, True):
        if cut_off:
            with engine.begin() as connection:
                connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))  # noqa: S608
        store.open()
        assert store.scan(FinishedTask, Span(), 10) == [finished("a")]
        assert store.scan(PastAttempt, Span(), 10) == [attempt("a")]
        assert store.scan(Output, Span(), 10) == [output("a")]
        store.write(1, [work("w", "a")])
        assert store.get(Work, [("w",)]) == [work("w", "a")]
        store.close()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT n, copy_of FROM v_attempts")).all() == [(1, 0)]
    engine.dispose()


@pytest.mark.parametrize("family", FAMILIES)
def test_key_fields_come_first(family: type[Row]) -> None:
    """Packing, merging and the tables cut a row's values after its key."""
    assert columns(family)[: len(family.key_fields)] == family.key_fields
    assert [column.name for column in TABLES[family].c] == ["table_id", *columns(family)]
    assert [column.name for column in TABLES[family].primary_key] == ["table_id", *family.key_fields]
