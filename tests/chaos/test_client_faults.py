"""A client dies: what it was told is accepted runs on, once, and waits for whoever asks."""

from __future__ import annotations

import subprocess
import sys

from tests.harness import Work, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, alb_command
from alb_core.tasks import TaskState

_SUBMITTER = """
import sys
from alb import Client
command = sys.argv[1]
with Client() as client:
    while True:
        client.submit(command)
        if not sum(1 for _ in client.tasks()) % 5:
            client.submit(command).result()
"""


def test_kill_of_an_attached_client(cluster: LocalCluster, client: Client, work: Work) -> None:
    """The terminal that watched a command is gone; the command is not, and another client gets its result."""
    command = work.witness.command("sleep 3; echo survived")
    attached = subprocess.Popen(
        [*alb_command(), "submit", command], env=environ_of(cluster), stdout=subprocess.DEVNULL
    )
    wait_for(work.witness.starts, "the start of the command")
    attached.kill()
    attached.wait()
    (line,) = client.tasks()
    result = client.attach(line.id).result(timeout=60)
    assert (result.state, result.stdout) == (TaskState.SUCCEEDED, b"survived\n")
    assert work.witness.counts() == {line.id: 1}


def test_kill_of_a_client_that_submits(cluster: LocalCluster, client: Client, work: Work) -> None:
    """Killed among its submissions: every task in the table gets its one result, and ran once."""
    submitter = subprocess.Popen(
        [sys.executable, "-c", _SUBMITTER, work.witness.command("sleep 0.1")], env=environ_of(cluster)
    )
    wait_for(lambda: len(work.witness.starts()) > 30, "some work")
    submitter.kill()
    submitter.wait()

    def ended() -> bool:
        return all(line.state is TaskState.SUCCEEDED for line in client.tasks())

    wait_for(ended, "the end of all tasks")
    assert work.witness.counts() == {line.id: 1 for line in client.tasks()}


def test_two_clients_submit_the_same_task(cluster: LocalCluster, client: Client, work: Work) -> None:
    """The same id and command from another client is the same task: it runs once, both get the result."""
    command = work.witness.command("sleep 1; echo once")
    first = client.submit(command)
    with Client(zk=cluster.zk) as other:
        second = other.submit(command, id=first.id)
        assert second.result(timeout=60).record == first.result(timeout=60).record
    assert work.witness.counts() == {first.id: 1}
