"""The import rule: pure modules stay pure, and imports run one way.

``alb_core`` <- ``alb_broker``, ``alb_worker``, ``alb``, never sideways; inside a component
``core`` <- ``shell`` <- ``__main__``. The checkers read source text, so each is first shown to fail
on a breach, and then run over the tree.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest
from tests.source_tree import modules

IMPURE = {
    *("zmq", "kazoo", "psutil", "structlog", "os", "time", "random", "uuid", "subprocess", "threading"),
    *(
        "socket",
        "select",
        "selectors",
        "signal",
        "asyncio",
        "multiprocessing",
        "secrets",
        "logging",
        "pathlib",
    ),
    *("io", "tempfile", "shutil", "sqlite3", "urllib", "http", "importlib", "ctypes", "resource", "datetime"),
}
#: Modules that reach outside the process, tell the time, or draw at random.

BANNED_IN_RUNNER = {"zmq", "kazoo", "structlog"}
#: The runner is small and single-threaded: it spawns, so nothing in it may start a thread.

MAIN = re.compile(r"alb_(broker|worker)\.(__main__|main)(\.|$)")
#: What the `alb` command and the local cluster may start of the other components.

PURE_OF_THE_STORE = {"alb_broker.store.events", "alb_broker.store.interface"}
#: Values that the broker's core hands to the results store and gets back; the rest of it does I/O.

READS_THE_STORE = {"alb.analysis.sources"}
OPENS_THE_STORE = ("alb_broker.store.opening", "alb_broker.store.interface")
#: A day's history is read straight from the database: the leader has other work.

PURE_PACKAGES = {"alb_broker.replay"}
#: Pure without being a core: replays give the same result everywhere.

RUNS_REPLAYS = {"alb.simulate.runs"}
REPLAYS = (
    *("alb_broker.replay.", "alb_broker.policies."),
    *("alb_broker.shell.plugins.", "alb_broker.shell.replay_guard."),
)
#: The policy simulator is the broker's core in virtual time: it would say nothing of a copy.

LAYERS = {"core": 0, "policies": 0, "runner": 1, "shell": 1, "__main__": 2, "main": 2}


def imported_names(source: str, module: str, *, package: bool = False) -> set[str]:
    """Return the full names of what a module imports, wherever in the file.

    ``from a import b`` counts as ``a.b``: b may be a module. Relative imports are resolved.

    Args:
        source: The module's text.
        module: Its import name.
        package: Whether it is a package's ``__init__``.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = len(module.split(".")) - node.level + package
                base = ".".join([*module.split(".")[:kept], *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def is_pure(module: str) -> bool:
    """Tell whether it must be pure: ``alb_core`` but its ``io``, cores, policies, the store's values."""
    parts = module.split(".")
    if ".".join(parts[:3]) in PURE_OF_THE_STORE:
        return True
    if ".".join(parts[:2]) in PURE_PACKAGES:
        return True
    if parts[0] == "alb_core":
        return "io" not in parts
    return "core" in parts[1:] or "policies" in parts[1:]


def purity_breaches(module: str, names: Iterable[str]) -> list[str]:
    """Return what a pure module must not import: the outside world, or a module of ours that is not pure."""
    if not is_pure(module):
        return []
    return sorted(
        name
        for name in names
        if _top(name) in IMPURE or (name.startswith("alb") and _ours(name) and not is_pure(name))
    )


def direction_breaches(module: str, names: Iterable[str]) -> list[str]:
    """Return the imports that run sideways or upwards: between components, or from core to shell."""
    return sorted(name for name in names if _ours(name) and not _may_import(module, name))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _ours(name: str) -> bool:
    return _top(name) in {"alb_core", "alb_broker", "alb_worker", "alb"}


def _may_import(module: str, name: str) -> bool:
    here, there = _top(module), _top(name)
    if there == "alb_core":
        return True
    if here != there:
        if module in READS_THE_STORE and name.startswith(OPENS_THE_STORE):
            return True
        if module in RUNS_REPLAYS and name.startswith(REPLAYS):
            return True
        starts_others = module.split(".")[:2] in (["alb", "cli"], ["alb", "local"])
        return starts_others and MAIN.match(name) is not None
    for apart in ("alb_broker.store.", "alb_broker.depot."):
        if module.startswith(apart):
            return name.startswith(apart)
    return _layer(name) <= _layer(module)


def _layer(module: str) -> int:
    if ".".join(module.split(".")[:3]) in PURE_OF_THE_STORE:
        return 0
    return next((LAYERS[part] for part in module.split(".")[1:] if part in LAYERS), 1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os", {"os"}),
        ("import os.path as p", {"os.path"}),
        ("from time import monotonic", {"time.monotonic"}),
        ("def f():\n    import random", {"random"}),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import zmq",
            {"typing.TYPE_CHECKING", "zmq"},
        ),
        ("from . import table", {"alb_broker.core.table"}),
        ("from ..shell import loop", {"alb_broker.shell.loop"}),
    ],
)
def test_every_import_is_seen(source: str, expected: set[str]) -> None:
    """Plain, renamed, late, type-only and relative imports are all found."""
    assert imported_names(source, "alb_broker.core.queue") == expected


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("alb_core.tasks", "time"),
        ("alb_core.tasks", "alb_core.io.zookeeper"),
        ("alb_broker.core.queue", "threading.Lock"),
        ("alb_broker.policies.uniform", "random.random"),
        ("alb_worker.core.agent", "alb_worker.shell.loop"),
        ("alb_core.rows", "alb_broker.store.sql.SqlStore"),
        ("alb_broker.core.queue", "alb_broker.store.thread.StoreThread"),
        ("alb_broker.replay.replay", "alb_broker.shell.process.BrokerProcess"),
        ("alb_broker.replay.replay", "time.monotonic"),
    ],
)
def test_an_impure_import_is_a_breach(module: str, name: str) -> None:
    """A pure module that imports the clock, a thread, a socket, or a shell is caught."""
    assert purity_breaches(module, {name}) == [name]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("alb_core.tasks", "alb_broker.core.queue"),
        ("alb_broker.core.queue", "alb_worker.core.agent"),
        ("alb_worker.shell.loop", "alb.client.Client"),
        ("alb.client", "alb_broker.__main__.main"),
        ("alb.cli.daemons", "alb_broker.core.queue"),
        ("alb_broker.core.queue", "alb_broker.shell.loop"),
        ("alb_broker.shell.loop", "alb_broker.__main__"),
        ("alb_broker.store.sql", "alb_broker.core.queue"),
        ("alb_broker.depot.server", "alb_broker.core.queue"),
        ("alb.analysis.text", "alb_broker.store.opening.open_store"),
        ("alb.analysis.sources", "alb_broker.store.sql.SqlStore"),
        ("alb.analysis.core.workload", "alb.cli.out"),
        ("alb.cli.simulate", "alb_broker.replay.replay.Replay"),
        ("alb.simulate.runs", "alb_broker.core.broker.Broker"),
        ("alb_broker.core.broker", "alb_broker.replay.tree.Tree"),
    ],
)
def test_a_sideways_or_upward_import_is_a_breach(module: str, name: str) -> None:
    """Imports between components, and from a lower layer to a higher one, are caught."""
    assert direction_breaches(module, {name}) == [name]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("alb_core.io.zookeeper", "time"),
        ("alb_broker.shell.loop", "zmq"),
        ("alb_broker.shell.loop", "alb_broker.core.queue"),
        ("alb_broker.__main__", "alb_broker.shell.loop"),
        ("alb_broker.core.queue", "alb_core.tasks.TaskState"),
        ("alb_broker.core.queue", "alb_core.rows.Output"),
        ("alb_broker.store.sql", "alb_core.rows.Output"),
        ("alb.cli.daemons", "alb_broker.__main__.main"),
        ("alb.analysis.sources", "alb_broker.store.opening.open_store"),
        ("alb.analysis.text", "alb.analysis.core.figures.Figures"),
        ("alb.simulate.runs", "alb_broker.replay.replay.Replay"),
        ("alb_broker.replay.replay", "alb_broker.core.broker.Broker"),
    ],
)
def test_what_the_rule_allows_is_no_breach(module: str, name: str) -> None:
    """Shells may do I/O, lower layers may be imported, the command may start the others' mains."""
    assert purity_breaches(module, {name}) == []
    assert direction_breaches(module, {name}) == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_module_keeps_the_import_rule(module: str) -> None:
    """Each module of the tree imports only what its place allows."""
    path = modules()[module]
    names = imported_names(path.read_text(), module, package=path.name == "__init__.py")
    assert purity_breaches(module, names) == []
    assert direction_breaches(module, names) == []


def loaded_by(imports: Iterable[str], watched: Iterable[str]) -> list[str]:
    """Import modules in a fresh interpreter and return which of the watched ones came with them."""
    program = "import sys\n" + "".join(f"import {name}\n" for name in imports)
    program += f"print(*sorted({set(watched)!r} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout.split()


def test_a_loaded_module_is_noticed() -> None:
    """The fresh interpreter reports what an import really drags in."""
    assert loaded_by(["xml.dom.minidom"], {"xml", "kazoo"}) == ["xml"]


def test_the_runner_loads_no_threads_of_others() -> None:
    """Importing every module of the runner loads neither zmq nor kazoo nor structlog, not even indirectly."""
    runner = [name for name in modules() if name.startswith("alb_worker.runner") and "__main__" not in name]
    assert runner
    assert loaded_by(runner, BANNED_IN_RUNNER) == []


def test_the_pure_modules_load_no_io_library() -> None:
    """Importing every pure module loads none of the libraries that do I/O, not even indirectly."""
    pure = [name for name in modules() if is_pure(name)]
    assert pure
    assert loaded_by(pure, {"zmq", "kazoo", "psutil", "structlog", "sqlalchemy"}) == []
