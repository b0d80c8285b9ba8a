"""Commands by their form: what is the same work has the same name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb.analysis.core.commands import FORM_LENGTH, form_of


@pytest.mark.parametrize(
    ("command", "program", "form"),
    [
        ("true", "true", "true"),
        ("/usr/bin/gzip -9 /data/part-17.csv", "gzip", "gzip -9 *.csv"),
        ("convert in17.tif out-0042.png", "convert", "convert inN.tif out-N.png"),
        ("python3 train.py --seed=7 --lr 0.001", "python3", "python3 train.py --seed=N --lr N"),
        ("sh -c 'cd /srv/x && ./import --batch 9 /new/9.xml'", "import", "import --batch N *.xml"),
        ("bash -lc 'exec nice -n 5 make all'", "make", "make all"),
        ("LANG=C env X=1 timeout 10 sleep 3", "sleep", "sleep N"),
        ("timeout -k 5 10 sleep 3", "sleep", "sleep N"),
        ("fetch 3f2a9c81d0 deadbeef", "fetch", "fetch N deadbeef"),
        ("a b c d e f g h i j", "a", "a b c d e f g h …"),
        ("", "", ""),
        ("X=1", "", ""),
        ("env", "env", "env"),
        ("echo 'open", "echo", "echo 'open"),
        ("tool --out=/a/b/c.json", "tool", "tool --out=*.json"),
    ],
)
def test_the_program_and_its_form(command: str, program: str, form: str) -> None:
    """Folders, numbers, files, wrappers and shells are not what a command is."""
    assert form_of(command) == (program, form)


@given(st.text(max_size=200))
def test_any_command_has_a_short_form(command: str) -> None:
    """Whatever people submit: no exception, a bounded length, and the same the next time."""
    program, form = form_of(command)
    assert len(program) <= FORM_LENGTH
    assert len(form) <= FORM_LENGTH
    assert form_of(command) == (program, form)
