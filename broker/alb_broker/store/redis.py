"""The results store on Redis: proof that the contract needs no SQL.

Of each family there are a hash from packed key to the other values, and a sorted set of the packed keys, all
with the same score, which Redis orders by bytes. Scripts make every call one step: Redis runs nothing else
meanwhile. What Redis acknowledged is as durable as its configuration makes it: ``appendonly yes`` and
``appendfsync always``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alb_broker.store import keys as packing
from alb_broker.store.interface import StaleTerm, StoreError, StoreUnavailable, StoreUnusable
from alb_core import rows as forms
from alb_core.columns import columns_of
from alb_core.rows import AnyRow, Key, Merge, Row, Span

CONNECT_S: Final = 5
CALL_S: Final = 15
SCHEMA: Final = 1

_FENCE: Final = """
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
local epoch = tonumber(ARGV[1])
if held > epoch then return {'stale', held} end
if held < epoch then redis.call('SET', KEYS[1], ARGV[1]) end
"""
_WRITE: Final = (
    _FENCE
    + """
local at = 2
for family = 2, #KEYS, 2 do
    local rows, index = KEYS[family], KEYS[family + 1]
    local merge, count = ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    for _ = 1, count do
        local key, value = ARGV[at], ARGV[at + 1]
        at = at + 2
        if merge == 'last'
            or redis.call('HEXISTS', rows, key) == 0
            or (merge == 'longest' and redis.call('HSTRLEN', rows, key) < #value)
        then
            redis.call('HSET', rows, key, value)
            redis.call('ZADD', index, 0, key)
        end
    end
end
return {'done', 0}
"""
)
_REMOVE: Final = (
    _FENCE
    + """
local gone = 0
for at = 3, #ARGV, 2 do
    local found = redis.call('ZRANGE', KEYS[3], ARGV[at], ARGV[at + 1], 'BYLEX', 'LIMIT', 0, ARGV[2])
    for _, key in ipairs(found) do
        redis.call('HDEL', KEYS[2], key)
        redis.call('ZREM', KEYS[3], key)
    end
    gone = gone + #found
end
return {'done', gone}
"""
)
_SCAN: Final = """
local found
if ARGV[4] == '1' then
    found = redis.call('ZRANGE', KEYS[2], ARGV[2], ARGV[1], 'BYLEX', 'REV', 'LIMIT', 0, tonumber(ARGV[3]))
else
    found = redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, tonumber(ARGV[3]))
