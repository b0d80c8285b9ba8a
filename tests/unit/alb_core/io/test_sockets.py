"""Routers, dealers and the doorbell, over real sockets on the loopback."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from alb.local.ports import Port
from alb_core import limits
from alb_core.errors import ConfigError
from alb_core.io.sockets import Dealer, Doorbell, LinkChange, Router, context, make_socket, numeric

WAIT_S = 30.0
WAIT_MS = 30_000


def wait_until(condition: Callable[[], object]) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def router() -> Iterator[Router]:
    made = Router("127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def dealer(router: Router) -> Iterator[Dealer]:
    made = connected(Dealer(router.endpoint, b"w1.1"))
    yield made
    made.close()


def connected(dealer: Dealer) -> Dealer:
    """Wait for the connection of a dealer."""
    wait_until(lambda: LinkChange.CONNECTED in dealer.changes())
    return dealer


def received(end: Router | Dealer, count: int) -> list[object]:
    """Wait for so many frames."""
    found: list[object] = []

    def complete() -> bool:
        found.extend(end.receive(count - len(found)))
        return len(found) >= count

    wait_until(complete)
    return found


def test_frames_go_both_ways(router: Router, dealer: Dealer) -> None:
    """The router hears who sent a frame, and answers by that name."""
    assert dealer.send(b"hello")
    assert received(router, 1) == [(b"w1.1", b"hello")]
    assert router.send(b"w1.1", b"welcome")
    assert received(dealer, 1) == [b"welcome"]


def test_receive_takes_at_most_the_limit(router: Router, dealer: Dealer) -> None:
    """A turn takes a bounded number of frames; the rest stays, in order."""
    for number in range(10):
        assert dealer.send(b"%d" % number)
    wait_until(lambda: router.socket.poll(0))
    first = received(router, 4)
    assert [frame for _, frame in first] == [b"0", b"1", b"2", b"3"]  # type: ignore[misc, has-type]
    assert len(received(router, 6)) == 6
    assert router.receive(10) == []


def test_unknown_peer_is_told(router: Router) -> None:
    """Sending to somebody who is not connected fails at once, and is counted."""
    assert not router.send(b"nobody", b"frame")
    assert router.unsent == 1


def test_peer_that_does_not_read_is_told() -> None:
    """A peer that takes nothing fills up; then sends fail instead of blocking the broker."""
    narrow = Router("127.0.0.1", high_water=2)
    deaf = connected(Dealer(narrow.endpoint, b"deaf", high_water=2))
    frame = bytes(limits.MESSAGE_BYTES_MAX // 2)
    begun = time.monotonic()
    assert not all(narrow.send(b"deaf", frame) for _ in range(50))
    assert time.monotonic() - begun < WAIT_S
    deaf.close()
    narrow.close()


def test_messages_of_several_parts_are_dropped_and_counted(router: Router, dealer: Dealer) -> None:
    """One frame is one message: anything else is dropped, and the next message is still understood."""
    dealer.socket.send_multipart([b"two", b"parts"])
    assert dealer.send(b"good")
    assert received(router, 1) == [(b"w1.1", b"good")]
    assert router.dropped == 1
    router.socket.send_multipart([b"w1.1", b"two", b"parts"])
    assert router.send(b"w1.1", b"good")
    assert received(dealer, 1) == [b"good"]
    assert dealer.dropped == 1


def test_oversize_message_cuts_only_its_sender_off(router: Router, dealer: Dealer) -> None:
    """A frame beyond the bound never arrives; its sender is cut off, others are heard."""
    rude = connected(Dealer(router.endpoint, b"rude"))
    assert rude.send(bytes(limits.MESSAGE_BYTES_MAX + 1))
    wait_until(lambda: LinkChange.DISCONNECTED in rude.changes())
    assert dealer.send(b"polite")
    assert received(router, 1) == [(b"w1.1", b"polite")]
    rude.close()


def test_largest_message_passes(router: Router, dealer: Dealer) -> None:
    """A frame of exactly the bound arrives."""
    frame = os.urandom(1000) + bytes(limits.MESSAGE_BYTES_MAX - 1000)
    assert dealer.send(frame)
    assert received(router, 1) == [(b"w1.1", frame)]


def test_returning_peer_takes_its_name_over(router: Router, dealer: Dealer) -> None:
    """A second connection under the same name is the one that is heard and answered."""
    again = connected(Dealer(router.endpoint, b"w1.1"))
    assert again.send(b"me")
    assert received(router, 1) == [(b"w1.1", b"me")]
    assert router.send(b"w1.1", b"you")
    assert received(again, 1) == [b"you"]
    assert dealer.receive(1) == []
    again.close()


def test_nothing_is_queued_for_an_endpoint_that_is_not_there(closed_port: Port) -> None:
    """Without a connection a send fails, so nothing old arrives later at somebody new."""
    dealer = Dealer(f"tcp://127.0.0.1:{closed_port.number}", b"w1")
    assert not dealer.send(b"old")
    wait_until(lambda: LinkChange.FAILED in dealer.changes())
    router = Router("127.0.0.1", closed_port.number)
    connected(dealer)
    assert dealer.send(b"new")
    assert received(router, 1) == [(b"w1", b"new")]
    dealer.close()
    router.close()


def test_end_of_the_other_side_is_told() -> None:
    """A dealer hears that its router is gone."""
    router = Router("127.0.0.1")
    dealer = connected(Dealer(router.endpoint, b"w1"))
    router.close()
    wait_until(lambda: LinkChange.DISCONNECTED in dealer.changes())
    dealer.close()


def test_sockets_can_be_polled(router: Router, dealer: Dealer) -> None:
    """One poller serves the frames, the monitor and the doorbell."""
    bell = Doorbell()
    poller = zmq.Poller()
    for end in (router.socket, dealer.monitor, bell.fileno()):
        poller.register(end, zmq.POLLIN)
    assert poller.poll(0) == []
    dealer.send(b"x")
    assert [end for end, _ in poller.poll(WAIT_MS)] == [router.socket]
    router.receive(1)
    bell.ring()
    assert [end for end, _ in poller.poll(WAIT_MS)] == [bell.fileno()]
    bell.close()


def test_taken_port_is_a_configuration_error(router: Router) -> None:
    """The error names the address and the port."""
    port = int(router.endpoint.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
        Router("127.0.0.1", port)


def test_malformed_endpoint_is_a_configuration_error() -> None:
    """The error shows what was given."""
    with pytest.raises(ConfigError, match="'nonsense' is not tcp"):
        Dealer("nonsense", b"w1")


def test_a_link_that_cannot_be_watched_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files: a socket that stayed open would keep the process from ending."""
    made: list[zmq.Socket[bytes]] = []

    def fail(socket: zmq.Socket[bytes], *_: object) -> None:
        made.append(socket)
        raise zmq.ZMQError(24)

    monkeypatch.setattr(zmq.Socket, "get_monitor_socket", fail)
    with pytest.raises(zmq.ZMQError):
        Dealer("tcp://127.0.0.1:1", b"x")
    assert [socket.closed for socket in made] == [True]


