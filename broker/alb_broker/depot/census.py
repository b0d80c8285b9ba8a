"""Which of the leaders' censuses counts: the newest term's, and only for a while; and by what it is known.

Until a depot has heard one, and when the last one is old, it removes nothing. A depot hears its own broker by
its standard input, and others by the network, where a seal shows that they have its key: from ZooKeeper.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

import msgspec

from alb_core.errors import AlbError
from alb_core.files import Census

VALID_S: Final = 60.0
#: An older census says nothing of what may be removed.
DEPOTS_MAX: Final = 64
#: One beside each broker, of which a cluster has three or five.
DIGEST: Final = "X-Alb-Digest"
#: The header with the SHA-256 of a census, in hex.
SEAL: Final = "X-Alb-Seal"
#: The header with the seal of that digest, in hex.

_DEPOT: Final = re.compile(r"http://[^\s/@?#]{1,255}\Z")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker tells its own depot: one line of JSON each."""

    census: Census | None
    #: None: this broker leads no more.
    keys: dict[str, str] = {}
    #: By which the depots believe it, by their addresses.


class BadCensus(AlbError):
    """Raised when what came as a census is none. Sending it again does not help."""


class StaleCensus(AlbError):
    """Raised when a census comes from a leader that was deposed."""


def digest_of(data: bytes) -> str:
    """Return what is sealed of a census."""
    return hashlib.sha256(data).hexdigest()


def seal_of(key: str, digest: str) -> str:
    """Return the seal that only who has the key can make: HMAC-SHA256, in hex."""
    return hmac.new(key.encode(), _bytes_of(digest), hashlib.sha256).hexdigest()


def is_sealed(key: str, digest: str, seal: str) -> bool:
    """Tell whether who has the key vouches for the bytes of this digest; without a key nobody can."""
    return bool(key) and hmac.compare_digest(seal_of(key, digest).encode(), _bytes_of(seal))


def _bytes_of(header: str) -> bytes:
    """Return what came: any bytes, of which some are no text."""
    return header.encode("utf-8", "surrogateescape")


def read_census(data: bytes, digest: str) -> Census:
    """Return the census that came by the network.

    Args:
        data: Its JSON.
        digest: What was sealed of it.

    Raises:
        BadCensus: It is not what was sealed, or none.
    """
    if digest_of(data) != digest:
        raise BadCensus(f"the {len(data)} bytes that came are not those of {DIGEST}")
    try:
        census = msgspec.json.decode(data, type=Census)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCensus(f"this is no census: {error}") from error
    if len(census.depots) > DEPOTS_MAX:
        raise BadCensus(f"it names {len(census.depots)} depots; a cluster has {DEPOTS_MAX} at most")
    for depot in census.depots:
        if not _DEPOT.match(depot):
            raise BadCensus(f"{depot[:80]!r} is no address of a depot: http://HOST:PORT")
    return census


class Knowledge:
    """The newest census that a depot heard."""

    def __init__(self) -> None:
        self._census: Census | None = None
        self._heard_at = float("-inf")

    def hear(self, census: Census, at: float) -> None:
        """Take a census.

        Args:
            census: From the leader, or from one that was.
            at: Monotonic seconds.

        Raises:
            StaleCensus: A later leader of the same table was heard before.
        """
        known = self._census
        if known is not None and known.table == census.table and known.epoch > census.epoch:
            raise StaleCensus(f"epoch {census.epoch} is over: the depots were counted in {known.epoch}")
        self._census = census
        self._heard_at = at

    def refresh(self, census: Census, at: float) -> None:
        """The leader still says the same; nothing where another was heard since."""
        if self._census is census:
            self._heard_at = at

    @property
    def known(self) -> bool:
        """Whether any census was heard."""
        return self._census is not None

    def depots(self) -> tuple[str, ...]:
        """Return all depots, as far as they are known."""
        return () if self._census is None else self._census.depots

    def needed(self) -> dict[str, int]:
        """Return every file that a task needs, by what was heard last, and its size."""
        return {} if self._census is None else self._census.used

    def used(self, at: float) -> dict[str, int] | None:
        """Return the files that must not be removed; None: nobody knows at present."""
        return None if self._census is None or at - self._heard_at > VALID_S else self._census.used
