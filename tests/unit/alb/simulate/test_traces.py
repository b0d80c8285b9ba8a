"""Where traces come from: the kind of file is seen by its head."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from tests.store_rows import finished

from alb.simulate.traces import SQLITE, open_trace
from alb_broker.store.opening import open_store
from alb_core.errors import ConfigError

LOG = "; MaxProcs: 4\n1 0 -1 60 1 -1 -1 1 90 -1 1 5 1 2 1 -1 -1 -1\n"


def test_a_log_plain_or_packed(tmp_path: Path) -> None:
    """Its name does not matter."""
    plain, packed = tmp_path / "a", tmp_path / "b"
    plain.write_text(LOG)
    packed.write_bytes(gzip.compress(LOG.encode()))
    first, second = (open_trace(str(path), table="", assume_s=60.0) for path in (plain, packed))
    assert first.jobs == second.jobs
    assert (first.jobs[0].run_s, first.cpus) == (60.0, 4.0)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_is_read_once(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """As `<(zcat …)` in a shell is one, and our standard input: there is no going back to its beginning."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(pack(LOG.encode() * 3000)))
    writer.start()
    assert len(open_trace(str(pipe), table="", assume_s=60.0).jobs) == 3000
    writer.join()


def test_a_store_cannot_come_through_a_pipe(tmp_path: Path) -> None:
    """Its database is opened by its path, and read to and fro."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(SQLITE + bytes(100)))
    writer.start()
    with pytest.raises(ConfigError, match="cannot be read through a pipe"):
        open_trace(str(pipe), table="", assume_s=60.0)
    writer.join()


def test_a_store_by_url_or_as_a_file(tmp_path: Path) -> None:
    """An SQLite file is a results store, whatever it is called."""
    file = tmp_path / "history"
    store = open_store(f"sqlite:///{file}", "t")
    store.open()
    store.begin_term(1)
    store.write(1, [finished("a" * 32, wall_s=3.0)])
    store.close()
    for where in (str(file), f"sqlite:///{file}"):
        assert [job.run_s for job in open_trace(where, table="", assume_s=60.0).jobs] == [3.0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no job"),
        (b"\x1f\x8b\x08broken", "cannot be unpacked"),
        (gzip.compress(LOG.encode())[:-20], "cannot be unpacked"),
        (b'{"now": 3', "is no dump"),
        (b"\xff\xfe\x00" * 50, "holds no job"),
    ],
)
def test_other_files_are_refused(data: bytes, said: str, tmp_path: Path) -> None:
    """With what is wrong with them."""
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        open_trace(str(file), table="", assume_s=60.0)
