"""Which files tasks need: counted as tasks come and go, and nothing is forgotten or kept too long."""

from __future__ import annotations

from alb_broker.core.inventory import Inventory
from alb_core.files import FileRef


def ref(number: int) -> FileRef:
    return FileRef(name=f"f{number}", sha256=f"{number:064x}", size_bytes=number)


def test_a_file_is_used_until_its_last_task_is_gone() -> None:
    """Two tasks need one; the other file goes with its only task."""
    inventory = Inventory()
    inventory.add((ref(1), ref(2)))
    inventory.add((ref(1),))
    assert inventory.used(()) == {ref(1).sha256: 1, ref(2).sha256: 2}
    inventory.remove((ref(1), ref(2)))
    assert inventory.used(()) == {ref(1).sha256: 1}
    inventory.remove((ref(1),))
    assert inventory.used(()) == {}


def test_what_came_back_is_used_as_long_as_the_result_is_there() -> None:
    """It ends with the finished task, of which nobody tells the inventory."""
    inventory = Inventory()
    inventory.finish("t1", (ref(3),))
    inventory.finish("t2", ())
    assert inventory.used({"t1", "t2"}) == {ref(3).sha256: 3}
    assert inventory.used({"t2"}) == {}
    assert inventory.used({"t1", "t2"}) == {}


def test_it_knows_whether_something_changed() -> None:
    """A task without files changes nothing."""
    inventory = Inventory()
    inventory.add(())
    inventory.finish("t1", ())
    assert not inventory.changed
    inventory.add((ref(1),))
    assert inventory.changed
    inventory.used(())
    assert not inventory.changed
    inventory.remove((ref(1),))
    assert inventory.changed


def test_the_newest_checkpoint_of_a_live_task_is_used() -> None:
    """The one before is not, nor is any when the task is live no more."""
    inventory = Inventory()
    old, new = (FileRef(name="state", sha256=digit * 64, size_bytes=7) for digit in "12")
    inventory.sought["t"] = None
    inventory.save("t", (old,))
    assert (inventory.changed, inventory.knows("t"), inventory.sought) == (True, True, {})
    inventory.save("t", (new,))
    assert inventory.used(()) == {new.sha256: 7}
    inventory.save("t", (new,))
    assert not inventory.changed
    inventory.forget("t")
    assert (inventory.changed, inventory.used(())) == (True, {})
