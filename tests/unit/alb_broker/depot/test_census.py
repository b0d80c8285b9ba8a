"""Which census counts: the newest term's, and for a minute."""

from __future__ import annotations

import msgspec
import pytest

from alb_broker.depot.census import (
    DEPOTS_MAX,
    VALID_S,
    BadCensus,
    Knowledge,
    StaleCensus,
    digest_of,
    is_sealed,
    read_census,
    seal_of,
)
from alb_core.files import Census


def census(epoch: int = 1, table: str = "t", **used: int) -> Census:
    return Census(table=table, epoch=epoch, depots=("http://b1:1",), used=used)


def test_nothing_is_known_before_the_first() -> None:
    """So nothing may be removed."""
    knowledge = Knowledge()
    assert (knowledge.known, knowledge.depots(), knowledge.needed()) == (False, (), {})
    assert knowledge.used(0.0) is None


def test_an_old_census_protects_nothing_and_removes_nothing() -> None:
    """What is needed is still fetched; but what may be removed nobody knows."""
    knowledge = Knowledge()
    knowledge.hear(census(a=1), 10.0)
    assert knowledge.used(10.0 + VALID_S) == {"a": 1}
    assert knowledge.used(10.1 + VALID_S) is None
    assert knowledge.needed() == {"a": 1}


def test_an_earlier_term_is_refused() -> None:
    """A deposed leader would have files removed that the new one's tasks need."""
    knowledge = Knowledge()
    knowledge.hear(census(7, a=1), 0.0)
    with pytest.raises(StaleCensus, match="epoch 6 is over"):
        knowledge.hear(census(6), 1.0)
    knowledge.hear(census(1, table="another"), 2.0)  # terms of another table do not compare
    assert knowledge.needed() == {}


def test_who_leads_still_says_the_same() -> None:
    """The own broker's census is good as long as it leads; one that was heard since is the newer."""
    knowledge, mine = Knowledge(), census(1, a=1)
    knowledge.hear(mine, 0.0)
    knowledge.refresh(mine, 100.0)
    assert knowledge.used(100.0) == {"a": 1}
    knowledge.hear(census(2), 101.0)
    knowledge.refresh(mine, 300.0)
    assert knowledge.used(300.0) is None


def test_only_who_has_the_key_can_seal() -> None:
    """And only what was sealed; a depot without a key believes nobody on the network."""
    digest = digest_of(b"a census")
    seal = seal_of("key", digest)
    assert is_sealed("key", digest, seal)
    assert not is_sealed("another", digest, seal)
    assert not is_sealed("key", digest_of(b"another"), seal)
    assert not is_sealed("", digest, seal_of("", digest))
    for strange in ("\u00fc", "\udcfc"):
        assert not is_sealed("key", digest, strange)
        assert not is_sealed("key", strange, seal)


def test_what_was_sealed_is_read() -> None:
    """With its depots, as they are."""
    told = Census(table="t", epoch=1, depots=("http://b1:1", "http://[::1]:2"), used={"a": 1})
    data = msgspec.json.encode(told)
    assert read_census(data, digest_of(data)) == told


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "this is no census"),
        (b"\xff", "this is no census"),
        (b'{"table":"t","epoch":1,"depots":["ftp://b"],"used":{}}', "'ftp://b' is no address of a depot"),
        (b'{"table":"t","epoch":1,"depots":["http://b/x"],"used":{}}', "is no address of a depot"),
        (
            msgspec.json.encode(Census(table="t", epoch=1, depots=("http://b:1",) * 65, used={})),
            f"it names 65 depots; a cluster has {DEPOTS_MAX} at most",
        ),
    ],
)
def test_what_is_no_census_is_refused(data: bytes, says: str) -> None:
    """With a sentence."""
    with pytest.raises(BadCensus, match=says):
        read_census(data, digest_of(data))


def test_what_was_not_sealed_is_no_census() -> None:
    """The body is another one than that of the seal."""
    data = msgspec.json.encode(census())
    with pytest.raises(BadCensus, match="are not those of X-Alb-Digest"):
        read_census(data + b" ", digest_of(data))
