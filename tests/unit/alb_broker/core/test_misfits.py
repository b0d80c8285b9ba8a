"""Why a request can run nowhere: the one thing that nobody has, or all that is asked of one worker."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import make_worker, request

from alb_broker.core.misfits import why_misfit
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_core.resources import counts_of


def workers(*each: Worker) -> Workers:
    """Return these workers as the leader knows them."""
    known = Workers()
    for worker in each:
        known.add(worker)
    return known


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"archs": ("riscv64", "s390x")},
            "riscv64 or s390x: there are aarch64, x86_64; it waits",
        ),
        (
            {"labels": ("kind=sqlite", "gpu")},
            "no worker has the label kind=sqlite; it waits",
        ),
        (
            {"archs": ("aarch64",), "labels": ("gpu",)},
            "1 cpus, the label gpu and the architecture aarch64 of one worker",
        ),
        ({"cpus": 9.0}, "it asks 9 cpus of one worker; the largest has 8 cpus"),
        ({"cpus": 1.0, "net_bps": 10**6}, "and none knows its bandwidth, so nothing that reserves any runs"),
        (
            {"memory_bytes": 3 << 40, "net_bps": 10**9},
            "it asks 1 cpus, 3072 GiB of memory and 1000 Mbit/s of one worker",
        ),
        ({"archs": ("x86_64",)}, ""),
    ],
)
def test_what_no_worker_could_ever_run_is_told_why(fields: dict[str, Any], says: str) -> None:
    """The one thing that nobody has, or else all that is asked of one worker."""
    known = workers(
        make_worker("x", 8, arch="x86_64", labels=("gpu", "kind=python")), make_worker("a", 1, arch="aarch64")
    )
    why = known.why_never(request(**fields))
    assert (says in why, bool(why)) == (True, bool(says))


def test_a_label_that_everybody_has_and_none_may_is_said() -> None:
    """It is not a label that somebody lacks."""
    known = workers(make_worker("x", 8, labels=("zone=b",)), make_worker("a", 1, labels=("zone=b", "gpu")))
    why = known.why_never(request(labels=("zone!=b", "gpu")))
    assert why == "every worker has the label zone=b; it waits for one that has not"
    assert "no worker has the label ssd" in known.why_never(request(labels=("ssd", "zone!=c")))


def test_a_count_that_nobody_has_is_said() -> None:
    """By name where no worker has any, in numbers where none has so many."""
    known = workers(make_worker("w1", counts=counts_of({"licence": 2})))
    both = request(counts=counts_of({"dongle": 1, "licence": 1}))
    assert "no worker has the resource dongle" in known.why_never(both)
    assert "3 licence" in known.why_never(request(counts=counts_of({"licence": 3})))
    assert known.why_never(request(counts=counts_of({"licence": 2}))) == ""
    assert "the label zone=a" in known.why_never(request(labels=("zone=a",)))
    assert known.why_never(request(labels=("zone!=a",))) == ""


def test_where_nobody_is_a_worker_is_to_be_started() -> None:
    """And how."""
    assert why_misfit(request(), []) == "there are no workers; start one with alb worker"
