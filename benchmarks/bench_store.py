"""How many rows a second the results store takes, through its thread, on PostgreSQL and on SQLite.

Output of 1 KiB a row, and for every twenty of them a finished task and its attempt. The floor writes the same
rows with the same driver and nothing else, 500 a transaction.
"""

from __future__ import annotations

import os
import time
from queue import SimpleQueue
from statistics import median
from typing import Any, Final

from alb import Client
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from alb_broker.store.events import StoreAway, StoreEvent, StoreFenced, StoreWritten
from alb_broker.store.opening import open_store
from alb_broker.store.thread import StoreThread
from alb_core.columns import columns_of
from alb_core.io.clock import new_id
from alb_core.rows import FinishedTask, Output, PastAttempt, Row, Span
from bench_throughput import cluster_rate
from databases import insert_all, postgresql, settle
from figures import against_floor, floor_median, measure_against, measured_median
from ground import BenchmarkFailed, Ground, say, stopped
from script import Figures, Size, run

ROW_BYTES: Final = 1024
ROWS_A_TASK: Final = 20
PATIENCE_S: Final = 120.0
TASKS_A_ROW_TASK: Final = 5
#: Commands of one measured run of a cluster, for each task of the rows.
PAIRS: Final = 5


def measure(ground: Ground, size: Size) -> Figures:
    """Measure both databases, and report the one that is worse against its floor."""
    with postgresql(ground.folder / "postgresql") as url:
        found = {"postgresql": against(url, size) | cost(ground, url, size)}
    url = f"sqlite:///{ground.folder / 'store.db'}"
    found["sqlite"] = against(url, size) | cost(ground, url, size)
    worse = min(found.values(), key=lambda figures: figures["ratio"])
    return {
        **worse,
        "throughput_cost": max(figures["throughput_cost"] for figures in found.values()),
        **{f"{database}_{name}": found[database][name] for database in found for name in NAMES},
        "rows": size.tasks * (ROWS_A_TASK + 2),
    }


NAMES: Final = ("rows_per_s", "floor_per_s", "ratio", "throughput_cost")


def against(url: str, size: Size) -> dict[str, Any]:
    """Return the figures of one database."""
    store = open_store(url, new_id())
    store.open()
    store.close()
    say(url.partition(":")[0])
    repeats = measure_against(
        lambda: floor(url, size.tasks), lambda: through_the_thread(url, size.tasks), size.repeats, say
    )
    return {
        "rows_per_s": measured_median(repeats),
        "floor_per_s": floor_median(repeats),
        **against_floor(repeats),
    }


def cost(ground: Ground, url: str, size: Size) -> dict[str, float]:
    """Return which part of a cluster's throughput its history costs, as a median of pairs in turns."""
    tasks = TASKS_A_ROW_TASK * size.tasks
    costs = []
    with ground.cluster() as bare, ground.cluster(store=url) as keeping:
        for _ in range(min(PAIRS, size.repeats)):
            with stopped(keeping):
                without = cluster_rate(bare, tasks)
            with stopped(bare):
                costs.append(1 - cluster_rate(keeping, tasks) / without)
                await_archive(keeping)
            say(f"throughput {without:.0f}/s without history, cost {costs[-1]:.3f}")
    return {"throughput_cost": round(median(costs), 4)}


def await_archive(cluster: LocalCluster) -> None:
    """Wait until every task is in the store: what is put off costs as well."""
    with Client(zk=cluster.zk) as client:
        if not wait_until(lambda: client.cluster().unarchived == 0, PATIENCE_S):
            raise BenchmarkFailed(f"the store did not take everything: {client.cluster().store}")


