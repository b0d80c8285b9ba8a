"""The way of a file to and from a depot over HTTP: resumable, in large pieces, verified at the receiver.

Blocks, so it belongs into a thread or a process of its own; the pieces are large, so that their hashing and
writing let other threads go on. One call speaks to one depot: who is asked in which order, and how often, is
the caller's decision. ``docs/files.md`` describes what a depot understands.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from alb_core.errors import DepotRefused, DepotUnreachable, TransferStopped, WrongContent

CONNECT_S: Final = 5.0
SILENT_S: Final = 20.0
#: A depot that takes or gives nothing for so long is not reachable.
PIECE_BYTES: Final = 1024 * 1024
SENT_AT_ONCE_BYTES: Final = 8 * 1024 * 1024
#: Between two questions whether the file is still wanted.
SENTENCE_BYTES_MAX: Final = 1000
#: Of a depot's error.
ASK_AGAIN_S: Final = 0.2
#: While a depot hands a file on, or takes the same one from somebody else.
OFFSET: Final = "Upload-Offset"
#: Header: so many bytes of an upload have arrived.
COPY: Final = "X-Alb-Copy"
#: Header of an upload that comes from a depot: it is not handed on again.

_NETWORK_DOWN: Final = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN))

GoesOn = Callable[[], bool]


class Content(msgspec.Struct, frozen=True):
    """The bytes of a file, whatever its name."""

    sha256: str
    size_bytes: int


def always() -> bool:
    """Go on, whatever happens."""
    return True


def content_of(descriptor: int, goes_on: GoesOn = always) -> Content:
    """Read a file and return what it holds.

    Args:
        descriptor: Open for reading.
        goes_on: Asked between pieces.

    Raises:
        TransferStopped: `goes_on` said no.
        OSError: It cannot be read.
    """
    hasher = hashlib.sha256()
    size = _hash(descriptor, hasher, None, goes_on)
    return Content(hasher.hexdigest(), size)


def fetch(depot: str, content: Content, descriptor: int, goes_on: GoesOn = always) -> None:
    """Bring a file from a depot; what the descriptor's file holds already is not fetched again.

    Args:
        depot: ``http://host:port``.
        content: What is wanted.
        descriptor: Open for reading and writing; afterwards its file holds the content, on the disk.
        goes_on: Asked between pieces.

    Raises:
        DepotUnreachable: Nobody answers, or the connection broke.
        DepotRefused: The depot does not have it, or cannot read it.
        WrongContent: Something else came; the file is empty now.
        TransferStopped: `goes_on` said no.
        OSError: The disk is full or broken.
    """
    hasher = hashlib.sha256()
    if os.fstat(descriptor).st_size > content.size_bytes:
        os.ftruncate(descriptor, 0)
    have = _hash(descriptor, hasher, content.size_bytes, goes_on)
    if have < content.size_bytes:
        with _speaking(depot) as connection:
            headers = {"Range": f"bytes={have}-"} if have else {}
            connection.request("GET", f"/files/{content.sha256}", headers=headers)
            answer = connection.getresponse()
            left = content.size_bytes - have
            if answer.status != (206 if have else 200):
                raise _refusal(depot, answer)
            if answer.length != left:
                raise DepotRefused(depot, 404, f"it has another length than {content.size_bytes} bytes")
            _take(depot, answer, descriptor, hasher, left, goes_on)
    if hasher.hexdigest() != content.sha256:
        os.ftruncate(descriptor, 0)
        raise WrongContent(content.sha256, hasher.hexdigest())
    os.fdatasync(descriptor)


def store(  # noqa: PLR0913 (what, where from and where to, and who is told)
    depot: str,
    content: Content,
    descriptor: int,
    goes_on: GoesOn = always,
    *,
    copy: bool = False,
    on_sending: Callable[[], None] | None = None,
) -> int:
    """Bring a file to a depot; what it has already is not sent again.

    Args:
        depot: ``http://host:port``.
        content: What the file holds.
        descriptor: Open for reading.
        goes_on: Asked between pieces.
        copy: We are a depot: the file is not to be handed on.
        on_sending: Called before bytes are sent: not where the depot has them.

    Returns:
        How many depots have it now, as far as this one knows.

    Raises:
        DepotUnreachable: Nobody answers, or the connection broke.
        DepotRefused: There is no room for it, or the depot has another reason.
        WrongContent: The file is not what `content` says: it was changed meanwhile.
        TransferStopped: `goes_on` said no.
    """
    offset: int | None = None
    while True:
        if not goes_on():
            raise TransferStopped(content.sha256)
        status, offset, text = _put(depot, content, descriptor, offset, goes_on, copy=copy)
        if status in (200, 201):
            return max(1, int(text) if text.isdigit() else 1)
        if status == 404 and offset is not None:
            if on_sending is not None:
                on_sending()
            continue
        offset = None
        if status == 422:
            raise WrongContent(content.sha256, text)
        if status not in (202, 409):
            raise DepotRefused(depot, status, text)
        time.sleep(ASK_AGAIN_S)


def store_safely(  # noqa: PLR0913 (as `store`)
    depot: str,
    depots: Sequence[str],
    content: Content,
    descriptor: int,
    goes_on: GoesOn = always,
    *,
    on_sending: Callable[[], None] | None = None,
) -> None:
    """Bring a file to a depot, and see to it that a second one that lives has it.

    A depot does that itself for all that its leader told it of; just after a start that may be none.

    Args:
        depot: Which takes it first.
        depots: All that we know.
        content: As in `store`, as are the others.
        descriptor: As there.
        goes_on: As there.
        on_sending: As there.

    Raises:
        TransferError: As there; the others live, and none of them takes it.
    """
    if store(depot, content, descriptor, goes_on, on_sending=on_sending) > 1:
        return
    refusal: DepotRefused | None = None
    for other in depots:
        if other == depot:
            continue
        try:
            store(other, content, descriptor, goes_on, copy=True)
        except DepotUnreachable:
            continue
        except DepotRefused as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


# --- one request --------------------------------------------------------------------------------------------


def _put(  # noqa: PLR0913 (one request, with all that belongs to it)
    depot: str,
    content: Content,
    descriptor: int,
    offset: int | None,
    goes_on: GoesOn,
    *,
    copy: bool,
) -> tuple[int, int | None, str]:
    """Send a file from an offset on, or ask what of it is there (None); return status, offset and text."""
    size = content.size_bytes
    sent = 0 if offset is None else size - offset
    extent = f"{offset}-{size - 1}/{size}" if sent else f"*/{size}"
    with _speaking(depot) as connection:
        connection.putrequest("PUT", f"/files/{content.sha256}")
        connection.putheader("Content-Range", f"bytes {extent}")
        connection.putheader("Content-Length", str(sent))
        if copy:
            connection.putheader(COPY, "1")
        connection.endheaders()
        if sent and offset is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # The depot has said why before it closed: that is read below.
                _send(connection.sock, descriptor, offset, size, goes_on)
        answer = connection.getresponse()
        told = answer.headers.get(OFFSET, "")
        text = answer.read(SENTENCE_BYTES_MAX).decode(errors="replace").strip()
        return answer.status, int(told) if told.isdigit() else None, text


def _send(link: socket.socket, descriptor: int, offset: int, size: int, goes_on: GoesOn) -> None:
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        while offset < size:
            if not goes_on():
                raise TransferStopped
            sent = link.sendfile(file, offset, min(SENT_AT_ONCE_BYTES, size - offset))
            if not sent:
                raise OSError(errno.EIO, "the file became shorter while it was sent")
            offset += sent


def _take(  # noqa: PLR0913, PLR0917 (the inner loop of a download)
    depot: str,
    answer: http.client.HTTPResponse,
    descriptor: int,
    hasher: hashlib._Hash,
    left: int,
    goes_on: GoesOn,
) -> None:
    """Receive, hash and append `left` bytes."""
    buffer = memoryview(bytearray(min(PIECE_BYTES, left)))
    while left:
        if not goes_on():
            raise TransferStopped
        received = _fill(answer, buffer[: min(left, len(buffer))])
        if not received:
            raise DepotUnreachable(depot, f"it broke off {left} bytes before the end")
        piece = buffer[:received]
        hasher.update(piece)
        _write(descriptor, piece)
        left -= received


def _fill(answer: http.client.HTTPResponse, buffer: memoryview) -> int:
    """Receive until the buffer is full or the stream is over: large pieces cost the least."""
    filled = 0
    while filled < len(buffer):
        received = answer.readinto(buffer[filled:])
        if not received:
            break
        filled += received
    return filled


def _write(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _hash(descriptor: int, hasher: hashlib._Hash, limit: int | None, goes_on: GoesOn) -> int:
    """Feed a file from its beginning to a hasher; the descriptor then stands where that ended."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    buffer = memoryview(bytearray(PIECE_BYTES))
    done = 0
    while limit is None or done < limit:
        if not goes_on():
            raise TransferStopped
        received = os.readv(descriptor, [buffer])
        if not received:
            break
        hasher.update(buffer[:received])
        done += received
    return done


@contextmanager
def _speaking(depot: str) -> Iterator[http.client.HTTPConnection]:
    """Connect to a depot; whatever breaks within the block is told as DepotUnreachable."""
    address = depot.removeprefix("http://").rstrip("/")
    try:
        connection = http.client.HTTPConnection(address, timeout=CONNECT_S)
    except (ValueError, http.client.HTTPException) as error:
        raise DepotUnreachable(depot, f"it has no usable address: {error}") from error
    try:
        connection.connect()
        connection.sock.settimeout(SILENT_S)
    except (OSError, UnicodeError) as error:
        connection.close()
        raise DepotUnreachable(depot, str(error)) from error
    try:
        yield connection
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise DepotUnreachable(depot, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno not in _NETWORK_DOWN:
            raise  # a disk's
        raise DepotUnreachable(depot, str(error)) from error
    finally:
        connection.close()


def _refusal(depot: str, answer: http.client.HTTPResponse) -> DepotRefused:
    text = answer.read(SENTENCE_BYTES_MAX).decode(errors="replace").strip()
    return DepotRefused(depot, answer.status, text or answer.reason)
