"""Finds the installed policies: entry points of the group ``alb.policies``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final

from alb_broker.core.placement import DEFAULT_POLICY
from alb_broker.policies import Policy
from alb_core.errors import ConfigError

GROUP: Final = "alb.policies"


def load_policies() -> dict[str, Policy]:
    """Import every installed policy.

    Returns:
        Policies by name; the default is among them.

    Raises:
        ConfigError: One cannot be imported, or the default is missing: the installation is broken.
    """
    policies: dict[str, Policy] = {}
    for point in entry_points(group=GROUP):
        try:
            policies[point.name] = point.load()
        except Exception as error:
            raise ConfigError(f"the policy {point.name} ({point.value}) cannot be loaded: {error}") from error
    if DEFAULT_POLICY not in policies:
        raise ConfigError(
            f"the policy {DEFAULT_POLICY} is not installed; install alb again (pip install -e .)"
        )
    return policies