def floor(url: str, tasks: int) -> float:
    """Return the rows a second of the bare driver."""
    groups = [group for task in range(tasks) for group in work(task)]
    families: list[tuple[type[Row], list[tuple[Any, ...]]]] = []
    for family in (Output, FinishedTask, PastAttempt):
        some = columns_of(row for group in groups for row in group if isinstance(row, family))[family]
        values = list(zip(*some, strict=True))
        families.append((family, values))
    settle(url)
    began = time.perf_counter()
    insert_all(url, new_id(), families)
    return sum(len(values) for _, values in families) / (time.perf_counter() - began)


def through_the_thread(url: str, tasks: int) -> float:
    """Return the rows a second from the first that is handed over to the last that is acknowledged."""
    groups = [group for task in range(tasks) for group in work(task)]
    table = new_id()
    events: SimpleQueue[StoreEvent] = SimpleQueue()
    settle(url)
    thread = StoreThread(lambda: open_store(url, table), 1, events.put)
    thread.start()
    thread.put(len(groups), [])  # it is connected, and its term has begun, once this is acknowledged
    await_tokens(events, 1)
    began = time.perf_counter()
    for token, group in enumerate(groups):
        thread.put(token, group)
    await_tokens(events, len(groups))
    taken = time.perf_counter() - began
    if not thread.stop(PATIENCE_S):
        raise BenchmarkFailed("the store did not take everything")
    check(url, table, tasks)
    return sum(map(len, groups)) / taken


def await_tokens(events: SimpleQueue[StoreEvent], count: int) -> None:
    """Wait until so many are acknowledged."""
    while count > 0:
        match events.get(timeout=PATIENCE_S):
            case StoreWritten(tokens=tokens):
                count -= len(tokens)
            case StoreAway() | StoreFenced() as event:
                raise BenchmarkFailed(f"the store failed: {event}")


def check(url: str, table: str, tasks: int) -> None:
    """Hold the database to what was acknowledged."""
    store = open_store(url, table)
    store.open()
    counts = [store.count(family, Span()) for family in (Output, FinishedTask, PastAttempt)]
    store.close()
    if counts != [tasks * ROWS_A_TASK, tasks, tasks]:
        raise BenchmarkFailed(f"of {tasks} tasks the store has {counts} rows")


def work(number: int) -> list[list[Row]]:
    """Return what is handed over for one task: its pieces of output one by one, then its history."""
    task = new_id()
    data = os.urandom(ROW_BYTES)
    pieces: list[list[Row]] = [
        [Output(task=task, attempt=1, stream="stdout", offset=offset * ROW_BYTES, data=data)]
        for offset in range(ROWS_A_TASK)
    ]
    return [*pieces, history(task, float(number))]


def history(task: str, at: float) -> list[Row]:
    """Return the rows of a task that is over."""
    finished = FinishedTask(
        task=task,
        user="ann",
        name="nightly report",
        command="make report",
        state="SUCCEEDED",
        exit_code=0,
        signal=None,
        why="",
        worker="w1",
        attempt=1,
        crashes=0,
        submitted=at,
        finished=at + 2,
        wall_s=1.5,
        cpu_s=1.25,
        memory_bytes=52_428_800,
        stdout_bytes=ROWS_A_TASK * ROW_BYTES,
        stderr_bytes=0,
        cpus=1.0,
        request_memory_bytes=0,
        request_net_bps=0,
        labels="",
        spec='{"command":"make report","time_limit_s":600.0,"name":"nightly report"}',
        digest="5d1c5d1c5d1c5d1c5d1c5d1c",
    )
    past = PastAttempt(
        task=task,
        n=1,
        worker="w1",
        incarnation=task,
        epoch=1,
        placed=at + 0.5,
        ended=at + 2,
        cause="exited",
        exit_code=0,
        signal=None,
        wall_s=1.5,
        cpu_s=1.25,
        memory_bytes=52_428_800,
        policy="least-loaded",
        waited_s=0.5,
        candidates=2,
        ahead=False,
    )
    return [finished, past]


if __name__ == "__main__":
    run("store", measure, repeats=7, tasks=1000)
