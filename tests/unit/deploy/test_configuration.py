"""The ZooKeeper of the compose file, of `alb up` and of ``deploy/zoo.cfg`` are one configuration."""

from __future__ import annotations

import re
from pathlib import Path

from tests.source_tree import ROOT

from alb.local.zookeeper import Ensemble

COMPOSE_NAMES = {
    "ZOO_TICK_TIME": "tickTime",
    "ZOO_INIT_LIMIT": "initLimit",
    "ZOO_SYNC_LIMIT": "syncLimit",
    "ZOO_MAX_CLIENT_CNXNS": "maxClientCnxns",
    "ZOO_AUTOPURGE_PURGEINTERVAL": "autopurge.purgeInterval",
    "ZOO_AUTOPURGE_SNAPRETAINCOUNT": "autopurge.snapRetainCount",
    "ZOO_4LW_COMMANDS_WHITELIST": "4lw.commands.whitelist",
}
#: The variables of the official image, and what they are called in ``zoo.cfg``.

PLACES = {"dataDir", "clientPort", "clientPortAddress", "forceSync"}
#: Where a server lives, and what is the default anyway.


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.]+)=(.*)$", text, re.MULTILINE))


def _normal() -> dict[str, str]:
    settings = _settings((ROOT / "deploy" / "zoo.cfg").read_text())
    assert settings["forceSync"] == "yes"
    return settings


def test_compose_has_the_settings_of_zoo_cfg() -> None:
    """Every setting that the image takes as a variable has the value of ``deploy/zoo.cfg``."""
    text = (ROOT / "docker-compose.yml").read_text()
    variables = dict(re.findall(r"^  (ZOO_\w+): (.*)$", text, re.MULTILINE))
    normal = _normal()
    assert {COMPOSE_NAMES[name]: variables[name] for name in COMPOSE_NAMES} == {
        setting: normal[setting] for setting in COMPOSE_NAMES.values()
    }
    assert variables["ZOO_CFG_EXTRA"] == "forceSync=yes"


def test_local_servers_have_the_settings_of_zoo_cfg(tmp_path: Path) -> None:
    """What `alb up` writes differs from ``deploy/zoo.cfg`` only in where the server lives."""
    Ensemble(tmp_path)
    (file,) = tmp_path.rglob("zoo.cfg")
    written, normal = _settings(file.read_text()), _normal()
    assert {name: value for name, value in written.items() if name not in PLACES} == {
        name: value for name, value in normal.items() if name not in {*PLACES, "standaloneEnabled"}
    }


def test_every_broker_of_compose_can_be_reached_by_its_name() -> None:
    """A broker that listens everywhere advertises the name of its service."""
    text = (ROOT / "docker-compose.yml").read_text()
    brokers = re.findall(r"^  (b\d):\n(?:    .*\n)*?    command: (.*)$", text, re.MULTILINE)
    assert [name for name, _ in brokers] == ["b1", "b2", "b3"]
    for name, command in brokers:
        assert command == f"broker --name {name} --bind 0.0.0.0 --advertise {name}"
