"""``alb broker`` and ``alb worker``: one option for every setting of the role."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from alb.cli.options import nameable_host, zk_option
from alb.cli.values import BANDWIDTH, DURATION, SIZE
from alb_core import config
from alb_core.config import BrokerConfig, Config, WorkerConfig
from alb_core.errors import ConfigError

HELP: Final[Mapping[str, str]] = {
    "name": "Unique in the cluster; %H stands for the host's name. Else made of host and pid.",
    "bind": "Address to listen on.",
    "advertise": "Address that others connect to. Else the same as --bind.",
    "ports": "Four TCP ports, a,b,c,d: clients, client output, workers, worker output; 0: any.",
    "session_timeout_s": "ZooKeeper session to ask for.",
    "store": "Results store for history: sqlite:////PATH, postgresql://…, mariadb://… or redis://….",
    "store_keep_s": "What ended longer ago leaves the store, 30d for example; 0: nothing does.",
    "store_bytes": "While the store takes more, the oldest tasks leave it, 20G for example; 0: any size.",
    "dump_dir": "Where the state is written on hand-over.",
    "depot_port": "TCP port of its depot, which keeps files of tasks; 0: any.",
    "depot_dir": "Where the depot keeps them. Else /var/tmp/alb-UID/depots/NAME.",
    "depot_bytes_max": "How much of them.",
    "log_level": "debug, info, warning or error.",
    "pending_max": "Unfinished tasks in the table.",
    "pending_bytes_max": "Their specifications, all together.",
    "done_kept_max": "Finished tasks that stay in the table.",
    "done_kept_s": "How long they stay.",
    "holding_s": "A result that nobody acknowledged stays at least so long.",
    "crash_limit": "Attempts lost to the infrastructure before a task ends LOST.",
    "stuck_s": "A leader resigns when a task that fits stays unplaced so long.",
    "quantum_s": "Who ran so long gives its processors to who waits, and runs on with the rest; 0: nobody.",
    "max_demoted": "Such attempts on one worker, for each of its processors; 0: none.",
    "cpus": "Processors offered, if there are as many; 0: what machine and cgroup allow.",
    "oversubscribe": "Offer as many --cpus as are said, also more than there are: commands share them.",
    "memory_bytes": "Memory offered; 0: what machine and cgroup allow.",
    "net_bps": "Bandwidth offered; 0: the link's speed where it is known.",
    "net_interface": "Interface whose load is measured. Else that of the default route.",
    "gpus_count": "GPUs offered. Else those that NVIDIA's library finds.",
    "resources": "What else it has in whole units, licence=5,dongle=1.",
    "speed": "How fast the machine is; 2: twice as fast as an ordinary one. Else that is measured, once.",
    "labels": "Labels that tasks can ask for, key=value,key2.",
    "work_dir": "For spool and task directories. Else /var/tmp/alb-UID/NAME.",
    "spool_kept_s": "How long output of finished tasks is kept.",
    "spool_bytes_max": "How much of it, all together.",
    "stream_bytes_max": "How much of one command's stdout or stderr.",
    "cache_bytes_max": "How much is kept of files that tasks took along.",
    "allow_run_as": "Users that tasks may run as (alb submit --run-as), ann,bob; for a worker that is root.",
}
#: One line for each setting of both roles.
_REPEATED: Final = frozenset(("labels", "resources"))
#: Lists that may be given in pieces, under the names that `alb submit` has for one.


def _option(role: type[Config], field: str) -> click.Option:
    """Make the option of a setting: its name without the unit, its type by the unit."""
    defaults = dict(
        zip(role.__struct_fields__[-len(role.__struct_defaults__) :], role.__struct_defaults__, strict=True)
    )
    default = defaults.get(field)
    kind: click.ParamType[Any] | type = str
    if isinstance(default, bool):
        return click.Option([f"--{field}"], is_flag=True, default=None, help=HELP[field])
    if field.endswith("_s"):
        kind = DURATION
    elif "bytes" in field:
        kind = SIZE
    elif field.endswith("_bps"):
        kind = BANDWIDTH
    elif isinstance(default, int | float):
        kind = type(default)
    elif field.endswith("_count"):
        kind = click.IntRange(min=0)
    short = re.sub(r"_(s|bytes|bps|count)$", "", field)
    names = {field, short} if short not in role.__struct_fields__ else {field}
    if field in _REPEATED:
        names.add(field.removesuffix("s"))
    flags = {"--" + name.replace("_", "-") for name in names}
    shown = "" if default in (None, "", (), 0) or isinstance(default, tuple) else f"  [default: {default}]"
    return click.Option(
        [*sorted(flags, key=len), field],
        type=kind,
        default=None,
        multiple=field in _REPEATED,
        help=HELP[field] + shown,
    )


def _options(role: type[Config]) -> list[click.Parameter]:
    fields = [field for field in role.__struct_fields__ if field != "zk"]
    return [_option(role, field) for field in fields]


def _read_config(role: type[config.C], file: str | None, flags: dict[str, Any], prefix: str) -> config.C:
    try:
        text = None if file is None else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not TOML: it is no text in UTF-8 ({error.reason})") from None
    for listed in config.LISTED:
        given = flags.get(listed)
        if given is not None:
            texts = (given,) if isinstance(given, str) else given
            flags[listed] = tuple(word for text in texts for word in text.split(",")) or None
    environ = dict(os.environ)
    if "ALB_NAME" not in environ and not _names(text):
        environ["ALB_NAME"] = f"{prefix}-%H-{os.getpid()}"
    return config.load(role, file=text, environ=environ, flags=flags, host=nameable_host(), path=file or "")


def _names(text: str | None) -> bool:
    """Tell whether a configuration file holds a name."""
    try:
        return text is not None and "name" in tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False


file_option: Final = click.option("--config", "file", metavar="FILE", help="TOML file; flags win over it.")


@click.command(params=[])
@zk_option
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON and exit.")
def broker(file: str | None, *, as_json: bool, **flags: Any) -> int:
    """Run a broker until SIGTERM; of several, one leads."""
    settings = _read_config(BrokerConfig, file, flags, "b")
    if as_json:
        return _print(settings)
    from alb_broker.main import main  # noqa: PLC0415 (brings in what only a broker needs)

    return main(settings)


@click.command(params=[])
@zk_option
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON and exit.")
def worker(file: str | None, *, as_json: bool, **flags: Any) -> int:
    """Run a worker until SIGTERM: it offers this machine, and runs what the leader places on it."""
    settings = _read_config(WorkerConfig, file, flags, "w")
    if as_json:
        return _print(settings)
    from alb_worker.main import main  # noqa: PLC0415

    return main(settings)


broker.params[1:1] = _options(BrokerConfig)
worker.params[1:1] = _options(WorkerConfig)


def _print(settings: Config) -> int:
    from alb.cli import out  # noqa: PLC0415

    out.emit_json(settings)
    return 0
