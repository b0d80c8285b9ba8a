"""Files with tasks, on a real cluster: what goes along is there; what is wanted comes back, and only that."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.harness import alb, alb_json, wait_for

from alb import Client, InvalidTask, TaskCancelled
from alb.api.works import Prepared
from alb.local.cluster import LocalCluster
from alb_core import codec
from alb_core.errors import TransferError
from alb_core.files import FileRef
from alb_core.io.clock import new_id
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come back to the current directory: let that be one of the test's own."""
    monkeypatch.chdir(tmp_path)


def said_by_workers(cluster: LocalCluster, event: str, sha256: str = "") -> list[dict[str, Any]]:
    """Return the lines of the workers' logs about an event, or about one file."""
    lines = [
        json.loads(line)
        for worker in cluster.named("worker")
        for line in worker.log.read_text().splitlines()
        if f'"{event}"' in line
    ]
    return [line for line in lines if not sha256 or line.get("sha256") == sha256]


def test_files_are_there_and_come_back(client: Client, tmp_path: Path) -> None:
    """Under their names, in folders, byte for byte, executable where they were; so are those that return."""
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    script = tmp_path / "work.sh"
    script.write_text(
        "#!/bin/sh\nmkdir -p out/deep && cp in/data out/deep/copy && cp work.sh out && echo gone > in/data\n"
    )
    script.chmod(0o755)
    future = client.submit(
        ["./work.sh"],
        files={"in/data": tmp_path / "data", "work.sh": script},
        returns=["out/**", "in/data", "none/*"],
    )
    paths = future.fetch(tmp_path / "back")
    result = future.result()
    assert result.state is TaskState.SUCCEEDED
    assert "nothing to return matches 'none/*'" in result.record.why
    assert sorted(str(path.relative_to(tmp_path / "back")) for path in paths) == [
        "in/data",
        "out/deep/copy",
        "out/work.sh",
    ]
    assert (tmp_path / "back/out/deep/copy").read_bytes() == data
    assert (tmp_path / "back/in/data").read_text() == "gone\n"
    assert os.access(tmp_path / "back/out/work.sh", os.X_OK)
    assert not os.access(tmp_path / "back/in/data", os.X_OK)


