"""The trial of a plug-in: its process ends with a status of its own once the import came to an end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alb_core.io import trial


@pytest.mark.parametrize("value", ["json:dumps", "json:nothing", "no_such_module:choose", "this is:none"])
def test_what_comes_to_an_end_has_stood_it(value: str) -> None:
    """Well, or with an exception: that meets whoever imports it next."""
    ran = subprocess.run([sys.executable, "-P", "-m", trial.__name__, value], check=False, timeout=60)
    assert ran.returncode == trial.ENDED
