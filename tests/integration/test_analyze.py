"""``alb analyze`` as a person uses it: a whole day from a database, through the leader, and from a dump."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, alb_json, wait_for
from tests.history_day import DAY_TASKS, Day

from alb.local.cluster import LocalCluster, Plan, alb_command
from alb_broker.store.opening import open_store

WITHIN_S = 300.0
#: The whole day on a busy machine; it takes ten seconds on an idle one.


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verb without a cluster."""
    command = [*alb_command(), "analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


@pytest.mark.timeout(2 * WITHIN_S)  # writing it takes as long
def test_a_whole_day(tmp_path: Path) -> None:
    """A hundred thousand tasks: the report, the figures, and what should be found in them."""
    url = f"sqlite:///{tmp_path / 'day.db'}"
    store = open_store(url, "t")
    store.open()
    Day().write(store)
    store.close()
    report = tmp_path / "report.html"
    ran = analyze("--store", url, "--since", "0", "--html", str(report), "--json", "--replay", "500")
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["all"]["tasks"] == DAY_TASKS
    assert [worker["worker"] for worker in figures["workers"]] == [f"w{number}" for number in range(1, 9)]
    topics = [advice["topic"] for advice in figures["advice"]]
    assert topics[:2] == ["overload", "cpus"]
    assert {"memory", "failures"} <= set(topics)
    text = report.read_text()
    assert text.count("<svg") == 6
    assert "User bob reserves more processors than it uses" in text


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster that keeps history."""
    plan = Plan(brokers=1, workers=1, store=True)
    with LocalCluster(tmp_path_factory.mktemp("kept") / "cluster", plan) as running:
        yield running


def test_a_real_cluster_through_its_leader_and_from_its_store(kept: LocalCluster, tmp_path: Path) -> None:
    """The same tasks either way; only ZooKeeper's address, or only the URL."""
    for status in (0, 3):
        assert alb(kept, "submit", f"exit {status}").returncode == status
    wait_for(lambda: len(alb_json(kept, "history")) == 2, "both tasks to be archived")
    told = alb_json(kept, "analyze", "--since", "1h")
    assert told["states"] == {"SUCCEEDED": 1, "FAILED": 1}
    assert told["causes"] == {"exit 3": 1}
    assert (told["attempts"], told["policies"][0]["policy"]) == (2, "least-loaded")
    ran = analyze("--store", kept.store)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("2 tasks of the results store\n")
    assert "too little data" in ran.stdout
    file = tmp_path / "state.json"
    assert alb(kept, "dump", str(file)).returncode == 0
    ran = analyze(str(file))
    assert (ran.returncode, "0 tasks of the dump" in ran.stdout, "WORKERS" in ran.stdout) == (0, True, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "sqlite:////nowhere/at/all.db"), "there is no results store"),
        (("--store", "oracle://x"), "nobody knows a results store"),
        (("--since", "yesterday"), "is no moment"),
        (("--zk", "127.0.0.1:1", "--table", "x"), "--table belongs to --store"),
        (("/dev/null",), "this is no dump"),
        (("/dev/null", "--since", "1h"), "one moment"),
        (("no-such-file.json",), "does not exist"),
    ],
)
def test_what_cannot_be_analysed_is_refused(arguments: tuple[str, ...], said: str) -> None:
    """With what is wrong, as wrong usage."""
    ran = analyze(*arguments)
    assert (ran.returncode, ran.stdout) == (125, "")
    assert said in ran.stderr


def test_a_cluster_without_history_says_so(cluster: LocalCluster) -> None:
    """And what its brokers would need."""
    ran = alb(cluster, "analyze")
    assert ran.returncode != 0
    assert "--store" in ran.stderr