def test_a_file_travels_to_a_worker_once(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """However many tasks take it along, at once or later; and no task sees what another did to it."""
    path = tmp_path / "shared"
    path.write_bytes(os.urandom(400_000))
    futures = [client.submit("wc -c < shared; echo x > shared", files=[path], cpus=0.1) for _ in range(20)]
    assert {future.result(60).stdout for future in futures} == {b"400000\n"}
    sha256 = next(iter(client.task(futures[0].id).spec.files)).sha256
    fetched = said_by_workers(cluster, "file_fetched", sha256)
    assert 1 <= len(fetched) <= len({line["worker"] for line in fetched}) <= 2


@pytest.mark.parametrize(
    ("command", "limit_s", "status"),
    [
        ("echo kept > a; exit 3", 60, 3),
        ("echo kept > a; kill -9 $$", 60, 137),
        ("echo kept > a; sleep 60", 2, 124),
    ],
    ids=["fails", "is killed", "takes too long"],
)
def test_files_come_back_however_it_ends(
    cluster: LocalCluster, command: str, limit_s: int, status: int
) -> None:
    """The exit status stays the command's own."""
    ran = alb(cluster, "submit", "-t", str(limit_s), "--grace", "0.2", "--return", "a", command)
    assert (ran.returncode, Path("a").read_text()) == (status, "kept\n")
    assert "came back: a (5 B)" in ran.stderr


def test_nothing_outside_the_directory_comes_back(cluster: LocalCluster) -> None:
    """Neither through a symbolic link, nor through a folder that is one, nor what is no regular file."""
    command = "ln -s /etc/passwd link; ln -s /etc folder; mkfifo pipe; mkdir full; echo x > full/.hidden"
    ran = alb(cluster, "submit", "--return", "*", "--return", "folder/passwd", "--return", "**", command)
    assert (ran.returncode, list(Path().iterdir())) == (0, [])
    assert "nothing to return matches '*', 'folder/passwd', '**'" in ran.stderr


def test_fetch_later_and_again(cluster: LocalCluster, tmp_path: Path) -> None:
    """A detached task's files wait in the cluster; what was fetched in part is gone on with."""
    task = alb(
        cluster, "submit", "--detach", "--return", "big", "head -c 2000000 /dev/zero > big"
    ).stdout.strip()
    assert alb(cluster, "wait", task).returncode == 0
    (file,) = alb_json(cluster, "wait", task)[0]["returned"]
    (tmp_path / "to").mkdir()
    (tmp_path / f"to/.big.{file['sha256'][:12]}.part").write_bytes(bytes(1_500_000))
    told = alb_json(cluster, "fetch", task, "--to", "to")
    assert told == [{"path": "to/big", "file": file}]
    assert (tmp_path / "to/big").read_bytes() == bytes(2_000_000)
    before = (tmp_path / "to/big").stat().st_mtime_ns
    assert alb(cluster, "fetch", task, "--to", "to").returncode == 0
    assert (tmp_path / "to/big").stat().st_mtime_ns == before
    assert list(Path("to").iterdir()) == [Path("to/big")]


def test_a_result_writes_nowhere_else(client: Client, tmp_path: Path) -> None:
    """A link in the target directory is not followed; what stands in the way of a folder is said."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("untouched")
    target = tmp_path / "target"
    target.mkdir()
    (target / "sub").symlink_to(outside)
    (target / "a").symlink_to(outside / "a")
    flat = client.submit("echo new > a", returns=["a"])
    flat.fetch(target)
    assert (outside / "a").read_text() == "untouched"
    assert (target / "a").read_text() == "new\n"
    deep = client.submit("mkdir sub; echo new > sub/a", returns=["sub/a"])
    with pytest.raises(OSError, match="'sub' is a symbolic link"):
        deep.fetch(target)
    assert (outside / "a").read_text() == "untouched"


def test_what_cannot_be_sent_is_refused_at_once(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """Before anything is submitted, with a sentence and exit status 2."""
    for words, says in (
        (("--file", "absent"), "absent cannot be read"),
        (("--file", "."), "no path or no name"),
        (("--file", f"{tmp_path}:x"), "put a directory into an archive"),
        (("--file", "a:x", "--file", "b:x"), "both to be 'x'"),
        (("--file", "a", "--cwd", "/tmp"), "leave --cwd out"),  # noqa: S108 (nothing is opened)
        (("--file", "a:../x"), "does not lie in the task's directory"),
        (("--return", "/etc/passwd"), "the return pattern '/etc/passwd'"),
    ):
        Path("a").write_text("a")
        Path("b").write_text("b")
        ran = alb(cluster, "submit", *words, "true")
        assert (ran.returncode, says in ran.stderr) == (125, True), ran.stderr
    with pytest.raises(InvalidTask, match="give a list of paths"):
        client.submit("true", files="a")
    with pytest.raises(InvalidTask, match="give a list of patterns"):
        client.submit("true", returns="a")


def _submit_bare(client: Client, monkeypatch: pytest.MonkeyPatch, file: FileRef, **options: Any) -> Any:
    """Submit a task whose file was never brought to a depot."""

    def prepare(*_: object) -> Prepared:
        spec = TaskSpec(command="cat lost", files=(file,), **options)
        return Prepared(new_id(), spec, codec.encode_spec(spec))

    with monkeypatch.context() as patch:
        patch.setattr(client, "_prepare", prepare)
        return client.submit("cat lost")


def test_a_task_that_waits_for_a_file_can_be_cancelled(
    cluster: LocalCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No depot has its file: it waits, the log says for what, and a cancellation ends it at once."""
    lost = FileRef(name="lost", sha256="1" * 64, size_bytes=7)
    future = _submit_bare(client, monkeypatch, lost)
    wait_for(lambda: client.task(future.id).state is TaskState.RUNNING, "the task to be placed")
    future.cancel()
    with pytest.raises(TaskCancelled):
        future.result(5)
    assert alb(cluster, "submit", "echo free").stdout == "free\n"


def test_a_result_names_the_files_in_json(cluster: LocalCluster) -> None:
    """Name, SHA-256 and size; and a task that brought nothing back says so."""
    ran = alb(cluster, "submit", "--json", "--return", "n", "--return-dir", "d", "printf 123 > n")
    (file,) = json.loads(ran.stdout)["returned"]
    sha256 = "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"
    assert msgspec.convert(file, FileRef) == FileRef(name="n", sha256=sha256, size_bytes=3)
    assert Path("d/n").read_text() == "123"
    plain = alb(cluster, "submit", "--detach", "true").stdout.strip()
    assert alb(cluster, "wait", plain).returncode == 0
    ran = alb(cluster, "fetch", plain)
    assert (ran.returncode, "brought nothing back" in ran.stderr) == (0, True)


def test_a_file_that_no_depot_has_any_more_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching gives up with a sentence after its patience."""
    future = client.submit("echo x > a", returns=["a"])
    future.result(30)
    assert future.record is not None
    gone = FileRef(name="a", sha256="2" * 64, size_bytes=2)
    future.record = msgspec.structs.replace(future.record, returned=(gone,))
    files = client._files()
    monkeypatch.setattr(files, "_patience_s", 0.5)
    with pytest.raises(TransferError, match="there is no file"):
        future.fetch(tmp_path)
