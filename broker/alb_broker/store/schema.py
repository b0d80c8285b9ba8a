"""The tables of the results store, as SQLAlchemy knows them; a test holds ``migrations`` to them.

Every column has the name of its row's field, after the id of the cluster's table. Texts sort by code point
everywhere.
"""

from __future__ import annotations

import typing
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Double, Index, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT, VARCHAR
from sqlalchemy.types import TypeEngine

from alb_core import rows
from alb_core.rows import FAMILIES, Row

KEY_LENGTH: Final = 64
#: Of ids and names in keys; those of tasks have at most 42 characters, names 64.
VERSION_TABLE: Final = "alb_schema"
_NOPAD: Final = "utf8mb4_nopad_bin"
#: MariaDB's own order ignores case, and blanks at the end.


def key_text(length: int) -> TypeEngine[str]:
    """Return the type of a text that is part of a key or an index."""
    mariadb = VARCHAR(length, charset="utf8mb4", collation=_NOPAD)
    return (
        String(length)
        .with_variant(mariadb, "mysql", "mariadb")
        .with_variant(String(length, collation="C"), "postgresql")
    )


def long_text() -> TypeEngine[str]:
    """Return the type of a text of any length."""
    return Text().with_variant(LONGTEXT(charset="utf8mb4", collation=_NOPAD), "mysql", "mariadb")


def binary() -> TypeEngine[bytes]:
    """Return the type of bytes."""
    return LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")


METADATA: Final = MetaData()

TERMS: Final = Table(
    "alb_terms",
    METADATA,
    Column("table_id", key_text(KEY_LENGTH), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
#: The newest term of each cluster: the fence.

_INDEXED: Final = {"user": rows.USER_LENGTH_MAX}
#: Texts outside keys that have an index, and their length.


def _column(family: type[Row], name: str, hint: Any) -> Column[Any]:
    kinds = typing.get_args(hint) or (hint,)
    in_key = name in family.key_fields
    kind: TypeEngine[Any]
    match kinds[0]:
        case t if t is str and (in_key or name in _INDEXED):
            kind = key_text(_INDEXED.get(name, KEY_LENGTH))
        case t if t is str:
            kind = long_text()
        case t if t is bytes:
            kind = binary()
        case t if t is float:
            kind = Double()
        case _:
            kind = BigInteger()
    return Column(
        name,
        kind,
        primary_key=in_key,
        nullable=type(None) in kinds,
        autoincrement=False if in_key else "auto",
    )


def _table(family: type[Row]) -> Table:
    hints = typing.get_type_hints(family)
    return Table(
        f"alb_{family.family}",
        METADATA,
        Column("table_id", key_text(KEY_LENGTH), primary_key=True),
        *(_column(family, name, hints[name]) for name in rows.columns(family)),
    )


TABLES: Final[dict[type[Row], Table]] = {family: _table(family) for family in FAMILIES}

_TASKS: Final = TABLES[rows.FinishedTask].c
_LOADS: Final = TABLES[rows.LoadSample].c
Index("alb_tasks_by_finished", _TASKS.table_id, _TASKS.finished)
Index("alb_tasks_by_user", _TASKS.table_id, _TASKS.user, _TASKS.finished)
Index("alb_loads_by_time", _LOADS.table_id, _LOADS.time)
