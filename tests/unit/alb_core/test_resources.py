"""What fits an empty worker."""

from __future__ import annotations

import pytest

from alb_core.resources import Capacity, Request, fits

OFFER = Capacity(cpus=4, memory_bytes=1000, net_bps=100, labels=("ssd", "zone=a"))


@pytest.mark.parametrize(
    ("request_", "fitting"),
    [
        (Request(), True),
        (Request(4, 1000, 100, ("zone=a", "ssd")), True),
        (Request(4.01), False),
        (Request(1, 1001), False),
        (Request(1, 0, 101), False),
        (Request(1, labels=("gpu",)), False),
        (Request(1, labels=("zone",)), False),
    ],
)
def test_every_resource_counts(request_: Request, fitting: bool) -> None:  # noqa: FBT001 (parametrized)
    """Each at most what is offered, each label there."""
    assert fits(request_, OFFER) is fitting


def test_unknown_bandwidth_fits_only_who_reserves_none() -> None:
    """Nobody can promise what nobody knows."""
    unknown = Capacity(cpus=1, memory_bytes=1)
    assert fits(Request(), unknown)
    assert not fits(Request(net_bps=1), unknown)
