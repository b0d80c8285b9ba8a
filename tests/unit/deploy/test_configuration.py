"""What is deployed agrees with itself: the compose file, the image, its lock, ``zoo.cfg`` and `alb up`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.source_tree import ROOT

from alb.local.zookeeper import HEAP_MIB, Ensemble

DEPLOY = ROOT / "deploy"
PLACES = {"dataDir", "dataLogDir", "clientPort", "clientPortAddress", "forceSync", "standaloneEnabled"}
#: Where a server lives, what is the default anyway, and what an ensemble of one cannot have.


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.]+)=(.*)$", text, re.MULTILINE))


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pins(file: Path) -> dict[str, tuple[str, int]]:
    """Return what a lock file pins: name -> version, number of hashes."""
    blocks = re.split(r"\n(?=\S)", file.read_text())
    found = [(re.match(r"([\w.-]+)==(\S+)", block), block.count("--hash=sha256:")) for block in blocks]
    return {canonicalize_name(pin[1]): (pin[2], hashes) for pin, hashes in found if pin}


def test_local_servers_have_the_settings_of_zoo_cfg(tmp_path: Path) -> None:
    """What `alb up` writes differs from ``deploy/zookeeper/zoo.cfg`` only in place, and for a few clients."""
    Ensemble(tmp_path)
    (file,) = tmp_path.rglob("zoo.cfg")
    written, normal = _settings(file.read_text()), _settings((DEPLOY / "zookeeper/zoo.cfg").read_text())
    assert normal["forceSync"] == "yes"
    assert written.pop("nio.numWorkerThreads") == "0"
    assert {name: value for name, value in written.items() if name not in PLACES} == {
        name: value for name, value in normal.items() if name not in PLACES and not name.startswith("server.")
    }


def test_zookeeper_of_compose_is_that_of_zoo_cfg() -> None:
    """The servers of ``zoo.cfg`` are services with the same numbers and with the heap of `alb up`."""
    text = (ROOT / "docker-compose.yml").read_text()
    services = re.findall(r"^  (zk\d):\n.*\n    environment: .*ZOO_MY_ID: (\d) ", text, re.MULTILINE)
    servers = re.findall(r"^server\.(\d)=(zk\d):", (DEPLOY / "zookeeper/zoo.cfg").read_text(), re.MULTILINE)
    assert [(number, name) for name, number in services] == servers
    assert f"ZK_SERVER_HEAP: {HEAP_MIB} " in text


def test_every_broker_of_compose_can_be_reached_by_its_name() -> None:
    """A broker that listens everywhere advertises the name of its service."""
    text = (ROOT / "docker-compose.yml").read_text()
    brokers = re.findall(
        r"^  (broker\d):\n(?:    .*\n)*?.*ALB_NAME: (\w+), ALB_ADVERTISE: (\w+) }", text, re.MULTILINE
    )
    assert brokers == [(name, name, name) for name in ("broker1", "broker2", "broker3")]


def test_image_says_the_version() -> None:
    """The label of the image is the version of the package."""
    assert f'image.version="{_project()["project"]["version"]}"' in (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("lock", "section", "entry"),
    [
        ("requirements.lock", "project", "dependencies"),
        ("build-requirements.lock", "build-system", "requires"),
    ],
)
def test_lock_satisfies_the_project(lock: str, section: str, entry: str) -> None:
    """What pyproject.toml asks for is pinned within its bounds, with hashes; else run `make lock`."""
    pins = _pins(DEPLOY / lock)
    for requirement in map(Requirement, _project()[section][entry]):
        version, _ = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    assert [name for name, (_, hashes) in pins.items() if not hashes] == []


def _unexplained(text: str) -> list[str]:
    """Return the settings over which no comment stands; a blank line ends what a comment explains."""
    found, explained = [], False
    for line in text.splitlines():
        if line.startswith("#") or not line:
            explained = bool(line)
        elif not explained:
            found.append(line)
    return found


def test_every_setting_of_zoo_cfg_is_explained() -> None:
    """A comment stands over each setting, or over the few that it explains together."""
    assert _unexplained("# why\na=1\nb=2\n\nc=3\n") == ["c=3"]
    assert _unexplained((DEPLOY / "zookeeper/zoo.cfg").read_text()) == []
