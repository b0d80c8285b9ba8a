"""What the results store need not keep leaves a real one, whoever leads."""

from __future__ import annotations

import pytest
from tests.harness import kill_leader, wait_for
from tests.store_rows import attempt, finished, load, output

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_broker.store.opening import open_store
from alb_core.ids import uuid7
from alb_core.rows import FinishedTask, LoadSample, Output, PastAttempt, Row, Span

DAY_S = 86_400.0
BOUNDS = {"ALB_STORE_KEEP_S": str(DAY_S), "ALB_STORE_BYTES": "0"}
OLD = 2000
ALL = Span()


@pytest.mark.parametrize("plan", [Plan(workers=1, store=True, environ=BOUNDS)], indirect=True)
def test_what_is_too_old_leaves_the_store(cluster: LocalCluster, client: Client) -> None:
    """The leader dies in the midst of it and the next one goes on; of what is young nothing is missing."""
    page = client.cluster()
    store = open_store(cluster.store, page.table)
    ended = page.now - 2 * DAY_S
    rows: list[Row] = [load("w0", ended)]
    for number in range(OLD):
        task = uuid7(int(ended * 1000) + number, bytes(10))
        rows += [finished(task, submitted=ended, finished=ended), attempt(task), output(task)]
    store.write(page.epoch, rows)
    assert client.submit("exit 3").result(timeout=60).exit_status == 3
    wait_for(lambda: store.count(FinishedTask, ALL) < OLD - 100, "the leader to begin")
    kill_leader(cluster)
    assert store.count(FinishedTask, ALL) > 1, "it was too quick for this test"
    wait_for(lambda: store.count(FinishedTask, ALL) == 1, "all old tasks to go")
    assert [store.count(family, ALL) for family in (Output, PastAttempt)] == [0, 1]
    wait_for(lambda: store.count(LoadSample, Span(prefix=("w0",))) == 0, "old samples to go")
    (young,) = store.scan(FinishedTask, ALL, 2)
    now = client.cluster()
    assert (young.exit_code, now.epoch > page.epoch, now.counters["store_tasks_cleared"] > 0) == (
        3,
        True,
        True,
    )
    store.close()
