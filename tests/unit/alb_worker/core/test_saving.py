"""Checkpoints: increments leave behind the save that began after them; saves are rare; the last counts."""

from __future__ import annotations

import pytest
from tests.worker_parts import attempt

from alb_core import limits
from alb_core.files import FileRef
from alb_core.increments import Line, checkpoint_line
from alb_worker.core.saving import REPEAT_LINES, SaveOrder, Saving, Seen, Verdict

A1 = attempt(1)
EVERY = limits.CHECKPOINT_S
ONE, TWO = (Line("n", str(number)) for number in (1, 2))


def file(version: int) -> FileRef:
    """Return a file that is saved."""
    return FileRef(name="state", sha256=f"{version:064x}", size_bytes=version)


def running(saved: tuple[FileRef, ...] = ()) -> Saving:
    """Return what knows one attempt, which runs since 0 s."""
    saving = Saving()
    saving.begin(A1, ("state",), saved)
    saving.on_started(0.0, A1, "/d")
    return saving


def save(saving: Saving, at: float, version: int, trouble: str = "") -> Verdict:
    """Have the save made that is due."""
    (order,) = saving.due(at)
    assert (order.directory, order.last) == ("/d", False)
    return answer(saving, at, version, trouble)


def answer(saving: Saving, at: float, version: int, trouble: str = "") -> Verdict:
    """Have a save end."""
    seen = (Seen(ref=file(version), stamp=(version,)),)
    return saving.on_saved(at, A1, () if trouble else (file(version),), () if trouble else seen, trouble)


def end(saving: Saving, directory: str = "/kept", *, killed: bool = False) -> SaveOrder | Verdict | None:
    """Let the command end."""
    saving.on_ended(A1, directory, killed=killed)
    return saving.last(20.0, A1)


def test_increments_leave_behind_their_checkpoint() -> None:
    """Those that were reported before the save began; the others with the next one."""
    saving = running()
    assert saving.on_reported(A1, [ONE])
    assert saving.due(EVERY - 0.1) == []
    (order,) = saving.due(EVERY)
    assert order == SaveOrder(attempt=A1, directory="/d", patterns=("state",), seen=(), last=False)
    saving.on_reported(A1, [TWO])
    assert saving.due(3 * EVERY) == [], "one at a time"
    assert answer(saving, EVERY, 1).lines == (checkpoint_line((file(1),)), ONE)
    (order,) = saving.due(2 * EVERY)
    assert [each.ref for each in order.seen] == [file(1)]
    assert answer(saving, 2 * EVERY, 1).lines == (TWO,), "nothing changed"
    assert save(saving, 3 * EVERY, 2).lines == (checkpoint_line((file(2),)),), "also without increments"


def test_a_slow_save_rests_as_long_as_it_took() -> None:
    """What is large must not be moved all the time."""
    saving = running()
    saving.due(5.0)
    answer(saving, 35.0, 1)
    assert saving.due(64.9) == []
    assert saving.due(65.0) != []


def test_others_are_not_concerned() -> None:
    """Attempts without checkpoints."""
    assert not Saving().on_reported(A1, [ONE])
    assert A1 not in Saving()


def test_what_cannot_be_saved_waits() -> None:
    """And is told once; the next save covers it."""
    saving = running()
    saving.on_reported(A1, [ONE])
    assert save(saving, 5.0, 0, "the disk is full") == Verdict(trouble="the disk is full")
    assert save(saving, 10.0, 0, "the disk is full") == Verdict()
    assert save(saving, 15.0, 1).lines == (checkpoint_line((file(1),)), ONE)


def test_a_checkpoint_is_recorded_again_among_many_increments() -> None:
    """Whoever looks at the newest ones finds it; also one of an earlier attempt."""
    saving = running(saved=(file(1),))
    saving.on_reported(A1, [ONE] * (2 * REPEAT_LINES + 1))
    lines = save(saving, 5.0, 1).lines
    places = [place for place, line in enumerate(lines) if line == checkpoint_line((file(1),))]
    assert places == [0, REPEAT_LINES + 1, 2 * REPEAT_LINES + 2]
    assert len(lines) == 2 * REPEAT_LINES + 4


def test_no_checkpoint_is_recorded_where_nothing_was_ever_saved() -> None:
    """The patterns match nothing yet."""
    saving = running()
    saving.on_reported(A1, [ONE])
    saving.due(5.0)
    assert saving.on_saved(5.0, A1, (), (), "").lines == (ONE,)


def test_what_ended_by_itself_is_saved_only_for_its_increments() -> None:
    """Without some that wait, what was stored is covered already."""
    saving = running()
    save(saving, 5.0, 1)
    assert end(saving) == Verdict()
    assert A1 not in saving
    saving = running()
    saving.on_reported(A1, [ONE])
    order = end(saving)
    assert isinstance(order, SaveOrder)
    assert (order.directory, order.last) == ("/kept", True)
    verdict = answer(saving, 21.0, 2)
    assert (verdict.lines, verdict.over) == ((checkpoint_line((file(2),)), ONE), True)
    assert saving.settle(A1) == Verdict()


def test_the_last_save_follows_the_one_under_way() -> None:
    """That one covers nothing of what was reported since."""
    saving = running()
    saving.due(5.0)
    saving.on_reported(A1, [ONE])
    assert end(saving) is None
    assert not answer(saving, 20.0, 1).over
    order = saving.last(20.0, A1)
    assert isinstance(order, SaveOrder)
    assert answer(saving, 20.0, 1).lines == (ONE,)


@pytest.mark.parametrize("resumes", [True, False])
def test_what_is_not_saved_is_done_again_or_told_without(*, resumes: bool) -> None:
    """Done again where the task goes on elsewhere; told where it is over and nobody can do it again."""
    saving = running()
    saving.on_reported(A1, [ONE])
    if resumes:
        saving.on_killed(A1, resumes=True)
    assert isinstance(end(saving, killed=resumes), SaveOrder)
    saving.on_killed(A1, resumes=True)
    assert answer(saving, 21.0, 0, "no depot").trouble == "no depot"
    dropped = Verdict(trouble="no depot", dropped=1)
    assert saving.settle(A1) == (dropped if resumes else Verdict(lines=(ONE,), trouble="no depot"))


def test_a_killed_attempt_saves_what_it_has() -> None:
    """Also where nothing was reported, for its task goes on elsewhere."""
    saving = running()
    saving.on_killed(A1, resumes=True)
    assert isinstance(end(saving, killed=True), SaveOrder)


def test_a_cancelled_attempt_saves_nothing() -> None:
    """Nobody goes on with it; its increments are told."""
    saving = running()
    saving.on_reported(A1, [ONE])
    saving.on_killed(A1, resumes=False)
    saving.due(5.0)
    saving.on_reported(A1, [TWO])
    assert end(saving, killed=True) == Verdict(lines=(ONE, TWO)), "nor does it wait for the save under way"


def test_a_command_without_a_directory_cannot_be_saved() -> None:
    """It removed it: where that matters, it is said."""
    saving = running()
    saving.on_reported(A1, [ONE])
    verdict = end(saving, directory="")
    assert isinstance(verdict, Verdict)
    assert (verdict.lines, "removed the directory" in verdict.trouble) == ((ONE,), True)
    assert end(running(), directory="") == Verdict()
