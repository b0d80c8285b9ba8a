"""What a depot does with the others: hands files on, fetches what it lacks, passes the leader's census on.

A file is safe when two depots have it, so an upload is answered only then, unless there is no other depot
that lives. Moving bytes takes a thread, of which there are few.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import aiohttp
import msgspec

from alb_broker.depot.census import DIGEST, SEAL, Knowledge, Order, StaleCensus, digest_of, seal_of
from alb_broker.depot.shelf import NoRoom, Shelf, Taken
from alb_core.errors import DepotRefused, TransferError
from alb_core.files import Census
from alb_core.io import transfer
from alb_core.io.logs import Logger
from alb_core.io.transfer import Content

MOVED_AT_ONCE: Final = 4
#: Files handed on or fetched: more would only share the same disk and network.
SPREAD_S: Final = 15.0
#: Between two censuses to the same depots.
SPREAD_WITHIN_S: Final = 5.0
REPAIR_S: Final = 2.0
#: Between two looks for what is lacking.
REPAIR_AGAIN_S: Final = 15.0
#: What no depot could give is asked for again after so long.
EXPIRE_S: Final = 600.0


class Exchange:
    """One depot's dealings with the others.

    Args:
        shelf: Its files.
        own: Its own address, as the census names it.
        log: Where it writes what happened.
    """

    def __init__(self, shelf: Shelf, own: str, log: Logger) -> None:
        self.knowledge: Final = Knowledge()
        self._shelf: Final = shelf
        self._own: Final = own
        self._log: Final = log
        self._movers: Final = ThreadPoolExecutor(MOVED_AT_ONCE, "mover")
        self._copying: dict[str, asyncio.Task[int]] = {}
        #: Files on their way to a second depot.
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._tried: dict[str, float] = {}
        #: What was lacking and could not be had, and when that was found.
        self._leads: Census | None = None
        #: What our own broker said: only while it leads.
        self._keys: dict[str, str] = {}
        #: Of the depots that it tells, by their addresses.
        self._spread_at = float("-inf")
        self._ends = False

    def others(self) -> list[str]:
        """Return all other depots."""
        return [depot for depot in self.knowledge.depots() if depot != self._own]

    def used(self) -> dict[str, int] | None:
        """Return the files that must not be removed; None: nobody knows at present."""
        return self.knowledge.used(time.monotonic())

    def hear(self, census: Census) -> None:
        """Take a census that another depot passed on; raises StaleCensus."""
        self.knowledge.hear(census, time.monotonic())

    def obey(self, order: Order) -> None:
        """Take what our own broker says: as the leader, or that it leads no more."""
        self._leads, self._keys = order.census, order.keys
        if order.census is not None:
            try:
                self.hear(order.census)
            except StaleCensus as error:  # our broker will hear itself that it is deposed
                self._log.warning("census_refused", sender="our broker", why=str(error))
            self._spread_at = float("-inf")

    # --- handing on -----------------------------------------------------------------------------------------

    async def second_copy(self, content: Content, within_s: float) -> int | None:
        """See to it that a second depot has a file.

        Args:
            content: The file; it is on the shelf.
            within_s: Wait so long at most.

        Returns:
            How many depots have it; None: it is still on its way.

        Raises:
            DepotRefused: The other depots that live have no room.
        """
        task = self._copying.get(content.sha256)
        if task is None:
            task = asyncio.ensure_future(self._hand_on(content))
            self._copying[content.sha256] = task
            task.add_done_callback(lambda _: self._copying.pop(content.sha256, None))
        done, _ = await asyncio.wait({task}, timeout=within_s)
        return task.result() if done else None

    async def _hand_on(self, content: Content) -> int:
        refusal: TransferError | OSError | None = None
        for depot in self.others():
            try:
                await self._move(self._send, depot, content)
            except (TransferError, OSError) as error:
                self._log.warning("file_not_copied", sha256=content.sha256, depot=depot, why=str(error))
                refusal = error if isinstance(error, DepotRefused) else refusal
            else:
                return 2
        if refusal is not None:
            raise refusal
        return 1

    def _send(self, depot: str, content: Content) -> None:
        descriptor = os.open(self._shelf.path(content.sha256), os.O_RDONLY | os.O_CLOEXEC)
        try:
            transfer.store(depot, content, descriptor, self._goes_on, copy=True)
        finally:
            os.close(descriptor)

    # --- what is lacking ------------------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Fetch what is lacking, pass the census on, and remove what is old, until cancelled."""
        expired_at = time.monotonic()
        while True:
            self._fetch_lacking()
            await self._spread()
            used = self.used()
            if used is not None and time.monotonic() - expired_at > EXPIRE_S:
                expired_at = time.monotonic()
                for sha256 in self._shelf.expire(used):
                    self._log.info("file_expired", sha256=sha256)
            await asyncio.sleep(REPAIR_S)

    def _fetch_lacking(self) -> None:
        now = time.monotonic()
        needed = self.knowledge.needed()
        self._tried = {sha256: at for sha256, at in self._tried.items() if now - at < REPAIR_AGAIN_S}
        for sha256, size in needed.items():
            if len(self._fetching) >= MOVED_AT_ONCE:
                return
            known = self._shelf.size(sha256) is not None or sha256 in self._fetching
            if known or sha256 in self._tried or not self.others():
                continue
            self._tried[sha256] = now
            task = asyncio.ensure_future(self._fetch(Content(sha256, size)))
            self._fetching[sha256] = task
            task.add_done_callback(partial(self._fetched, sha256))

    def _fetched(self, sha256: str, _task: asyncio.Task[None]) -> None:
        del self._fetching[sha256]

    async def _fetch(self, content: Content) -> None:
        try:
            arrival = self._shelf.begin(content, self.used())
        except Taken:
            return
        except NoRoom as error:
            self._log.error("file_not_fetched", sha256=content.sha256, why=str(error))
            return
        whole = False
        try:
            await self._move(arrival.reopen)
            for depot in self.others():
                with contextlib.suppress(TransferError):
                    await self._move(transfer.fetch, depot, content, arrival.descriptor, self._goes_on)
                    await self._move(arrival.publish)
                    whole = True
                    break
        except OSError as error:
            arrival.drop()
            self._log.error("file_not_fetched", sha256=content.sha256, why=str(error))
        finally:
            self._shelf.end(arrival, whole=whole)
        if whole:
            self._log.info("file_fetched", sha256=content.sha256, bytes=content.size_bytes)
        else:
            self._log.warning("file_lacking", sha256=content.sha256, asked=len(self.others()))

    # --- the census -----------------------------------------------------------------------------------------

    async def _spread(self) -> None:
        """Tell the others what our broker said, if it leads."""
        census = self._leads
        if census is None or time.monotonic() - self._spread_at < SPREAD_S:
            return
        self._spread_at = time.monotonic()
        self.knowledge.refresh(census, self._spread_at)
        data = await asyncio.to_thread(msgspec.json.encode, census)
        digest = await asyncio.to_thread(digest_of, data)
        timeout = aiohttp.ClientTimeout(total=SPREAD_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._tell(session, depot, data, digest) for depot in self.others()))

    async def _tell(self, session: aiohttp.ClientSession, depot: str, data: bytes, digest: str) -> None:
        headers = {DIGEST: digest, SEAL: seal_of(self._keys.get(depot, ""), digest)}
        try:
            async with session.put(f"{depot}/census", data=data, headers=headers) as answer:
                if answer.status >= 400:
                    self._log.warning("census_not_taken", depot=depot, why=await answer.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._log.info("census_not_heard", depot=depot, why=str(error) or type(error).__name__)

    # --- threads --------------------------------------------------------------------------------------------

    async def _move(self, work: Callable[..., object], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._movers, work, *arguments)

    def _goes_on(self) -> bool:
        return not self._ends

    def stop(self) -> None:
        """Begin to end: what is moved breaks off at its next piece."""
        self._ends = True

    def close(self) -> None:
        """Wait until nothing is moved any more."""
        self.stop()
        self._movers.shutdown(wait=True, cancel_futures=True)
