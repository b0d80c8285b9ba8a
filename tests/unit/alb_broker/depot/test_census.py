"""Which census counts: the newest term's, and for a minute."""

from __future__ import annotations

import pytest

from alb_broker.depot.census import VALID_S, Knowledge, StaleCensus
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
