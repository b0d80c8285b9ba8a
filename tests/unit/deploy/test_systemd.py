"""The units of ``deploy/systemd/``: what they start is what alb accepts, and systemd understands every line.

What systemd itself says needs ``systemd-analyze`` (Debian: systemd). Elsewhere those tests are skipped; with
CI=true they fail instead.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.source_tree import ROOT

from alb.cli.main import run
from alb.cli.statuses import REFUSED_STATUS
from alb_core.config import BrokerConfig, Config, WorkerConfig
from alb_core.io.descriptors import FILES_MAX
from alb_worker.core import departure
from alb_worker.main import EXIT_CONFIG

FOLDER = ROOT / "deploy" / "systemd"
ROLES: dict[str, type[Config]] = {"broker": BrokerConfig, "worker": WorkerConfig}
EXPOSURE_MAX = {"broker": 15, "worker": 55}
#: In tenths of what ``systemd-analyze security`` says. The worker's unit says what its commands need.
BREAKS_THE_WORKER = {
    *("ProtectControlGroups", "ProcSubset", "PrivateUsers", "PrivateDevices", "ProtectClock", "ProtectHome"),
    *("MemoryDenyWriteExecute", "RestrictNamespaces", "SystemCallFilter", "RestrictSUIDSGID", "DynamicUser"),
}

roles = pytest.mark.parametrize("role", ROLES)


def _unit(role: str) -> str:
    return (FOLDER / f"alb-{role}.service").read_text()


def _settings(text: str) -> dict[str, str]:
    """Return the settings of a unit; of one that stands twice, the last."""
    lines = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
    assert len(lines) > 10
    return dict(lines)


def _expanded(words: str, credentials: Path) -> list[str]:
    """Expand what systemd does in a command line of these units."""
    return shlex.split(
        words.replace("${CREDENTIALS_DIRECTORY}", str(credentials)).replace("%H", "host-1.example")
    )


def _ask_systemd(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd's; without it the test is skipped, on CI failed."""
    program = shutil.which(name)
    if program is None:
        why = f"there is no {name}; Debian: apt-get install systemd"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False)


# --- what alb says ------------------------------------------------------------------------------------------


