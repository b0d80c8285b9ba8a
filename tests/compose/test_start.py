"""The cluster as `docker compose up` leaves it: healthy, confined, of the sizes that the file gives."""

from __future__ import annotations

from tests.compose.stack import Stack

from alb_worker.shell.capacity import OWN_MEMORY_BYTES

BROKERS = ("broker1", "broker2", "broker3")
WORKERS = ("worker", "worker-small", "worker-big")


def test_up_starts_everything_but_the_client(stack: Stack) -> None:
    """`docker compose up --wait` leaves every service healthy, and does not start the client."""
    health = {
        container["Config"]["Labels"]["com.docker.compose.service"]: container["State"]["Health"]["Status"]
        for container in stack.containers().values()
    }
    assert health == dict.fromkeys(("zk1", "zk2", "zk3", "postgres", *BROKERS, *WORKERS), "healthy")


def test_nothing_is_privileged(stack: Stack) -> None:
    """No container runs as root, holds a capability, can gain one, or can write to its image."""
    for name, container in stack.containers().items():
        host = container["HostConfig"]
        assert container["Config"]["User"] in ("alb", "zookeeper", "postgres"), name
        assert (host["Privileged"], host["ReadonlyRootfs"], host["CapDrop"]) == (False, True, ["ALL"]), name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0 < host["NanoCpus"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name


def test_workers_offer_what_the_compose_file_gives_them(stack: Stack) -> None:
    """The capacity that a worker announces is its service's `cpus` and `mem_limit`, less its own need."""
    given = {}
    for service in WORKERS:
        its = stack.config[service]
        memory = int(its["mem_limit"]) - OWN_MEMORY_BYTES
        given[its["environment"]["ALB_LABELS"]] = (float(its["cpus"]), memory)
    offered = [line["capacity"] for line in stack.alb_json("workers")]
    assert {one["labels"][0]: (one["cpus"], one["memory_bytes"]) for one in offered} == given
