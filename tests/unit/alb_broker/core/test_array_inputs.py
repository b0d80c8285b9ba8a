"""Inputs: they fit into nodes, wherever they are cut, and come back in their order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.array_parts import ID

from alb_broker.core.array_inputs import NODE_BYTES, Inputs
from alb_core import zk, znodes

LINES = ("a", "b" * 3000, '"' * 9000, "\n" * 5000, "ü" * 6000)
PIECES = st.lists(st.lists(st.sampled_from(range(len(LINES))), max_size=9), max_size=5)


def stored(writes: list[tuple[int, zk.Operation]], into: dict[str, bytes]) -> None:
    """Carry writes out."""
    for _, write in writes:
        assert isinstance(write, zk.Create | zk.SetData)
        assert isinstance(write, zk.Create) is (write.path not in into)
        into[write.path] = write.data


@settings(max_examples=30, deadline=None)
@given(PIECES)
def test_all_lines_are_kept_in_nodes_that_fit(drawn: list[list[int]]) -> None:
    """However they come: each node holds neighbours, and is named after the first."""
    pieces = [[LINES[number] for number in piece] for piece in drawn]
    inputs, nodes = Inputs(ID), dict[str, bytes]()
    for piece in pieces:
        stored(inputs.add(piece), nodes)
    lines = [line for piece in pieces for line in piece]
    assert inputs.total == len(lines)
    assert [znodes.inputs_path(ID, first) for first in inputs.firsts] == sorted(nodes)
    read = [line for path in sorted(nodes) for line in znodes.decode_inputs(path, nodes[path])]
    assert read == lines
    assert all(len(data) <= NODE_BYTES + 2 for data in nodes.values())
    for position in range(len(lines)):
        path = znodes.inputs_path(ID, inputs.node_of(position))
        assert lines[position] in znodes.decode_inputs(path, nodes[path])


def test_a_write_says_how_many_there_are_after_it() -> None:
    """So what counts is what is written."""
    inputs = Inputs(ID)
    writes = inputs.add(["x"] * 2500)
    assert [total for total, _ in writes] == [1000, 2000, 2500]
    assert [total for total, _ in inputs.add(["y"])] == [2501]


def test_the_last_node_grows_as_long_as_it_is_in_memory() -> None:
    """A leader that found it begins another one."""
    inputs = Inputs(ID)
    inputs.add(["a"])
    ((_, write),) = inputs.add(["b"])
    assert write == zk.SetData(znodes.inputs_path(ID, 0), b'["a","b"]')
    found = Inputs(ID, [0], 2)
    ((total, write),) = found.add(["c"])
    assert (total, write) == (3, zk.Create(znodes.inputs_path(ID, 2), b'["c"]'))


def test_only_what_is_needed_soon_stays_in_memory() -> None:
    """The node at the cursor, the next one, and the last one while it grows."""
    inputs = Inputs(ID)
    inputs.add([str(number) for number in range(5500)])
    inputs.drop_before(1500, written=5500, growing=True)
    assert [inputs.at(position) for position in (0, 1000, 2999, 3000, 5200)] == [
        None, "1000", "2999", None, "5200"
    ]  # fmt: skip
    inputs.drop_before(1500, written=5500, growing=False)
    assert inputs.at(5200) is None
    inputs.load(3000, [str(number) for number in range(3000, 4000)])
    assert inputs.at(3999) == "3999"


def test_what_is_not_in_the_table_yet_stays_in_memory() -> None:
    """Read again before its write is answered it would be taken for lost."""
    inputs = Inputs(ID)
    inputs.add([str(number) for number in range(5500)])
    inputs.drop_before(0, written=4100, growing=False)
    assert [inputs.at(position) for position in (2999, 3999, 4099, 5200)] == [None, None, "4099", "5200"]
    inputs.drop_before(0, written=5500, growing=False)
    assert inputs.at(5200) is None


def test_the_nodes_of_a_range_are_those_that_hold_some_of_it() -> None:
    """None beyond the last input."""
    inputs = Inputs(ID, [0, 10, 25], 40)
    assert inputs.nodes_between(9, 11) == [0, 10]
    assert inputs.nodes_between(30, 99) == [25]
    assert inputs.nodes_between(40, 50) == []
    assert Inputs(ID).nodes_between(0, 9) == []
