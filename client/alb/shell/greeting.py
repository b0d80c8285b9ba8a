"""One greeting: whether a broker's loop answers, and whether it says that it leads."""

from __future__ import annotations

from contextlib import closing

import zmq

from alb_core import codec
from alb_core.errors import ConfigError, RemoteProtocolError
from alb_core.io.clock import monotonic, new_id
from alb_core.io.sockets import Dealer, LinkChange
from alb_core.messages import Error, Goodbye, Hello, NotLeader, Welcome

FRAMES_MAX = 16
POLL_S = 0.1


def greet(endpoint: str, user: str, within_s: float) -> Welcome | NotLeader | None:
    """Say Hello to a broker.

    Args:
        endpoint: Its link for clients' requests, ``tcp://host:port``.
        user: Who asks.
        within_s: How long to wait for an answer.

    Returns:
        Its answer; None where none came in time, or nobody listens.
    """
    deadline = monotonic() + within_s
    try:
        dealer = Dealer(endpoint, f"greeting/{new_id()}".encode())
    except ConfigError:
        return None
    with closing(dealer):
        while monotonic() < deadline:
            dealer.socket.poll(int(POLL_S * 1000), zmq.POLLIN)
            if LinkChange.CONNECTED in dealer.changes():
                _say(dealer, Hello(user=user))
            answer = _answer(dealer)
            if isinstance(answer, Error):
                return None
            if answer is not None:
                _say(dealer, Goodbye())
                return answer
    return None


def _say(dealer: Dealer, message: Hello | Goodbye) -> None:
    for frame in codec.encode_frames([message]):
        dealer.send(frame)


def _answer(dealer: Dealer) -> Welcome | NotLeader | Error | None:
    for frame in dealer.receive(FRAMES_MAX):
        try:
            messages = codec.decode_to_client(frame).messages
        except RemoteProtocolError:
            continue
        for message in messages:
            if isinstance(message, Welcome | NotLeader | Error):
                return message
    return None
