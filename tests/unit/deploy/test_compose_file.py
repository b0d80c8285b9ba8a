"""What ``docker-compose.yml`` says of every service, read without Docker: ``tests/compose`` brings it up."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from tests.source_tree import ROOT

from alb_core.config import BrokerConfig, Config, WorkerConfig

FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ZOOKEEPERS = {"zk1", "zk2", "zk3"}
BROKERS = {"broker1", "broker2", "broker3"}
WORKERS = {"worker", "worker-small", "worker-big"}
ROLES: dict[str, type[Config]] = {
    **dict.fromkeys(sorted(BROKERS), BrokerConfig),
    **dict.fromkeys(sorted(WORKERS), WorkerConfig),
}
PRIVILEGES = {
    *("privileged", "cap_add", "devices", "device_cgroup_rules", "pid", "ipc", "network_mode", "userns_mode"),
    *("cgroup", "cgroup_parent", "group_add", "sysctls", "ulimits"),
}
#: Any of these gives a container more than its own, or, a limit above the engine's, keeps it from starting.

every_service = pytest.mark.parametrize("name", SERVICES)
every_daemon = pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"client"}))
every_role = pytest.mark.parametrize("name", ROLES)


def _volumes(service: dict[str, Any]) -> list[list[str]]:
    """Return the parts of each volume: where from (absent: from nowhere), where, how."""
    return [volume.split(":") for volume in service.get("volumes", [])]


def _writable(service: dict[str, Any]) -> set[PurePosixPath]:
    parts = [
        volume[0] if len(volume) == 1 else volume[1] for volume in _volumes(service) if "ro" not in volume
    ]
    return {PurePosixPath(part) for part in parts}


def test_the_services_are_those_of_a_whole_cluster() -> None:
    """An ensemble, brokers, workers of three sizes, a database, and the command line."""
    assert SERVICES.keys() == ZOOKEEPERS | BROKERS | WORKERS | {"postgres", "client"}


def test_both_composes_take_it_without_a_word() -> None:
    """No `name`, which 1.29 refuses, and no `version`, which the current compose warns of."""
    assert {key for key in FILE if not key.startswith("x-")} == {"services", "networks", "volumes"}


@every_service
def test_a_service_is_confined(name: str) -> None:
    """It cannot write but to volumes, gain anything, or take more than its share of the machine."""
    service = SERVICES[name]
    assert not service.keys() & PRIVILEGES
    assert not [volume for volume in _volumes(service) if "docker.sock" in volume[0]]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0
    assert service["memswap_limit"] == service["mem_limit"], "the rest of it would be swapped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@every_service
def test_a_service_leaves_the_host_alone(name: str) -> None:
    """It claims no container name and no port of the host, so that two projects fit side by side."""
    assert not SERVICES[name].keys() & {"container_name", "ports"}


def test_only_the_client_has_to_be_asked_for() -> None:
    """`up` starts everything else; nothing else ends by itself, so everything else is started again."""
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"client"}
    policies = {name: service["restart"] for name, service in SERVICES.items()}
    assert policies.pop("client") == "no"
    assert set(policies.values()) == {"unless-stopped"}


@every_daemon
def test_a_daemon_has_a_health_check_that_ends(name: str) -> None:
    """Every service is asked how it is, with a bound, and has time to start."""
    assert {"test", "interval", "timeout", "retries", "start_period"} <= SERVICES[name]["healthcheck"].keys()


@pytest.mark.parametrize(
    ("waiting", "awaited"),
    [*((name, ZOOKEEPERS) for name in sorted(BROKERS)), *((name, BROKERS) for name in sorted(WORKERS))],
)
def test_the_start_order_is_by_health(waiting: str, awaited: set[str]) -> None:
    """Brokers wait for a healthy ensemble, workers for healthy brokers; nobody for the database."""
    assert SERVICES[waiting]["depends_on"] == {name: {"condition": "service_healthy"} for name in awaited}


def test_workers_differ_in_size_and_label() -> None:
    """Each has its own limits, and a label by which a task can ask for it."""
    for key in ("mem_limit", "cpus"):
        assert len({SERVICES[name][key] for name in WORKERS}) == len(WORKERS)
    assert len({SERVICES[name]["environment"]["ALB_LABELS"] for name in WORKERS}) == len(WORKERS)


@every_role
def test_every_variable_is_a_setting(name: str) -> None:
    """An environment variable that alb does not read would be a silent mistake."""
    given = {variable for variable in SERVICES[name]["environment"] if variable.startswith("ALB_")}
    assert given
    assert given <= {f"ALB_{field.upper()}" for field in ROLES[name].__struct_fields__}


@every_role
def test_what_is_written_outlives_the_container(name: str) -> None:
    """Every directory that alb is told to write is on a volume."""
    service = SERVICES[name]
    places = [
        PurePosixPath(value)
        for variable, value in service["environment"].items()
        if variable.endswith("_DIR")
    ]
    assert places
    for place in places:
        assert _writable(service) & {place, *place.parents}, place


@pytest.mark.parametrize("name", sorted(ZOOKEEPERS))
def test_a_member_is_configured_by_zoo_cfg(name: str) -> None:
    """The mounted file, a number and a heap are all that a member gets; data and log are on volumes."""
    service = SERVICES[name]
    assert ["./deploy/zookeeper/zoo.cfg", "/conf/zoo.cfg", "ro"] in _volumes(service)
    assert service["environment"].keys() == {"ZOO_MY_ID", "ZK_SERVER_HEAP"}
    assert _writable(service) == {PurePosixPath("/data"), PurePosixPath("/datalog")}


def test_what_must_outlive_down_has_a_name() -> None:
    """`down` keeps volumes with names, and the next `up` finds them; only spools of `worker` have none."""
    kept = {name for name, service in SERVICES.items() if all(len(parts) > 1 for parts in _volumes(service))}
    assert SERVICES.keys() - kept == {"worker"}
