"""Questions about arrays: lists, and how positions ended, from memory and from ZooKeeper."""

from __future__ import annotations

from typing import Any

from tests.array_parts import ECHO, ID, array_spec, finish, leader, nodes, stretch, submit_array
from tests.broker_parts import C1, Desks, of_type, task_id, to_client

from alb_core import zk
from alb_core.arrays import Stride
from alb_core.messages import ArrayPage, ArraysPage, Cancel, Error, QueryArray, QueryArrays
from alb_core.tasks import TaskState


def ask(each: Desks, query: Any) -> Any:
    """Ask, answer every read from what was written, and return the answer."""
    actions = each.client(query)
    while reads := of_type(zk.ReadNodes, actions):
        written, actions = nodes(each), []
        for asked in reads:
            found = tuple(
                zk.NodeRead(path=path, data=written[path], stat=zk.NO_STAT) if path in written else None
                for path in asked.paths
            )
            each.array_pages.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=found))
            actions += each.state.take_out()
    (answer,) = to_client(C1, actions + each.commit())
    return answer


def test_a_page_tells_what_has_ended() -> None:
    """What goes on is in no stretch."""
    each = leader(submit_array(array_spec(Stride(10, 19))), cpus=10.0)
    finish(each, 10, 11, 14)
    finish(each, 12, exit_code=3)
    page = ask(each, QueryArray(seq=5, id=ID))
    assert isinstance(page, ArrayPage)
    assert page.stretches == (stretch(0, 2), stretch(2, 1, TaskState.FAILED, 3), stretch(4, 1))
    assert (page.seq, page.until, page.array.running) == (5, 10, 6)


def test_a_finished_array_is_read_from_zookeeper() -> None:
    """All of it, page by page, with its inputs."""
    lines = [f"line {number}" for number in range(30)]
    each = leader(submit_array(array_spec(task=ECHO), *lines), cpus=30.0)
    finish(each, *range(1, 31))
    each.state.arrays.by_id[ID].inputs._loaded.clear()
    page = ask(each, QueryArray(seq=1, id=ID, inputs=True))
    assert page.stretches == (stretch(0, 30),)
    assert page.inputs == tuple(lines)
    rest = ask(each, QueryArray(seq=1, id=ID, after=20, inputs=True))
    assert (rest.stretches, rest.inputs) == ((stretch(20, 10),), tuple(lines[20:]))
    assert ask(each, QueryArray(seq=1, id=ID, after=99)).stretches == ()


def test_what_was_never_made_is_cancelled_with_the_array() -> None:
    """And what was cancelled ahead is shown before its turn."""
    each = leader(submit_array(array_spec(Stride(1, 9), at_once=1)))
    each.client(Cancel(id=ID, strides=(Stride(4, 5),)))
    each.commit()
    cancelled = TaskState.CANCELLED
    assert ask(each, QueryArray(seq=1, id=ID)).stretches == (stretch(3, 2, cancelled, 125),)
    each.client(Cancel(id=ID))
    each.turn()
    assert ask(each, QueryArray(seq=1, id=ID)).stretches == (stretch(0, 9, cancelled, 125),)


def test_a_read_without_an_answer_is_asked_again() -> None:
    """The question is not lost."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=2.0)
    finish(each, 1, 2)
    (asked,) = of_type(zk.ReadNodes, each.client(QueryArray(seq=3, id=ID)))
    each.array_pages.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=None))
    assert [read.paths for read in of_type(zk.ReadNodes, each.tick(0.2))] == [asked.paths]


def test_an_unknown_array_is_gone() -> None:
    """With the question's number."""
    answer = ask(leader(), QueryArray(seq=4, id=task_id(4)))
    assert isinstance(answer, Error)
    assert (answer.code, answer.seq) == ("gone", 4)


def test_arrays_are_listed_by_their_ids() -> None:
    """Those that begin so, of this user, after the page before."""
    spec = array_spec(Stride(1, 2))
    each = leader(*(submit_array(spec, number=number) for number in (3, 1, 2)))
    page = ask(each, QueryArrays(seq=1))
    assert isinstance(page, ArraysPage)
    assert [line.id for line in page.arrays] == [task_id(1), task_id(2), task_id(3)]
    assert [line.id for line in ask(each, QueryArrays(seq=1, cursor=task_id(2))).arrays] == [task_id(3)]
    assert ask(each, QueryArrays(seq=1, user="bob")).arrays == ()
    assert [line.id for line in ask(each, QueryArrays(seq=1, prefix=task_id(2))).arrays] == [task_id(2)]


def test_how_one_task_ended_is_looked_up() -> None:
    """Once its chunk was read."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=2.0)
    finish(each, 1)
    finish(each, 2, exit_code=1)
    assert each.array_pages.look_up(f"{ID}.2") is None
    assert each.array_pages.look_up(f"{ID}.1") is None
    (asked,) = of_type(zk.ReadNodes, each.state.take_out())
    node = zk.NodeRead(path=asked.paths[0], data=nodes(each)[asked.paths[0]], stat=zk.NO_STAT)
    each.array_pages.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=(node,)))
    assert each.array_pages.look_up(f"{ID}.2") is TaskState.FAILED