@roles
def test_the_command_line_is_accepted(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ExecStart with the example settings as its credential gives a whole configuration."""
    settings = _settings(_unit(role))
    name, _, source = settings["LoadCredential"].partition(":")
    assert source == f"/etc/alb/{role}.toml"
    shutil.copy(FOLDER / f"{role}.toml", tmp_path / name)
    lines = (FOLDER / f"alb-{role}.service").read_text().splitlines()
    places = dict(
        line.removeprefix("Environment=").split("=") for line in lines if line.startswith("Environment=")
    )
    for own in [name for name in os.environ if name.startswith("ALB_")]:
        monkeypatch.delenv(own)
    for variable, value in places.items():
        monkeypatch.setenv(variable, value)
    program, *words = _expanded(settings["ExecStart"], tmp_path)
    assert Path(program).name == "alb"
    assert run([*words, "--json"]) == 0
    told = msgspec.json.decode(capfd.readouterr().out, type=ROLES[role])
    assert (told.zk, told.name) == ("zk1:2181,zk2:2181,zk3:2181", "host-1.example")  # type: ignore[attr-defined]
    for variable, value in places.items():
        assert getattr(told, variable.removeprefix("ALB_").lower()) == value


@roles
def test_every_variable_is_a_setting(role: str) -> None:
    """An environment variable that alb does not read would be a silent mistake."""
    names = re.findall(r"^Environment=(\w+)=", _unit(role), re.MULTILINE)
    known = {f"ALB_{field.upper()}" for field in ROLES[role].__struct_fields__}
    assert names
    assert set(names) <= known


@roles
def test_the_example_settings_name_settings_only(role: str) -> None:
    """What stands in the example, also what is commented out, is a key of the configuration."""
    text = (FOLDER / f"{role}.toml").read_text()
    keys = {*tomllib.loads(text), *re.findall(r"\b(\w+) = ", text)}
    assert keys <= set(ROLES[role].__struct_fields__)


@roles
def test_directories_are_the_service_s_own(role: str) -> None:
    """Every directory that alb is told to write is one that systemd makes for its user alone."""
    text = _unit(role)
    settings = _settings(text)
    own = {f"/var/lib/{settings['StateDirectory']}"}
    assert settings["StateDirectoryMode"] == "0700"
    if "LogsDirectory" in settings:
        own.add(f"/var/log/{settings['LogsDirectory']}")
        assert settings["LogsDirectoryMode"] == "0700"
    told = re.findall(r"^Environment=\w+_DIR=(\S+)$", text, re.MULTILINE)
    assert {place for place in own if any(one.startswith(place) for one in told)} == own
    assert all(one.startswith(tuple(own)) for one in told)
    users = (FOLDER / "alb.sysusers").read_text()
    assert re.search(rf"^u {settings['User']} ", users, re.MULTILINE)


def test_commands_and_brokers_have_different_users() -> None:
    """A command must not be able to signal a broker of the same machine, or to read its memory."""
    assert _settings(_unit("broker"))["User"] != _settings(_unit("worker"))["User"]


def test_a_replaced_worker_is_not_started_again() -> None:
    """Two processes of one name that both restart would take it from each other for ever."""
    settings = _settings(_unit("worker"))
    prevented = settings["RestartPreventExitStatus"].split()
    assert REFUSED_STATUS == EXIT_CONFIG
    assert {str(departure.EXIT_REPLACED), str(EXIT_CONFIG)} == set(prevented)
    assert settings["Restart"] == "always"


def test_the_worker_keeps_what_it_and_its_commands_need() -> None:
    """Nothing that would break control groups, marks, load, or a plain user's command."""
    settings = _settings(_unit("worker"))
    assert not BREAKS_THE_WORKER & settings.keys()
    assert settings["ProtectSystem"] in ("yes", "full")
    assert settings["Delegate"] == "yes"
    assert settings["LimitLOCKS"] == "infinity"
    assert settings["LimitNOFILE"] == f"1024:{FILES_MAX}"


# --- what systemd says --------------------------------------------------------------------------------------


@roles
def test_systemd_understands_every_line(role: str, tmp_path: Path) -> None:
    """``systemd-analyze verify`` says nothing. The program's path is that of this Python."""
    text = re.sub(r"(?<=^ExecStart=)\S+", sys.executable, _unit(role), flags=re.MULTILINE)
    unit = tmp_path / f"alb-{role}.service"
    unit.write_text(text)
    ran = _ask_systemd("systemd-analyze", "verify", "--man=no", str(unit))
    told = [
        line for line in ran.stderr.splitlines() if f"alb-{role}" in line
    ]  # not of the machine's own units
    assert told == []
    assert ran.returncode == 0, ran.stderr


@roles
def test_the_exposure_stays_low(role: str) -> None:
    """``systemd-analyze security`` finds no more exposure than we know of."""
    limit = f"--threshold={EXPOSURE_MAX[role]}"
    ran = _ask_systemd(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        limit,
        str(FOLDER / f"alb-{role}.service"),
    )
    assert ran.returncode == 0, ran.stdout


def test_systemd_makes_the_users(tmp_path: Path) -> None:
    """``systemd-sysusers`` understands every line of the users' file (a colon in a name it would not)."""
    ran = _ask_systemd("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(FOLDER / "alb.sysusers"))
    assert ran.returncode == 0, ran.stderr
    assert "Creating user 'alb-broker'" in ran.stderr + ran.stdout
    assert "not a valid" not in ran.stderr


def test_systemd_would_tell() -> None:
    """The check is one: a line that is none of systemd's makes it speak."""
    ran = _ask_systemd(
        "systemd-analyze", "security", "--offline=true", "--threshold=5", str(FOLDER / "alb-worker.service")
    )
    assert ran.returncode != 0
