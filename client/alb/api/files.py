"""The files of a client's tasks: to the depots before a task is submitted, and back when it has ended.

It blocks its caller, and is safe to use from several threads. A client without files loads nothing of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alb.api.stdin import FILE_NAME
from alb.core import notices
from alb_core import limits
from alb_core.errors import (
    DepotRefused,
    DepotUnreachable,
    InvalidTask,
    TransferError,
    WrongContent,
    ZooKeeperUnreachable,
)
from alb_core.files import FileRef, wrong_references
from alb_core.io import transfer
from alb_core.io.transfer import Content

KNOWN_MAX: Final = 1000
#: Files whose digest is remembered.
SAFE_S: Final = 300.0
#: A file that was brought less than so long ago is there: depots remove nothing within 10 minutes.
RETRY_S: Final = 0.5
TOLD_BYTES: Final = 16 * 1024 * 1024
#: Larger files take a while: who waits is told.

FilesWanted = Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]]
#: What a task takes along: paths, or names in its directory with the paths that they come from.


class Shipment:
    """The files of one task: what it says of them, and where they are.

    Args:
        refs: As the specification names them.
        paths: Where each lies here.
    """

    def __init__(self, refs: tuple[FileRef, ...] = (), paths: Sequence[Path] = ()) -> None:
        self.refs: Final = refs
        self.paths: Final = tuple(paths)


class Files:
    """Moves files between here and the depots.

    Args:
        depots: Returns the depots' addresses, asking ZooKeeper; the leader's first.
        tell: Takes notices.
        patience_s: How long to try while no depot answers, in seconds.
    """

    def __init__(
        self,
        depots: Callable[[], Sequence[str]],
        tell: Callable[[notices.AnyNotice], None],
        patience_s: float,
    ) -> None:
        self._ask_depots: Final = depots
        self._tell: Final = tell
        self._patience_s: Final = patience_s
        self._lock: Final = threading.Lock()
        self._digests: OrderedDict[tuple[int, ...], Content] = OrderedDict()
        #: By device, inode, size and times.
        self._safe: OrderedDict[str, float] = OrderedDict()
        #: When a file was brought to the depots, in monotonic seconds.

    # --- to the cluster -----------------------------------------------------------------------------------

    def pack(self, wanted: FilesWanted, stdin: Path | None = None) -> Shipment:
        """Look at the files that a task is to take along, and take their digests.

        Args:
            wanted: Paths; with a mapping, by the names that they have in the task's directory.
            stdin: What its command is to read, if that is a file.

        Raises:
            InvalidTask: One cannot be read.
        """
        if isinstance(wanted, str | os.PathLike):
            raise InvalidTask("", "files is one path; give a list of paths, or a mapping of names to paths")
        pairs = (
            [(name, Path(path)) for name, path in wanted.items()]
            if isinstance(wanted, Mapping)
            else [(Path(path).name, Path(path)) for path in wanted]
        )
        if stdin is not None:
            pairs.append((FILE_NAME, stdin))
        if len(pairs) > limits.FILES_MAX:
            raise InvalidTask(
                "", f"there are {len(pairs)} files, more than {limits.FILES_MAX}; put them into one archive"
            )
        return Shipment(
            tuple(self._describe(name, path) for name, path in pairs), [path for _, path in pairs]
        )

    def ship(self, shipment: Shipment) -> None:
        """Bring files to the depots. When it returns, two depots have each, unless only one lives.

        Raises:
            TransferError: No depot takes them.
            InvalidTask: A file was changed meanwhile, or cannot be read any more.
        """
        for ref, path in zip(shipment.refs, shipment.paths, strict=True):
            with self._lock:
                if time.monotonic() - self._safe.get(ref.sha256, float("-inf")) < SAFE_S:
                    continue
            try:
                self._send(ref, path)
            except WrongContent as error:
                raise InvalidTask("", f"{path} was changed while it was sent; submit again") from error
            with self._lock:
                self._safe[ref.sha256] = time.monotonic()
                _bound(self._safe)

    def _describe(self, name: str, path: Path) -> FileRef:
        with _reading(path) as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidTask("", f"{path} is no regular file; put a directory into an archive")
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            with self._lock:
                content = self._digests.get(key)
            if content is None:
                content = transfer.content_of(descriptor)
            with self._lock:
                self._digests[key] = content
                _bound(self._digests)
        executable = bool(found.st_mode & 0o111)
        return FileRef(name=name, sha256=content.sha256, size_bytes=content.size_bytes, executable=executable)

    def _send(self, ref: FileRef, path: Path) -> None:
        content = Content(ref.sha256, ref.size_bytes)

        def tell() -> None:
            if ref.size_bytes >= TOLD_BYTES:
                self._tell(notices.FileMoves(name=ref.name, size_bytes=ref.size_bytes))

        with _reading(path) as descriptor:
            self._with_depots(
                lambda depot, depots: transfer.store_safely(
                    depot, depots, content, descriptor, on_sending=tell
                )
            )

    # --- back ---------------------------------------------------------------------------------------------

    def bring(self, files: Sequence[FileRef], directory: Path) -> list[Path]:
        """Fetch files that a task brought back. One that is there already, and the same, is left.

        Args:
            files: Of its result.
            directory: Where they go; made where it is missing. Nothing outside of it is touched.

        Returns:
            Where they are.

        Raises:
            TransferError: No depot has one of them.
            InvalidTask: The result names what cannot be a file there.
            OSError: The disk is full or broken, or something else is in the way.
        """
        why = wrong_references(tuple(files), limits.FILES_MAX)
        if why is not None:
            raise InvalidTask("", f"the result is not to be trusted: {why}")
        directory.mkdir(parents=True, exist_ok=True)
        return [self._bring_file(file, directory) for file in files]

    def _bring_file(self, file: FileRef, directory: Path) -> Path:
        content = Content(file.sha256, file.size_bytes)
        name = PurePosixPath(file.name).name
        with _folder(directory, file.name) as folder:
            if not _is_there(folder, name, content):
                if file.size_bytes >= TOLD_BYTES:
                    self._tell(notices.FileMoves(name=file.name, size_bytes=file.size_bytes, back=True))
                part = f".{name[:100]}.{file.sha256[:12]}.part"
                descriptor = os.open(
                    part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=folder
                )
                try:
                    self._with_depots(lambda depot, _: transfer.fetch(depot, content, descriptor))
                    if file.executable:
                        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
                        os.fchmod(descriptor, mode | (mode & 0o444) >> 2)
                finally:
                    os.close(descriptor)
                os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return directory / file.name

    # --- the depots ---------------------------------------------------------------------------------------

    def _with_depots(self, move: Callable[[str, Sequence[str]], object]) -> None:
        """Try every depot in turn until one does it; while none can be reached, for a while."""
        deadline = time.monotonic() + self._patience_s
        while True:
            trouble: Exception | None = None
            depots = self._find_depots()
            for depot in depots:
                try:
                    move(depot, depots)
                except (DepotUnreachable, DepotRefused) as error:
                    refuses = isinstance(error, DepotRefused) and not error.passing
                    trouble = error if refuses or trouble is None else trouble
                else:
                    return
            if isinstance(trouble, DepotRefused) and not (trouble.passing and time.monotonic() < deadline):
                raise trouble
            if time.monotonic() > deadline:
                raise trouble or TransferError("no broker with a depot is registered in ZooKeeper")
            self._tell(notices.DepotsSilent(why=str(trouble or "no broker with a depot is registered")))
            time.sleep(RETRY_S)

    def _find_depots(self) -> Sequence[str]:
        try:
            return self._ask_depots()
        except ZooKeeperUnreachable as error:
            self._tell(notices.ZooKeeperSilent(why=str(error)))
            return ()


def _bound(known: OrderedDict[Any, Any]) -> None:
    while len(known) > KNOWN_MAX:
        known.popitem(last=False)


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidTask("", f"the file {path} cannot be read: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _folder(directory: Path, name: str) -> Iterator[int]:
    """Open the folder that a file goes to, made where it is missing; no symbolic link leads out of it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in PurePosixPath(name).parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=descriptor)
            try:
                inner = os.open(
                    part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor
                )
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                why = f"{directory / name}: {part!r} is a symbolic link or no folder; move it away"
                raise OSError(error.errno, why) from error
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _is_there(folder: int, name: str, content: Content) -> bool:
    """Tell whether a folder holds this very file already."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        same_size = stat.S_ISREG(found.st_mode) and found.st_size == content.size_bytes
        return same_size and transfer.content_of(descriptor) == content
    finally:
        os.close(descriptor)