def test_endpoint_is_the_advertised_address() -> None:
    """Others are told the advertised address, with the port that was bound."""
    router = Router("127.0.0.1", advertise="192.0.2.7")
    assert router.endpoint.startswith("tcp://192.0.2.7:")
    router.close()


def test_loopback_of_version_6() -> None:
    """An IPv6 address is bracketed in the endpoint, and can be connected to."""
    if not Path("/proc/net/if_inet6").exists():
        with pytest.raises(ConfigError, match="::1"):
            Router("::1")
        return
    router = Router("::1")
    assert router.endpoint.startswith("tcp://[::1]:")
    connected(Dealer(router.endpoint, b"w1")).close()
    router.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "no-such-host.invalid"])
def test_names_that_mean_nothing_elsewhere_are_kept(host: str) -> None:
    """A loopback's name, or one that nobody knows, is passed on as it is."""
    assert numeric(host) == host


def test_numbers_stay_numbers() -> None:
    """An address in digits needs no name server."""
    assert numeric("192.0.2.7") == "192.0.2.7"


def test_every_option_is_set() -> None:
    """Options that libzmq would leave dangerous are set on each socket before it is used."""
    router = make_socket(zmq.ROUTER)
    assert router.getsockopt(zmq.LINGER) == 0
    assert router.getsockopt(zmq.MAXMSGSIZE) == limits.MESSAGE_BYTES_MAX
    assert router.getsockopt(zmq.HEARTBEAT_IVL) == 2000
    assert router.getsockopt(zmq.HANDSHAKE_IVL) == 5000
    router.close()
    dealer = make_socket(zmq.DEALER)
    assert dealer.getsockopt(zmq.IMMEDIATE) == 1
    assert dealer.getsockopt(zmq.RECONNECT_IVL_MAX) == 2000
    dealer.close()


def test_one_context_a_process() -> None:
    """Everybody shares the context."""
    assert context() is context()


def test_a_child_has_sockets_of_its_own(router: Router, dealer: Dealer) -> None:
    """Those of its parent go on; it inherits neither their threads nor their context."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # libzmq's threads, from Python 3.12 on
        child = os.fork()
    if not child:
        try:
            connected(Dealer(router.endpoint, b"child")).send(b"hello")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert received(router, 1) == [(b"child", b"hello")]
        assert dealer.send(b"still here")
        assert received(router, 1) == [(b"w1.1", b"still here")]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_closing_does_not_wait() -> None:
    """Frames that nobody takes do not hold a close up."""
    router = Router("127.0.0.1")
    dealer = connected(Dealer(router.endpoint, b"w1"))
    for _ in range(20):
        dealer.send(bytes(1024 * 1024))
    begun = time.monotonic()
    dealer.close()
    router.close()
    assert time.monotonic() - begun < 10


def test_doorbell_wakes_from_another_thread() -> None:
    """A ring makes the descriptor readable until it is cleared; many rings are one."""
    bell = Doorbell()
    poller = zmq.Poller()
    poller.register(bell.fileno(), zmq.POLLIN)
    assert not poller.poll(0)
    ringers = [threading.Thread(target=bell.ring) for _ in range(5)]
    for ringer in ringers:
        ringer.start()
    assert poller.poll(WAIT_MS)
    for ringer in ringers:
        ringer.join()
    bell.clear()
    assert not poller.poll(0)
    bell.clear()
    bell.close()


def test_late_ring_is_harmless() -> None:
    """A thread that rings after the close touches no descriptor."""
    bell = Doorbell()
    bell.close()
    bell.ring()
    bell.close()
