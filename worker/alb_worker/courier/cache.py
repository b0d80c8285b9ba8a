"""The files that a worker keeps for the next task that needs them: by their SHA-256, verified, bounded.

Owns the directory. Many threads ask for files; each file is loaded once, however many want it. What is being
copied is pinned and not removed; nobody waits for one file while holding another, so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alb_core.errors import TransferStopped
from alb_core.files import is_sha256
from alb_core.io.transfer import Content, GoesOn
from alb_worker.courier.errors import NotMoved, disk_trouble

LOOK_S: Final = 0.2
#: Who waits for another's download asks so often whether he himself is still wanted.
PARTS_KEPT_MAX: Final = 16
#: Downloads that broke off and may be resumed by a courier that starts again.

Load = Callable[[Content, int], None]
#: Brings a file into the descriptor, on the disk and verified.


class _Loading:
    """One download under way, and how it ended."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.over = False
        self.error: NotMoved | None = None
        #: Why it failed, where trying again makes no sense for those who waited.


class Cache:
    """All files of one worker.

    Args:
        directory: Where they lie; made where it is missing.
        bytes_max: For all of them, with what broke off on its way here.
    """

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._files: OrderedDict[str, int] = OrderedDict()
        #: Whole files and their sizes, the longest unused first.
        self._pins: dict[str, int] = {}
        #: How many copy from a file now.
        self._loading: dict[str, _Loading] = {}
        self._bytes = 0
        for name in ("files", "parts"):
            (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # a courier whose agent was killed ends at once
        self._read()

    def path(self, sha256: str) -> Path:
        """Return where a whole file lies, or would lie."""
        return self._directory / "files" / sha256

    @contextmanager
    def holding(self, content: Content, load: Load, goes_on: GoesOn) -> Iterator[Path]:
        """Have a file here for the block, fetched where it is not.

        Args:
            content: The file.
            load: Fetches it.
            goes_on: Whether the caller still wants it.

        Raises:
            NotMoved: It cannot be had, or finds no room.
            TransferStopped: `goes_on` said no.
        """
        self._obtain(content, load, goes_on)
        try:
            yield self.path(content.sha256)
        finally:
            with self._changed:
                self._pins[content.sha256] -= 1
                if not self._pins[content.sha256]:
                    del self._pins[content.sha256]
                self._changed.notify_all()

    # --- leaves -------------------------------------------------------------------------------------------

    def _obtain(self, content: Content, load: Load, goes_on: GoesOn) -> None:
        """Pin a file; load it first where it is not here, or wait for who loads it."""
        while not self._pin(content):
            with self._changed:
                other = self._loading.get(content.sha256)
                if other is None:
                    if not self._make_room(content, goes_on):
                        continue  # somebody brought it meanwhile
                    mine = self._loading[content.sha256] = _Loading(content.size_bytes)
                else:
                    while not other.over:
                        self._wait(content, goes_on)
                    if other.error is not None:
                        raise other.error
                    continue
            self._fetch(content, load, mine)

    def _pin(self, content: Content) -> bool:
        with self._changed:
            if self._files.get(content.sha256) != content.size_bytes:
                return False
            try:
                whole = self.path(content.sha256).stat().st_size == content.size_bytes
            except OSError:
                whole = False
            if not whole:
                self._remove(content.sha256)  # somebody else was at the directory
                return False
            self._files.move_to_end(content.sha256)
            self._pins[content.sha256] = self._pins.get(content.sha256, 0) + 1
        with contextlib.suppress(OSError):
            os.utime(self.path(content.sha256))
        return True

    def _wait(self, content: Content, goes_on: GoesOn) -> None:
        self._changed.wait(LOOK_S)
        if not goes_on():
            raise TransferStopped(content.sha256)

    def _make_room(self, content: Content, goes_on: GoesOn) -> bool:
        """Remove what broke off, then the longest unused, until a file has room; where others hold it, wait.

        Returns:
            Whether there is room now; False: the file is here, or on its way.
        """
        if content.size_bytes > self._bytes_max:
            raise NotMoved(
                f"a file of {content.size_bytes} bytes does not fit into this worker's cache of "
                f"{self._bytes_max} (--cache-bytes-max)"
            )
        while True:
            if content.sha256 in self._files or content.sha256 in self._loading:
                return False
            reserved = sum(loading.size_bytes for loading in self._loading.values())
            parts = self._abandoned(content.sha256)
            lacking = self._bytes + reserved + content.size_bytes - self._bytes_max
            lacking += sum(size for size, _ in parts)
            while lacking > 0 and parts:
                size, part = parts.pop()
                with contextlib.suppress(OSError):
                    part.unlink()
                    lacking -= size
            for sha256 in [name for name in self._files if name not in self._pins]:
                if lacking <= 0:
                    break
                lacking -= self._files[sha256]
                self._remove(sha256)
            if lacking <= 0:
                return True
            self._wait(content, goes_on)

    def _fetch(self, content: Content, load: Load, loading: _Loading) -> None:
        try:
            self._bring(content, load)
        except NotMoved as error:
            loading.error = error
            raise
        except OSError as error:
            loading.error = disk_trouble(error)
            with contextlib.suppress(OSError):  # a full disk must not stay full of what nobody can use
                self._part(content).unlink()
            raise loading.error from error
        else:
            with self._changed:
                self._files[content.sha256] = content.size_bytes
                self._bytes += content.size_bytes
        finally:
            with self._changed:
                loading.over = True
                del self._loading[content.sha256]
                self._changed.notify_all()

    def _bring(self, content: Content, load: Load) -> None:
        part = self._part(content)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            load(content, descriptor)
        finally:
            os.close(descriptor)
        part.rename(self.path(content.sha256))

    def _part(self, content: Content) -> Path:
        return self._directory / "parts" / content.sha256

    def _abandoned(self, besides: str) -> list[tuple[int, Path]]:
        """Return what broke off and nobody goes on with now, with the sizes; the oldest last."""
        found: list[tuple[float, int, Path]] = []
        for part in (self._directory / "parts").iterdir():
            if part.name not in self._loading and part.name != besides:
                with contextlib.suppress(OSError):
                    stat = part.stat()
                    found.append((stat.st_mtime, stat.st_size, part))
        return [(size, part) for _, size, part in sorted(found, reverse=True)]

    def _remove(self, sha256: str) -> None:
        self._bytes -= self._files.pop(sha256)
        with contextlib.suppress(OSError):
            self.path(sha256).unlink()

    def _read(self) -> None:
        """Know what an earlier courier left; half a download may be gone on with."""
        found = []
        for entry in (self._directory / "files").iterdir():
            if is_sha256(entry.name):
                stat = entry.stat()
                found.append((stat.st_mtime, entry.name, stat.st_size))
        for _, name, size in sorted(found):
            self._files[name] = size
            self._bytes += size
        parts = sorted((self._directory / "parts").iterdir(), key=lambda part: part.stat().st_mtime)
        for part in parts[:-PARTS_KEPT_MAX]:
            part.unlink()