end
local rows = {}
for _, key in ipairs(found) do
    rows[#rows + 1] = key
    rows[#rows + 1] = redis.call('HGET', KEYS[1], key)
end
return rows
"""
_UNUSABLE: Final = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
)
_WAITS: Final = ("OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS")
#: How answers begin that another time are others: memory or disk full, a replica, still loading.


class RedisStore:
    """A `Store` in Redis.

    Args:
        url: ``redis://[user[:password]@]host[:port]/number``, or ``rediss://`` for TLS.
        table: The id of the cluster's table.

    Raises:
        StoreUnusable: The URL cannot be read.
    """

    def __init__(self, url: str, table: str) -> None:
        try:
            self._redis: Final[Any] = redis.Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=CALL_S,
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, redis.RedisError):  # its text may hold the password
            raise StoreUnusable(
                "the URL of the results store cannot be read; check its host and port"
            ) from None
        settings = self._redis.connection_pool.connection_kwargs
        self._place: Final = f"the results store redis://{settings.get('host')}:{settings.get('port', 6379)}"
        self._prefix: Final = f"alb:{{{table}}}"  # the braces keep a cluster's keys on one node
        self._write: Final = self._redis.register_script(_WRITE)
        self._remove: Final = self._redis.register_script(_REMOVE)
        self._scan: Final = self._redis.register_script(_SCAN)

    def open(self) -> None:
        """Connect, and refuse a newer form of the rows."""
        with self._translated():
            name = f"{self._prefix}:schema"
            self._redis.set(name, SCHEMA, nx=True)
            found = int(self._redis.get(name))
        if found > SCHEMA:
            raise StoreUnusable(
                f"the schema of {self._place} is {found}, which this version of alb does not know (its "
                f"newest is {SCHEMA}): upgrade alb on this machine, or use another database"
            )

    def close(self) -> None:
        """Let go of the connection."""
        with suppress(Exception):  # it may be broken already
            self._redis.close()

    def begin_term(self, epoch: int) -> None:
        """Begin a leader's term."""
        self.write(epoch, ())

    def write(self, epoch: int, rows: Sequence[Row]) -> None:
        """Write rows, all or none."""
        names = [self._term()]
        arguments: list[Any] = [epoch]
        for family, columns in columns_of(rows).items():
            names += self._names(family)
            fixed = len(family.key_fields)
            arguments += [family.merge.value, len(columns[0])]
            for each in zip(*columns, strict=True):
                arguments += (packing.pack(family, each[:fixed]), _encoded(family, each[fixed:]))
        self._fenced(epoch, self._write, names, arguments)

    def scan(
        self, family: type[AnyRow], span: Span, limit: int, *, newest_first: bool = False
    ) -> list[AnyRow]:
        """Return rows in the order of their keys."""
        with self._translated():
            found = self._scan(self._names(family), [*_range(family, span), limit, int(newest_first)])
        return [
            cast("AnyRow", forms.make(family, (*packing.unpack(family, key), *_decoded(family, value))))
            for key, value in zip(found[::2], found[1::2], strict=True)
        ]

    def get(self, family: type[AnyRow], keys: Sequence[Key]) -> list[AnyRow]:
        """Return the rows that have these keys."""
        if not keys:
            return []
        with self._translated():
            found = self._redis.hmget(self._names(family)[0], [packing.pack(family, key) for key in keys])
        return [
            cast("AnyRow", forms.make(family, (*key, *_decoded(family, value))))
            for key, value in zip(keys, found, strict=True)
            if value is not None
        ]

    def remove(self, epoch: int, family: type[Row], spans: Sequence[Span], limit: int) -> int:
        """Remove rows, all or none."""
        ends = [end for span in spans for end in _range(family, span)]
        return self._fenced(epoch, self._remove, [self._term(), *self._names(family)], [epoch, limit, *ends])

    def count(self, family: type[Row], span: Span) -> int:
        """Return how many rows there are."""
        with self._translated():
            return int(self._redis.zlexcount(self._names(family)[1], *_range(family, span)))

    def tables(self) -> list[str]:
        """Return the ids of the clusters that have begun a term in it."""
        with self._translated():
            found = self._redis.scan_iter(match="alb:{*}:term", count=1000)
            return sorted(name.decode()[len("alb:{") : -len("}:term")] for name in found)

    def size_bytes(self) -> int:
        """Return what the whole server has in memory."""
        with self._translated():
            return int(self._redis.info("memory")["used_memory"])

    def _term(self) -> str:
        return f"{self._prefix}:term"

    def _names(self, family: type[Row]) -> list[str]:
        return [f"{self._prefix}:{family.family}", f"{self._prefix}:{family.family}:keys"]

    def _fenced(self, epoch: int, script: Any, names: list[str], arguments: list[Any]) -> int:
        with self._translated():
            outcome, number = script(names, arguments)
        if outcome == b"stale":
            raise StaleTerm(epoch, int(number))
        return int(number)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise _trouble(self._place, error) from error
        except OSError as error:
            raise StoreUnavailable(f"{self._place}: {error}") from error


def _trouble(place: str, error: redis.RedisError) -> StoreError:
    words = " ".join(str(error).split())
    why = f"{place}: {words}"[:500]
    if isinstance(error, _UNUSABLE) or words.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return StoreUnusable(why)
    if isinstance(error, redis.exceptions.ResponseError) and not any(word in words for word in _WAITS):
        return StoreUnusable(why)
    return StoreUnavailable(why)


def _range(family: type[Row], span: Span) -> tuple[bytes, bytes]:
    low, high = packing.bounds(family, span)
    if high is not None and high <= low:
        return b"+", b"-"  # nothing
    return (b"[" + low if low else b"-"), (b"+" if high is None else b"(" + high)


def _encoded(family: type[Row], values: tuple[Any, ...]) -> bytes:
    """Return the values beyond the key. Of a piece of output only the data: its length is compared."""
    if family.merge is Merge.LONGEST:
        return cast("bytes", values[0])
    return msgspec.msgpack.encode(values)


def _decoded(family: type[Row], value: bytes) -> Sequence[Any]:
    if family.merge is Merge.LONGEST:
        return (value,)
    return cast("Sequence[Any]", msgspec.msgpack.decode(value))
