"""Planted defects of group commit: the fence, the chain, and when a batch leaves."""

from __future__ import annotations

from typing import Any

from alb_broker.core.ledger import Flight, Ledger
from alb_core import zk, znodes


def no_fence() -> list[tuple[Any, str, Any]]:
    """Batches leave without ``check(/epoch)``."""
    return [(Ledger, "_fence_operations", lambda _: ())]


def no_chain() -> list[tuple[Any, str, Any]]:
    """Batches overwrite ``/commit`` whatever its version."""
    return [(Ledger, "_chain_version", lambda _: -1)]


def blind_retry() -> list[tuple[Any, str, Any]]:
    """A batch whose answer was lost is sent again, on top of whatever is there."""

    def send_again(ledger: Any, node: Any) -> tuple[list[Any], Any]:
        if ledger.flight is not Flight.ASKED or ledger.batch is None or node is None:
            return [], None
        ledger.chain, ledger.flight = node.stat.version, Flight.SENT
        operations = tuple(
            zk.SetData(operation.path, operation.data, ledger.chain)
            if operation.path == znodes.COMMIT
            else operation
            for operation in ledger.batch.operations
        )
        return [], zk.Multi(ledger.batch.token, operations)

    return [(Ledger, "on_commit_read", send_again)]


def gathers_for_ever() -> list[tuple[Any, str, Any]]:
    """A batch waits as long as messages are at hand."""
    return [(Ledger, "ripens", lambda ledger, *, more: ledger.wants_commit() and not more)]
