"""Finds the implementation for the URL of a results store."""

from __future__ import annotations

from alb_broker.store.interface import Store, StoreUnusable

KINDS = "sqlite, postgresql, mariadb (or mysql), redis"


def open_store(url: str, table: str) -> Store:
    """Make the store that a URL names. It is not connected yet: `Store.open` does that.

    Args:
        url: ``sqlite:////path``, ``postgresql://…``, ``mariadb://…``, ``mysql://…`` or ``redis://…``.
        table: The id of the cluster's table: part of every key, so that clusters may share a store.

    Raises:
        StoreUnusable: The URL is malformed, or its driver is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        match scheme:
            case "sqlite" | "postgresql" | "mariadb" | "mysql":
                from alb_broker.store.sql import SqlStore  # noqa: PLC0415 (its libraries load only where used)

                return SqlStore(url, table)
            case "redis" | "rediss":
                from alb_broker.store.redis import RedisStore  # noqa: PLC0415

                return RedisStore(url, table)
    except ModuleNotFoundError as error:
        extra = "mariadb" if scheme == "mysql" else scheme.removesuffix("s") if scheme == "rediss" else scheme
        raise StoreUnusable(
            f"the driver for {scheme} is not installed (no module {error.name}): pip install 'alb[{extra}]'"
        ) from None
    raise StoreUnusable(f"nobody knows a results store of the kind {scheme[:20]!r}; there are {KINDS}")
