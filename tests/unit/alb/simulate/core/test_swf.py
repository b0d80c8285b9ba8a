"""Workload logs in the Standard Workload Format: what is read, and what is made of nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb.simulate.core.swf import read_swf
from alb_core.errors import ConfigError
from alb_core.limits import TIME_LIMIT_S_MAX
from alb_core.resources import Request

NAMES = (
    "job submitted waited run used_cpus cpu_s used_kib cpus limit kib status user group executable queue "
    "partition before think"
)
#: Of the fields of a line.


def line(**fields: object) -> str:
    """Return a job's line; every field that is not given is unknown."""
    names = NAMES.split()
    values = dict.fromkeys(names, "-1") | {
        "job": "1",
        "submitted": "0",
        "run": "60",
        "cpus": "1",
        "status": "1",
    }
    return " ".join(str(value) for value in (values | fields).values())


def test_a_line_is_a_job() -> None:
    """Memory is asked for by the processor, in KiB; the user's estimate is the limit; times begin at 0."""
    log = [
        "; Version: 2.2",
        "; MaxProcs: 338",
        line(submitted=100, run=30, cpus=2, kib=1024, limit=600, user=7, executable=4),
        "",
        line(submitted=160, run=5.5, cpus=1),
    ]
    trace = read_swf(log, "a log")
    first, second = trace.jobs
    assert (first.submitted, first.run_s, first.user, first.name) == (0.0, 30.0, "user7", "exe4")
    assert first.request == Request(2.0, 2 << 20)
    assert first.time_limit_s == 600.0
    assert (second.submitted, second.run_s, second.user, second.time_limit_s) == (60.0, 5.5, "unknown", None)
    assert (trace.cpus, trace.remarks) == (338.0, [])


def test_what_is_unknown_is_taken_from_elsewhere() -> None:
    """Processors and memory that were used, where nobody says what was asked; else nothing."""
    (used,) = read_swf([line(cpus=-1, used_cpus=4, used_kib=512)], "a log").jobs
    assert used.request == Request(4.0, 2 << 20)
    (plain,) = read_swf([line()], "a log").jobs
    assert plain.request == Request(1.0, 0)


def test_who_ran_longer_than_asked_was_not_stopped_there() -> None:
    """So its limit is what it took, and never beyond what a task may have."""
    (late,) = read_swf([line(run=700, limit=600)], "a log").jobs
    assert late.time_limit_s == 700.0
    (wide,) = read_swf([line(limit=10**12)], "a log").jobs
    assert wide.time_limit_s == TIME_LIMIT_S_MAX


def test_the_order_is_that_of_the_submissions() -> None:
    """Whatever order the lines have."""
    jobs = read_swf([line(submitted=50, user=2), line(submitted=20, user=1)], "a log").jobs
    assert [(each.user, each.submitted) for each in jobs] == [("user1", 0.0), ("user2", 30.0)]


def test_what_never_ran_is_left_out_and_counted() -> None:
    """Cancelled in the queue, parts of checkpointed jobs, unknown sizes."""
    log = [line(), line(run=0), line(run=-1), line(status=2), line(status=5), line(cpus=0)]
    trace = read_swf(log, "a log")
    assert len(trace.jobs) == 2
    assert [remark.partition(":")[0] for remark in trace.remarks] == [
        "2 jobs left out",
        "1 job left out",
        "1 job left out",
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "1 2 3",
        line() + " 19",
        line(run="sixty"),
        line(run="nan"),
        line(cpus="inf"),
        line(submitted=-5),
        line(cpus=10**7),
        line(run=10**9),
        "\x00\x01\x02",
        "9" * 100_000,
    ],
)
def test_a_bad_line_is_counted_and_named(bad: str) -> None:
    """The others are read; the remark says which line it was and what is wrong with it."""
    trace = read_swf([line(), bad], "a log")
    assert len(trace.jobs) == 1
    (remark,) = trace.remarks
    assert remark.startswith("1 line left out that are no jobs: line 2: ")
    assert len(remark) < 300


def test_many_bad_lines_are_not_all_shown() -> None:
    """But counted."""
    trace = read_swf([line(), *["x"] * 500], "a log")
    assert trace.remarks[0].startswith("500 lines left out")
    assert trace.remarks[0].count("line ") < 10


@pytest.mark.parametrize("log", [[], ["; only comments"], ["x y z"], [line(run=-1)]])
def test_a_log_without_jobs_is_an_error(log: list[str]) -> None:
    """It says what there was instead."""
    with pytest.raises(ConfigError, match="a log holds no job"):
        read_swf(log, "a log")


@given(st.lists(st.one_of(st.text(max_size=80), st.lists(st.integers(), min_size=18, max_size=18))))
def test_nothing_breaks_it(lines: list[str | list[int]]) -> None:
    """Whatever a file holds, it is read or refused; what is read can be replayed."""
    texts = [each if isinstance(each, str) else " ".join(map(str, each)) for each in lines]
    try:
        trace = read_swf(texts, "a log")
    except ConfigError:
        return
    for job in trace.jobs:
        assert job.run_s > 0
        assert job.request.cpus > 0
        assert job.request.memory_bytes >= 0
