"""Messages to bytes and back: whole, bounded, and never half understood."""

from __future__ import annotations

import typing
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alb_core import codec, limits, messages
from alb_core.arrays import ArraySpec
from alb_core.errors import LocalProtocolError, RemoteProtocolError
from alb_core.messages import (
    Accepted,
    AttemptId,
    Beat,
    Chunk,
    Finished,
    Hello,
    Kill,
    Message,
    Ping,
    Run,
    StreamName,
    Submit,
)
from alb_core.resources import Load, Request
from alb_core.spec import OnLost, Retry, Start, TaskSpec
from alb_core.tasks import Result, Stream, TaskState

S = TypeVar("S", bound=msgspec.Struct)

TEXT = st.text(max_size=20)
SPECS = st.builds(
    TaskSpec,
    command=st.one_of(TEXT, st.lists(TEXT, max_size=4).map(tuple)),
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    cwd=st.none() | TEXT,
    time_limit_s=st.none() | st.floats(0, 1e6),
    request=st.builds(Request, cpus=st.floats(0, 64), labels=st.lists(TEXT, max_size=2).map(tuple)),
    priority=st.integers(-9, 9),
    on_lost=st.sampled_from(OnLost),
    preemptible=st.booleans(),
    name=TEXT,
)
IDS = st.builds(AttemptId, task=TEXT, n=st.integers(1, 1000))
RESULTS = st.builds(
    Result,
    state=st.sampled_from(TaskState),
    exit_code=st.none() | st.integers(0, 255),
    stdout=st.binary(max_size=40).map(lambda data: Stream.of(data, len(data))),
)
FROM_CLIENT = st.one_of(
    st.builds(Hello, user=TEXT, client=TEXT),
    st.builds(Ping, seq=st.integers(0, 2**40), tasks=st.lists(TEXT, max_size=3).map(tuple)),
)
TO_CLIENT = st.one_of(
    st.builds(Accepted, id=TEXT, state=st.sampled_from(TaskState), attempt=st.integers(0, 9), worker=TEXT),
    st.builds(Finished, id=TEXT, result=RESULTS),
)
FROM_WORKER = st.builds(Beat, load=st.builds(Load, cpu=st.floats(0, 8), running=st.integers(0, 99)))
TO_WORKER = st.builds(Kill, attempt=IDS, why=st.sampled_from(["cancelled", "superseded"]))
OUTPUT = st.builds(
    Chunk,
    task=TEXT,
    attempt=st.integers(0, 9),
    stream=st.sampled_from(StreamName),
    offset=st.integers(0, 2**50),
    data=st.binary(max_size=50),
    end=st.booleans(),
    reader=st.binary(max_size=9),
)


@given(SPECS)
def test_a_specification_travels_whole(spec: TaskSpec) -> None:
    """And equal ones give equal bytes, so that a resubmission is recognised."""
    assert codec.decode_spec(codec.encode_spec(spec)) == spec
    assert codec.encode_spec(codec.decode_spec(codec.encode_spec(spec))) == codec.encode_spec(spec)


@given(SPECS, st.randoms(use_true_random=False))
def test_equal_specifications_give_equal_bytes(spec: TaskSpec, chance: Random) -> None:
    """However they were made: defaults spelt out, whole numbers for floats, variables in another order."""
    names = list(spec.env)
    chance.shuffle(names)
    spelt = msgspec.structs.replace(
        _spelt(spec), env={name: spec.env[name] for name in names}, request=_spelt(spec.request)
    )
    assert spelt == spec
    assert codec.encode_spec(spelt) == codec.encode_spec(spec)


def _spelt(value: S) -> S:
    """Return an equal value none of whose floats is the declared object, nor a float where it is whole."""
    floats = {
        field.name: int(number) if number.is_integer() else float(repr(number))
        for field in msgspec.structs.fields(value)
        if isinstance(number := getattr(value, field.name), float)
    }
    return msgspec.structs.replace(value, **floats)


