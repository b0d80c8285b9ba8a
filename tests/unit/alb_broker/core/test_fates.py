"""Which fates make a dependency come true, and where they are found."""

from __future__ import annotations

import pytest
from tests.broker_parts import Desks, ended, submit, task_id

from alb_broker.core.fates import Fate, is_met
from alb_core.spec import After, Dependency

OPEN = {Fate.NONE, Fate.UNKNOWN, Fate.GOING}


@pytest.mark.parametrize(
    ("after", "good", "bad"),
    [
        (After.STARTED, {Fate.STARTED, Fate.SUCCEEDED, Fate.FAILED}, set()),
        (After.ENDED, {Fate.SUCCEEDED, Fate.FAILED}, set()),
        (After.SUCCEEDED, {Fate.SUCCEEDED}, {Fate.FAILED}),
        (After.FAILED, {Fate.FAILED}, {Fate.SUCCEEDED}),
    ],
)
def test_each_kind_has_its_fates(after: After, good: set[Fate], bad: set[Fate]) -> None:
    """Some make it come true, some make it impossible, all others leave it open."""
    found = {fate: is_met(Dependency(after, task_id(1)), fate) for fate in Fate}
    assert {fate for fate, met in found.items() if met} == good
    assert {fate for fate, met in found.items() if met is False} == bad
    assert {fate for fate, met in found.items() if met is None} >= OPEN


def test_what_is_not_in_the_table_yet_has_not_happened() -> None:
    """A placement and an end count once they are committed: a failover could undo them."""
    each = Desks()
    each.greet("ann")
    each.join()
    each.client(submit(1))
    assert each.fates.of(task_id(1)) is Fate.GOING
    each.turn()
    assert each.fates.of(task_id(1)) is Fate.STARTED
    each.worker(ended(1, exit_code=1))
    assert each.fates.of(task_id(1)) is Fate.GOING
    each.commit()
    assert each.fates.of(task_id(1)) is Fate.FAILED
    assert each.fates.of(task_id(2)) is Fate.UNKNOWN


def test_other_sources_are_asked_for_what_the_table_does_not_hold() -> None:
    """Whoever knows arrays tells their fate, and the table is asked first."""
    each = Desks()
    each.greet("ann")
    each.fates.sources.append(lambda task: Fate.SUCCEEDED if task == task_id(9) else None)
    assert (each.fates.of(task_id(9)), each.fates.of(task_id(8))) == (Fate.SUCCEEDED, Fate.UNKNOWN)
