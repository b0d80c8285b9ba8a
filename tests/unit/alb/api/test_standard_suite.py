"""CPython's own tests of executors, run on ours; where they are not installed, the reason is printed.

Debian has them in ``libpython3.11-testsuite`` (of another version accordingly), other builds of Python in the
package `test`. Only the classes that know no kind of executor are taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.unit.alb.calling_broker import CallingBroker

import alb

NAME = "test.test_concurrent_futures"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
CLASSES = {
    "ExecutorTest": "executor",
    "WaitTests": "test_wait",
    "AsCompletedTests": "test_as_completed",
}
#: And the module that each is in since Python 3.12.


def _from_debian() -> ModuleType | None:
    """Load the tests of Debian's Python of the same version, from where that keeps them."""
    file = Path("/usr/lib", VERSION, "test", "test_concurrent_futures.py")
    if not file.exists():
        return None
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # what is pickled is found again by this name
    spec.loader.exec_module(module)
    return module


def _find(name: str) -> Any:
    """Return one of the classes; None: it is not installed."""
    for module in (f"{NAME}.{CLASSES[name]}", NAME):
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return getattr(_from_debian(), name, None)


def _tests() -> list[Any]:
    found = {name: _find(name) for name in CLASSES}
    return [
        pytest.param(made, test, id=f"{name}.{test}")
        for name, made in found.items()
        if made is not None
        for test in unittest.TestLoader().getTestCaseNames(made)
    ]


TESTS = _tests()


@pytest.fixture
def cluster(name_leader: Any) -> Iterator[None]:
    """A leader that does calls."""
    with CallingBroker(slots=5) as leader:
        name_leader(leader)
        yield


def test_the_suite_is_installed() -> None:
    """Or what to install is said."""
    if not TESTS:
        pytest.skip(f"CPython's tests are not installed; on Debian: apt install lib{VERSION}-testsuite")
    assert {test.values[0].__name__ for test in TESTS} == set(CLASSES)


@pytest.mark.parametrize(("suite", "test"), TESTS)
@pytest.mark.usefixtures("cluster")
def test_of_the_standard_library(suite: Any, test: str) -> None:
    """What it expects of a pool of threads or processes, it finds here."""

    class Case(suite, unittest.TestCase):  # type: ignore[misc]
        """The class, with our executor."""

        worker_count = 5
        executor_type = alb.Executor

        def setUp(self) -> None:
            self.executor = alb.Executor(self.worker_count, zk="zk:2181")

        def tearDown(self) -> None:
            self.executor.shutdown()

    result = unittest.TestResult()
    Case(test).run(result)
    troubles = [text for _, text in (*result.errors, *result.failures)]
    assert (result.testsRun, troubles) == (1, [])