def test_what_only_equals_a_default_does_not_travel() -> None:
    """An operator reads in a znode what was asked for, and nothing else; so does an array."""
    spelt = TaskSpec(command="x", grace_s=5, request=Request(1), retry=Retry(delay_s=1), start=Start(begin=0))
    assert codec.encode_spec(spelt) == codec.encode_spec(TaskSpec(command="x"))
    assert msgspec.msgpack.decode(codec.encode_spec(spelt)) == {"command": "x"}
    assert msgspec.msgpack.decode(codec.encode_array(ArraySpec(task=spelt))) == {"task": {"command": "x"}}


def test_the_same_specification_is_read_once() -> None:
    """Thousands of tasks of the same bytes share one value; what is wrong with it is told each time."""
    wire = codec.encode_spec(TaskSpec(command=("/bin/true",), env={"A": "b"}))
    spec, wrong = codec.read_spec(wire)
    again, _ = codec.read_spec(bytes(bytearray(wire)))
    assert (spec, wrong) == (codec.decode_spec(wire), None)
    assert again is spec
    nothing = codec.encode_spec(TaskSpec(command=()))
    assert "is empty" in (codec.read_spec(nothing)[1] or "")
    assert "is empty" in (codec.read_spec(nothing)[1] or "")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="not a task specification"):
            codec.read_spec(b"\xc1")


def _through(frames: list[bytes], decode: Any) -> list[Message]:
    return [message for frame in frames for message in decode(frame)]


@given(st.lists(FROM_CLIENT, max_size=20))
def test_clients_messages_travel_whole(sent: list[Message]) -> None:
    """In their order."""
    assert _through(codec.encode_frames(sent), codec.decode_from_client) == sent


@given(st.lists(FROM_WORKER, max_size=20))
def test_workers_messages_travel_whole(sent: list[Message]) -> None:
    """In their order."""
    assert _through(codec.encode_frames(sent), codec.decode_from_worker) == sent


@given(st.lists(OUTPUT, max_size=20))
def test_output_travels_whole(sent: list[Message]) -> None:
    """Byte for byte."""
    assert _through(codec.encode_frames(sent), codec.decode_output) == sent


@given(st.lists(TO_CLIENT, max_size=20), st.lists(TO_WORKER, max_size=20), st.integers(0, 2**40))
def test_brokers_messages_travel_under_their_epoch(
    clients: list[Message], workers: list[Message], epoch: int
) -> None:
    """Every frame names epoch and table."""
    for sent, decode in ((clients, codec.decode_to_client), (workers, codec.decode_to_worker)):
        envelopes = [decode(frame) for frame in codec.encode_broker_frames(epoch, "table-1", sent)]
        assert [message for envelope in envelopes for message in envelope.messages] == sent
        assert {(envelope.epoch, envelope.table) for envelope in envelopes} <= {(epoch, "table-1")}


def test_what_is_said_although_it_is_so_anyway_is_not_kept() -> None:
    """Of what a client spells out only what differs from the defaults goes into the table; the rest stays."""
    spelt = {
        "command": ["x"],
        "grace_s": 5.0,
        "request": {"cpus": 1.0, "memory_bytes": 0},
        "retry": {"times": 0, "delay_s": 1.0, "memory_factor": 1.0},
        "start": {"begin": 0.0, "delay_s": 0.0},
        "bounds": {"cpu_s": None},
    }
    spec, why = codec.read_spec(msgspec.msgpack.encode(spelt))
    assert why is None
    assert codec.encode_spec(spec) == codec.encode_spec(TaskSpec(command=("x",)))
    other = {**spelt, "grace_s": 1.0, "request": {"cpus": 2.0}, "retry": {"times": 1, "delay_s": 1.0}}
    spec, _ = codec.read_spec(msgspec.msgpack.encode(other))
    assert (spec.grace_s, spec.request.cpus, spec.retry.times) == (1.0, 2.0, 1)
    assert spec == codec.decode_spec(msgspec.msgpack.encode(other))


