"""What a depot understands over HTTP. ``docs/files.md`` is the page for people; ``curl`` is enough to use it.

``PUT`` brings a file, from where an earlier try ended; ``GET`` and ``HEAD`` give it; ``GET /`` says how the
depot is; ``PUT /census`` is the leader's word, passed on by its own depot. Every refusal is a sentence.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import ClientError, web

from alb_broker.depot.census import DIGEST, SEAL, BadCensus, StaleCensus, is_sealed, read_census
from alb_broker.depot.exchange import Exchange
from alb_broker.depot.shelf import Arrival, NoRoom, Shelf, Taken
from alb_core import limits
from alb_core.errors import TransferError, WrongContent
from alb_core.files import is_sha256
from alb_core.io.logs import Logger
from alb_core.io.transfer import COPY, OFFSET, SILENT_S, Content

READ_BYTES: Final = 1024 * 1024
#: Of a connection: so much is hashed and written at once.
ANSWER_WITHIN_S: Final = 10.0
#: A file that is still on its way to a second depot after so long is asked for again.
CENSUS_BYTES_MAX: Final = 256 * 1024 * 1024
#: Some 80 bytes a file: the table has no room for more.

_EXTENT: Final = re.compile(r"bytes (?:(\d{1,15})-(\d{1,15})|\*)/(\d{1,15})\Z")
_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Extent(msgspec.Struct, frozen=True):
    """Which bytes of a file a request brings: from `offset` on; None: none, it only asks."""

    offset: int | None
    size_bytes: int


class DepotServer:
    """The handlers of one depot.

    Args:
        shelf: Its files.
        exchange: The other depots.
        key: By which a leader is believed.
        log: Where it writes what happened.
    """

    def __init__(self, shelf: Shelf, exchange: Exchange, key: str, log: Logger) -> None:
        self._shelf: Final = shelf
        self._exchange: Final = exchange
        self._key: Final = key
        self._log: Final = log

    def application(self) -> web.Application:
        """Return what serves the requests."""
        application = web.Application(middlewares=[self._explain], client_max_size=CENSUS_BYTES_MAX)
        application.add_routes(
            [
                web.get("/", self._status, allow_head=False),
                web.put("/census", self._census),
                web.get("/files/{sha256}", self._get, allow_head=False),
                web.head("/files/{sha256}", self._head),
                web.put("/files/{sha256}", self._put),
            ]
        )
        return application

    # --- reading --------------------------------------------------------------------------------------------

    async def _status(self, _request: web.Request) -> web.Response:
        used = self._exchange.used()
        return web.json_response(
            {
                "files": len(self._shelf),
                "bytes": self._shelf.bytes,
                "bytes_max": self._shelf.bytes_max,
                "used": None if used is None else len(used),
                "depots": [*self._exchange.knowledge.depots()],
            }
        )

    async def _head(self, request: web.Request) -> web.StreamResponse:
        sha256 = _sha256(request)
        size = self._shelf.size(sha256)
        if size is None:
            raise web.HTTPNotFound(headers={OFFSET: str(self._shelf.arrived(sha256))})
        return web.Response(headers={"Content-Length": str(size), "Accept-Ranges": "bytes"})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        sha256 = _sha256(request)
        if self._shelf.size(sha256) is None:
            raise web.HTTPNotFound(text=f"there is no file {sha256} here; another depot may have it")
        path = self._shelf.path(sha256)
        if not path.exists():
            self._shelf.forget(sha256)
            raise web.HTTPNotFound(text=f"the file {sha256} was removed from this depot's disk by somebody")
        self._shelf.touch(sha256)
        return web.FileResponse(
            path, chunk_size=READ_BYTES, headers={"Content-Type": "application/octet-stream"}
        )

    # --- writing --------------------------------------------------------------------------------------------

    async def _put(self, request: web.Request) -> web.Response:
        """Take a file, or a part of it; answer when it is safe."""
        extent = _extent(request)
        content = Content(_sha256(request), extent.size_bytes)
        known = self._shelf.size(content.sha256)
        if known is not None and known != content.size_bytes:
            raise web.HTTPUnprocessableEntity(
                text=f"the file {content.sha256} has {known} bytes, and not {content.size_bytes}"
            )
        if known is None and (extent.offset is not None or not content.size_bytes):
            await self._receive(request, content, extent.offset or 0)
        elif known is None:
            self._look_for_room(content)
            arrived = self._shelf.arrived(content.sha256)
            raise web.HTTPNotFound(
                text=f"{arrived} of {content.size_bytes} bytes are here", headers={OFFSET: str(arrived)}
            )
        self._shelf.touch(content.sha256)
        if COPY in request.headers:
            return web.Response(text="1\n")
        return await self._make_safe(content)

    async def _make_safe(self, content: Content) -> web.Response:
        if not self._exchange.knowledge.known:
            raise web.HTTPServiceUnavailable(
                text="this depot has not heard of a leader yet, and knows no other depot; ask again"
            )
        copies = await self._exchange.second_copy(content, ANSWER_WITHIN_S)
        if copies is None:
            return web.Response(status=202, text="it is here, and on its way to a second depot; ask again\n")
        return web.Response(status=201, text=f"{copies}\n")

    def _look_for_room(self, content: Content) -> None:
        try:
            self._shelf.make_room(content.size_bytes, self._exchange.used(), besides=content.sha256)
        except NoRoom as error:
            raise web.HTTPInsufficientStorage(text=str(error)) from error

    async def _receive(self, request: web.Request, content: Content, offset: int) -> None:
        arrived = self._shelf.arrived(content.sha256)
        if offset > arrived:
            raise web.HTTPConflict(
                text=f"only {arrived} bytes have arrived: go on from there", headers={OFFSET: str(arrived)}
            )
        try:
            arrival = self._shelf.begin(content, self._exchange.used())
        except Taken as error:
            raise web.HTTPConflict(text="somebody else brings the same file now; ask again") from error
        except NoRoom as error:
            raise web.HTTPInsufficientStorage(text=str(error)) from error
        whole = False
        try:
            await self._receive_into(arrival, request, offset)
            whole = True
        except WrongContent as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from error
        except OSError as error:
            raise self._disk_refuses(arrival, error) from error
        finally:
            self._shelf.end(arrival, whole=whole)
        self._log.info("file_stored", sha256=content.sha256, bytes=content.size_bytes, resumed_at=offset)

    async def _receive_into(self, arrival: Arrival, request: web.Request, offset: int) -> None:
        size = arrival.content.size_bytes
        await asyncio.to_thread(arrival.open, offset)
        while arrival.offset < size:
            try:
                async with asyncio.timeout(SILENT_S):
                    piece = await request.content.readany()
            except TimeoutError as error:
                raise web.HTTPRequestTimeout(text=f"nothing came for {SILENT_S:.0f} s") from error
            except (ClientError, ConnectionError) as error:
                raise web.HTTPBadRequest(text=f"it broke off: {error}") from error
            if not piece:
                raise web.HTTPBadRequest(text=f"it ends after {arrival.offset} of {size} bytes")
            if arrival.offset + len(piece) > size:
                raise web.HTTPBadRequest(text=f"more than the {size} bytes that were announced came")
            await asyncio.to_thread(arrival.write, piece)
        await asyncio.to_thread(arrival.finish)

    def _disk_refuses(self, arrival: Arrival, error: OSError) -> web.HTTPException:
        """Give the room back where the disk is full, and say what is wrong."""
        self._log.error("file_not_stored", sha256=arrival.content.sha256, why=str(error))
        if error.errno in _NO_SPACE:
            arrival.drop()
            return web.HTTPInsufficientStorage(text=f"the depot's disk is full: {error.strerror}")
        return web.HTTPInternalServerError(text=f"the depot's disk fails: {error.strerror}")

    # --- the census -----------------------------------------------------------------------------------------

    async def _census(self, request: web.Request) -> web.Response:
        """Take the leader's word; of whoever cannot seal it nothing is kept or decoded."""
        digest = request.headers.get(DIGEST, "")
        if not is_sealed(self._key, digest, request.headers.get(SEAL, "")):
            why = f"only brokers of this cluster may send a census: {SEAL} is missing, or not of this depot"
            raise self._refusal(request, web.HTTPForbidden, why)
        try:
            self._exchange.hear(await asyncio.to_thread(read_census, await request.read(), digest))
        except BadCensus as error:
            raise self._refusal(request, web.HTTPBadRequest, str(error)) from error
        except StaleCensus as error:
            raise self._refusal(request, web.HTTPConflict, str(error)) from error
        return web.Response(status=204)

    def _refusal(self, request: web.Request, kind: type[web.HTTPException], why: str) -> web.HTTPException:
        self._log.warning("census_refused", sender=request.remote, why=why)
        return kind(text=why)

    @staticmethod
    @web.middleware
    async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what other depots or the disk said into an answer of ours."""
        try:
            return await handler(request)
        except TransferError as error:
            return web.Response(status=507, text=f"no second depot takes it: {error}")
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            return web.Response(status=500, text=f"the depot's disk fails: {os.strerror(error.errno or 0)}")


def _sha256(request: web.Request) -> str:
    name: str = request.match_info["sha256"]
    if not is_sha256(name):
        raise web.HTTPBadRequest(text="files are named by their SHA-256: 64 lower-case hex digits")
    return name


def _extent(request: web.Request) -> Extent:
    """Return which bytes a PUT brings.

    Raises:
        web.HTTPException: It does not say, or cannot be.
    """
    text = request.headers.get("Content-Range")
    length = request.content_length
    if text is None:
        if length is None:
            raise web.HTTPLengthRequired(text="say how long the file is: Content-Length or Content-Range")
        extent = Extent(0, length)
    else:
        match = _EXTENT.match(text)
        if match is None:
            raise web.HTTPBadRequest(text=f"Content-Range {text[:80]!r} is not 'bytes FIRST-LAST/SIZE'")
        first, last, size = match.groups()
        extent = Extent(None if first is None else int(first), int(size))
        if first is not None and int(last) + 1 != int(size):
            raise web.HTTPBadRequest(text="bring the file to its end: LAST must be SIZE - 1")
    if extent.size_bytes > limits.FILE_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(limits.FILE_BYTES_MAX, extent.size_bytes)
    return extent
