"""The files of a depot on its disk: by their SHA-256, verified, bounded, the longest unused removed first.

Owns the directory and who may write what into it. Knows neither HTTP nor other depots. Its questions are
answered from memory, on the thread of its owner; what takes the disk's time is `Arrival`'s, for another one.

Below the directory, ``files/ab/abcd…`` is a whole and verified file, ``parts/abcd…`` what has arrived of one.
When a file was used last is its modification time, so that a depot that starts again knows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from alb_core.errors import AlbError, ConfigError, WrongContent
from alb_core.files import is_sha256
from alb_core.io.transfer import PIECE_BYTES, Content

FRESH_S: Final = 600.0
#: A file that came, or was asked for, less than so long ago is not removed: its task may be on its way.
UNUSED_KEPT_S: Final = 86_400.0
#: What no task needs any more stays so long, if there is room.
PART_KEPT_S: Final = 86_400.0
#: An upload that nobody went on with is given up after so long.


class NoRoom(AlbError):
    """Raised when a file finds no room: everything that is there is used, or too fresh."""


class Taken(AlbError):
    """Raised when somebody else brings the same file now."""


class Arrival:
    """One file on its way into the shelf. Its methods block; one thread at a time.

    Args:
        shelf: Where it goes.
        content: What it is to hold.
        path: Of the part.
    """

    def __init__(self, shelf: Shelf, content: Content, path: Path) -> None:
        self.content: Final = content
        self._shelf: Final = shelf
        self._path: Final = path
        self._hasher = hashlib.sha256()
        self._busy = threading.Lock()
        #: Held while the disk works: who closes must wait for it.
        self.descriptor = -1
        #: Of the part, open for reading and writing.
        self.offset = 0
        #: So many bytes are there.

    def reopen(self) -> None:
        """Open the part as it is; raises OSError where the disk does not let us."""
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def open(self, offset: int) -> None:
        """Begin to write behind `offset` bytes, which are there already; what is behind them is dropped.

        Raises:
            OSError: The disk does not let us.
        """
        self.reopen()
        buffer = memoryview(bytearray(PIECE_BYTES))
        with self._busy:
            os.ftruncate(self.descriptor, offset)
            while received := os.readv(self.descriptor, [buffer]):
                self._hasher.update(buffer[:received])
                self.offset += received

    def write(self, data: bytes) -> None:
        """Append a piece; raises OSError where the disk is full or broken."""
        with self._busy, memoryview(data) as view:
            self._hasher.update(view)
            written = 0
            while written < len(view):
                written += os.write(self.descriptor, view[written:])
        self.offset += len(data)

    def finish(self) -> None:
        """Verify what came, make it durable and visible.

        Raises:
            WrongContent: It is something else, and gone.
            OSError: The disk is full or broken.
        """
        found = self._hasher.hexdigest()
        if found != self.content.sha256:
            self.drop()
            raise WrongContent(self.content.sha256, found)
        with self._busy:
            os.fdatasync(self.descriptor)
        self.publish()

    def publish(self) -> None:
        """Make the part visible as the file; what is in it was verified, and is on the disk."""
        place = self._shelf.path(self.content.sha256)
        place.parent.mkdir(exist_ok=True)
        os.utime(self._path)
        self._path.rename(place)
        _sync(place.parent)

    def drop(self) -> None:
        """Throw away what came."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop to write; what came stays for another try."""
        with self._busy:
            if self.descriptor >= 0:
                os.close(self.descriptor)
                self.descriptor = -1


