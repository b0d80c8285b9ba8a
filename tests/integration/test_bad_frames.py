"""What a stranger can send to a broker's ports: each gets its error, and nothing else suffers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import zmq

from alb import Client
from alb.local.cluster import LocalCluster
from alb_core import codec, limits
from alb_core.ids import uuid7
from alb_core.messages import Error, Hello, Message, Rejected, Submit, Welcome
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

ANSWER_MS = 10_000


@pytest.fixture
def stranger(cluster: LocalCluster) -> Iterator[zmq.Socket[bytes]]:
    """A bare link to the leader's port for clients."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(cluster.wait_for_leader().clients)
    yield socket
    socket.close()
    context.term()


@pytest.fixture(autouse=True)
def _others_go_on(client: Client) -> Iterator[None]:
    """A command that runs meanwhile, and one that comes after, are not touched."""
    meanwhile = client.submit("sleep 1; echo meanwhile")
    yield
    assert meanwhile.result(timeout=30).stdout == b"meanwhile\n"
    assert client.submit("echo after").result(timeout=30).state is TaskState.SUCCEEDED


def _answer(socket: zmq.Socket[bytes], kind: type[Message]) -> Message:
    """Return the next message of a kind."""
    while socket.poll(ANSWER_MS):
        for message in codec.decode_to_client(socket.recv()).messages:
            if isinstance(message, kind):
                return message
    pytest.fail(f"no {kind.__name__} within {ANSWER_MS} ms")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xfe garbage",
        b"\xc1" * 100,
        msgspec.msgpack.encode({"not": "a list"}),
        msgspec.msgpack.encode([{"type": "MakeCoffee"}]),
        msgspec.msgpack.encode([{"type": "Submit", "id": 7}]),
        msgspec.msgpack.encode([[[[[[]]]]]]),
    ],
    ids=["empty", "garbage", "never-used-byte", "no-list", "unknown-verb", "wrong-type", "nested"],
)
def test_a_malformed_frame_is_refused(stranger: zmq.Socket[bytes], frame: bytes) -> None:
    """A frame that cannot be understood is answered with an error that says so."""
    stranger.send(frame)
    error = _answer(stranger, Error)
    assert isinstance(error, Error)
    assert error.why


def test_a_frame_of_many_parts_is_refused_or_dropped(stranger: zmq.Socket[bytes]) -> None:
    """Parts that nobody asked for do not confuse the frames that follow."""
    stranger.send_multipart([b"one", b"two", b"three"])
    stranger.send(codec.encode_frames([Hello(user="stranger")])[0])
    assert isinstance(_answer(stranger, Welcome), Welcome)


def test_an_oversize_message_ends_the_link(stranger: zmq.Socket[bytes]) -> None:
    """A message above the bound is never read into memory: the link is dropped, and may come back."""
    stranger.send(b"x" * (limits.MESSAGE_BYTES_MAX + 1))
    stranger.send(codec.encode_frames([Hello(user="stranger")])[0])
    assert isinstance(_answer(stranger, Welcome), Welcome)


def test_another_version_is_told_both(stranger: zmq.Socket[bytes]) -> None:
    """A greeting of another protocol version is refused with a sentence that names both versions."""
    stranger.send(codec.encode_frames([Hello(user="stranger", protocol=99)])[0])
    error = _answer(stranger, Error)
    assert isinstance(error, Error)
    assert "99" in error.why
    assert str(limits.PROTOCOL_VERSION) in error.why


@pytest.mark.parametrize(
    ("task_id", "spec", "says"),
    [
        ("../../etc/passwd", b"", "id"),
        ("A" * 32, b"", "id"),
        ("", b"\x80", "specification"),
        ("", codec.encode_spec(TaskSpec(command="x" * 70_000)), str(limits.SPEC_BYTES_MAX)),
        ("", codec.encode_spec(TaskSpec(command="")), "command"),
        ("", codec.encode_spec(TaskSpec(command="true", env={"A=B": "c"})), "environment"),
    ],
    ids=["path", "no-hex", "no-spec", "too-large", "empty-command", "impossible-variable"],
)
def test_a_wrong_task_is_rejected(stranger: zmq.Socket[bytes], task_id: str, spec: bytes, says: str) -> None:
    """A submission that our own client would never send is rejected by the broker too."""
    stranger.send(codec.encode_frames([Hello(user="stranger")])[0])
    _answer(stranger, Welcome)
    submit = Submit(
        id=task_id or uuid7(0, b"0123456789"),
        spec=msgspec.Raw(spec or codec.encode_spec(TaskSpec(command="true"))),
    )
    stranger.send(msgspec.msgpack.encode([submit]))
    refusal = _answer(stranger, Rejected | Error)  # type: ignore[arg-type]
    assert isinstance(refusal, Rejected | Error)
    assert says in refusal.why