def test_a_specification_inside_a_message_is_not_touched() -> None:
    """Its bytes arrive as they were sent: they make the digest."""
    wire = codec.encode_spec(TaskSpec(command=("/bin/true",), name="x"))
    submission = Submit(id="t", spec=msgspec.Raw(wire))
    (received,) = _through(codec.encode_frames([submission]), codec.decode_from_client)
    assert isinstance(received, Submit)
    assert bytes(received.spec) == wire
    order = Run(attempt=AttemptId("t", 1), spec=received.spec)
    envelope = codec.decode_to_worker(codec.encode_broker_frames(1, "t", [order])[0])
    assert isinstance(envelope.messages[0], Run)
    assert bytes(envelope.messages[0].spec) == wire


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([10, 1000, 200_000, limits.CHUNK_BYTES_MAX]), max_size=40))
def test_frames_are_bounded(sizes: list[int]) -> None:
    """No frame is larger than a socket takes, however much is sent at once; and none is empty."""
    sent = [
        Chunk(task="t", attempt=1, stream=StreamName.STDOUT, offset=index, data=b"x" * size)
        for index, size in enumerate(sizes)
    ]
    frames = codec.encode_frames(sent)
    assert all(len(frame) < limits.FRAME_BYTES_SOFT + limits.CHUNK_BYTES_MAX for frame in frames)
    assert _through(frames, codec.decode_output) == sent
    assert all(codec.decode_output(frame) for frame in frames)


def test_a_frame_holds_a_bounded_number_of_messages() -> None:
    """So that others get their turn."""
    frames = codec.encode_frames([Ping(seq=number) for number in range(2 * limits.FRAME_MESSAGES_MAX + 1)])
    lengths = [len(codec.decode_from_client(frame)) for frame in frames]
    assert lengths == [limits.FRAME_MESSAGES_MAX, limits.FRAME_MESSAGES_MAX, 1]


def test_a_message_that_no_socket_would_take_is_not_sent() -> None:
    """It would cost the peer its connection."""
    huge = Chunk(
        task="t", attempt=1, stream=StreamName.STDOUT, offset=0, data=b"x" * limits.MESSAGE_BYTES_MAX
    )
    with pytest.raises(LocalProtocolError, match="Chunk has"):
        codec.encode_frames([huge])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x00\xff" * 100,
        msgspec.msgpack.encode({"type": "Hello"}),
        msgspec.msgpack.encode([{"type": "Dance"}]),
        msgspec.msgpack.encode([{"type": "Hello", "user": 7}]),
        msgspec.msgpack.encode([{"type": "Hello"}]),
        msgspec.msgpack.encode([{"type": "Accepted", "id": "x"}]),
        msgspec.msgpack.encode([["Hello", "ann"]]),
        msgspec.msgpack.encode([{"type": "Hello", "user": "ann"}])[:-1],
        b"\x91\x82\xa4type\xa5Hello\xa4user\xa2\xff\xfe",
    ],
)
def test_a_broken_frame_is_refused_whole(frame: bytes) -> None:
    """Nothing is guessed from it; the error says what is wrong."""
    with pytest.raises(RemoteProtocolError, match=f"a frame of {len(frame)} bytes cannot be understood"):
        codec.decode_from_client(frame)


@given(st.binary(max_size=200))
def test_no_bytes_break_a_decoder(frame: bytes) -> None:
    """Whatever a stranger sends, there is a message or the one error."""
    for decode in (
        codec.decode_from_client,
        codec.decode_from_worker,
        codec.decode_output,
        codec.decode_to_client,
        codec.decode_to_worker,
        codec.decode_spec,
    ):
        try:
            decode(frame)
        except RemoteProtocolError:
            continue


def test_unknown_fields_are_ignored() -> None:
    """A newer peer may say more."""
    frame = msgspec.msgpack.encode([{"type": "Hello", "user": "ann", "shoe_size": 43}])
    assert codec.decode_from_client(frame) == [Hello(user="ann")]


@pytest.mark.parametrize("group", ["ClientMessage", "ToClient", "WorkerMessage", "ToWorker", "OutputMessage"])
def test_every_message_is_documented_and_has_one_name(group: str) -> None:
    """The tag on the wire is the name of the class, and each says what it means."""
    kinds = typing.get_args(getattr(messages, group))
    assert kinds
    assert len({kind.__name__ for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.__struct_config__.tag == kind.__name__
        assert kind.__doc__