class Shelf:
    """All files of one depot.

    Args:
        directory: Where they lie; made where it is missing, and locked.
        bytes_max: For all of them.
        clock: Seconds since 1970, as the file system has them.

    Raises:
        ConfigError: The directory cannot be used, or another depot uses it.
    """

    def __init__(self, directory: Path, bytes_max: int, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self.bytes_max: Final = bytes_max
        self._lock = _make(directory)
        self._files: dict[str, tuple[int, float]] = {}
        #: Size, and when it was used last.
        self._arrivals: dict[str, Arrival] = {}
        #: Files on their way, by their SHA-256.
        self._bytes = 0
        #: Of the whole files.
        self._read()

    # --- questions ----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._files)

    @property
    def bytes(self) -> int:
        """How much the whole files hold."""
        return self._bytes

    def path(self, sha256: str) -> Path:
        """Return where a whole file lies, or would lie."""
        return self._directory / "files" / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """Return the size of a whole file; None where it is not here."""
        known = self._files.get(sha256)
        return None if known is None else known[0]

    def arrived(self, sha256: str) -> int:
        """Return how much of a file that is not whole has arrived."""
        arrival = self._arrivals.get(sha256)
        if arrival is not None:
            return arrival.offset
        with contextlib.suppress(OSError):
            return self._part(sha256).stat().st_size
        return 0

    def touch(self, sha256: str) -> None:
        """Note that somebody needs a file now."""
        known = self._files.get(sha256)
        if known is not None:
            self._files[sha256] = (known[0], self._clock())
            with contextlib.suppress(OSError):
                os.utime(self.path(sha256))

    # --- arrivals -----------------------------------------------------------------------------------------

    def begin(self, content: Content, used: Collection[str] | None) -> Arrival:
        """Make room for a file, and begin to take it.

        Args:
            content: What it will hold.
            used: What live tasks need and must not be removed; None: nobody knows, and nothing is removed.

        Raises:
            Taken: Somebody else brings it.
            NoRoom: There is no room for it.
        """
        sha256 = content.sha256
        if sha256 in self._arrivals:
            raise Taken(sha256)
        self.make_room(content.size_bytes, used, besides=sha256)
        arrival = Arrival(self, content, self._part(sha256))
        self._arrivals[sha256] = arrival
        return arrival

    def end(self, arrival: Arrival, *, whole: bool) -> None:
        """An arrival is over: it is a file now, or it stays a part."""
        arrival.close()
        content = arrival.content
        del self._arrivals[content.sha256]
        if whole:
            self._bytes += content.size_bytes - (self.size(content.sha256) or 0)
            self._files[content.sha256] = (content.size_bytes, self._clock())

    def make_room(self, size_bytes: int, used: Collection[str] | None, besides: str = "") -> None:
        """Remove what is used no more, the longest unused first, until there is room.

        Args:
            size_bytes: So much is wanted.
            used: As in `begin`.
            besides: The file that is to arrive; its part is no obstacle.

        Raises:
            NoRoom: Even then there is none.
        """
        reserved = sum(arrival.content.size_bytes for arrival in self._arrivals.values())
        parts = self._abandoned(besides)
        lacking = self._bytes + reserved + sum(size for size, _ in parts) + size_bytes - self.bytes_max
        while lacking > 0 and parts:
            size, part = parts.pop()
            part.unlink(missing_ok=True)
            lacking -= size
        if lacking <= 0:
            return
        fresh = self._clock() - FRESH_S
        removable = sorted(
            (at, sha256)
            for sha256, (_, at) in self._files.items()
            if used is not None and sha256 not in used and at < fresh and sha256 != besides
        )
        if lacking > sum(self._files[sha256][0] for _, sha256 in removable):
            raise NoRoom(
                f"the depot is full: {self._bytes + reserved} of {self.bytes_max} bytes hold files that "
                f"tasks need or that came within {FRESH_S / 60:.0f} minutes, and this one has {size_bytes}; "
                "give brokers more --depot-bytes-max, or wait until tasks have ended"
            )
        for _, sha256 in removable:
            if lacking <= 0:
                return
            lacking -= self._files[sha256][0]
            self._remove(sha256)

    def expire(self, used: Collection[str]) -> list[str]:
        """Remove what nobody has used for a day, and uploads that nobody went on with; return the files."""
        old = self._clock() - UNUSED_KEPT_S
        removed = [sha256 for sha256, (_, at) in self._files.items() if at < old and sha256 not in used]
        for sha256 in removed:
            self._remove(sha256)
        for _, part in self._abandoned(""):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < self._clock() - PART_KEPT_S:
                    part.unlink()
        return removed

    def forget(self, sha256: str) -> None:
        """A file turned out to be gone, or cannot be read."""
        self._remove(sha256)

    def close(self) -> None:
        """Give the directory up."""
        for arrival in self._arrivals.values():
            arrival.close()
        os.close(self._lock)

    # --- leaves -------------------------------------------------------------------------------------------

    def _part(self, sha256: str) -> Path:
        return self._directory / "parts" / sha256

    def _abandoned(self, besides: str) -> list[tuple[int, Path]]:
        """Return the parts that nobody goes on with now, with their sizes; the oldest last."""
        found: list[tuple[float, int, Path]] = []
        for part in (self._directory / "parts").iterdir():
            if part.name not in self._arrivals and part.name != besides:
                with contextlib.suppress(OSError):
                    stat = part.stat()
                    found.append((stat.st_mtime, stat.st_size, part))
        return [(size, part) for _, size, part in sorted(found, reverse=True)]

    def _remove(self, sha256: str) -> None:
        size, _ = self._files.pop(sha256)
        self._bytes -= size
        with contextlib.suppress(OSError):  # a reader that has it open goes on reading
            self.path(sha256).unlink()

    def _read(self) -> None:
        """Know what an earlier depot left here."""
        for entry in (self._directory / "files").glob("*/*"):
            if is_sha256(entry.name):
                found = entry.stat()
                self._files[entry.name] = (found.st_size, found.st_mtime)
                self._bytes += found.st_size


def _make(directory: Path) -> int:
    try:
        for path in (directory / "files", directory / "parts"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(
                f"depot_dir {directory} belongs to another user, or others may write to it: choose another"
            )
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"depot_dir {directory} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigError(
            f"depot_dir {directory} is in use by another depot: give each broker its own"
        ) from error
    return lock


def _sync(directory: Path) -> None:
    """Make a new name durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
