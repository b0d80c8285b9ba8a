"""When the leader tells the depots what it knows: soon after a change, and now and then anyway."""

from __future__ import annotations

from tests.broker_parts import Desks

from alb_broker.core.actions import TellDepots
from alb_broker.core.file_desk import CENSUS_EVERY_S, CENSUS_SOON_S, FileDesk
from alb_broker.core.members import Members
from alb_core.files import FileRef

OWN, OTHER = "http://b1:1", "http://b2:1"
FILE = FileRef(name="a", sha256="1" * 64, size_bytes=5)


class Stage:
    """A desk, and a clock that goes on."""

    def __init__(self, *depots: str) -> None:
        self.state = Desks().state
        self.know({depot: f"key of {depot}" for depot in depots})
        self.desk = FileDesk(self.state)

    def know(self, keys: dict[str, str]) -> None:
        """Let these be the depots, and their keys."""
        self.state.members = Members(depots=tuple(keys), depot_keys=keys)

    def after(self, seconds: float) -> list[TellDepots]:
        """Return what the depots are told when so much time has passed."""
        self.state.at += seconds
        self.desk.tick()
        return [action for action in self.state.take_out() if isinstance(action, TellDepots)]


def test_it_is_told_at_once_and_now_and_then() -> None:
    """Term, table, depots and files; nobody may take an old census for a new one."""
    stage = Stage(OWN, OTHER)
    (told,) = stage.after(0.0)
    assert told.census is not None
    assert (told.census.epoch, told.census.table) == (stage.state.epoch, stage.state.claim.table)
    assert (told.census.depots, told.census.used) == ((OWN, OTHER), {})
    assert told.keys == {OWN: f"key of {OWN}", OTHER: f"key of {OTHER}"}
    assert stage.after(CENSUS_EVERY_S - 1) == []
    assert len(stage.after(1.0)) == 1


def test_a_change_is_told_soon() -> None:
    """A file that a task needs, or another depot; but never more often than it costs."""
    stage = Stage(OWN)
    stage.after(0.0)
    stage.state.table.files.add((FILE,))
    assert stage.after(CENSUS_SOON_S / 2) == []
    (told,) = stage.after(CENSUS_SOON_S / 2)
    assert told.census is not None
    assert told.census.used == {FILE.sha256: 5}
    stage.know({OWN: f"key of {OWN}", OTHER: f"key of {OTHER}"})
    (told,) = stage.after(CENSUS_SOON_S)
    assert told.census is not None
    assert told.census.depots == (OWN, OTHER)


def test_a_depot_with_another_key_is_told_soon() -> None:
    """Its broker was started again at the same address."""
    stage = Stage(OWN, OTHER)
    stage.after(0.0)
    stage.know({OWN: f"key of {OWN}", OTHER: "another"})
    (told,) = stage.after(CENSUS_SOON_S)
    assert told.keys[OTHER] == "another"


def test_brokers_without_depots_are_told_nothing() -> None:
    """As those of an earlier version."""
    assert Stage().after(100.0) == []
