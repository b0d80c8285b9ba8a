"""Real depots: what they promise to whoever speaks HTTP to them, killed, filled, and lied to."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.depot_process import DepotProcess, content
from tests.harness import wait_for

from alb_broker.depot.census import DIGEST, SEAL, digest_of, seal_of
from alb_core.errors import DepotRefused, DepotUnreachable, TransferStopped, WrongContent
from alb_core.io import transfer
from alb_core.io.transfer import Content

DATA = random.Random(4).randbytes(5 * 2**20 + 13)


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[DepotProcess]:
    with DepotProcess(tmp_path / "d1") as process:
        process.lead()
        yield process


def file_of(folder: Path, data: bytes, name: str = "source") -> int:
    path = folder / name
    path.write_bytes(data)
    return os.open(path, os.O_RDWR)


def store(depot: DepotProcess, folder: Path, data: bytes) -> int:
    """Bring bytes to a depot, as everybody does; returns how many depots have them."""
    descriptor = file_of(folder, data)
    try:
        return transfer.store(depot.endpoint, content(data), descriptor)
    finally:
        os.close(descriptor)


def fetch(depot: DepotProcess, folder: Path, wanted: Content, have: bytes = b"") -> bytes:
    """Fetch bytes from a depot, as everybody does, behind those that are there already."""
    descriptor = file_of(folder, have, "target")
    try:
        transfer.fetch(depot.endpoint, wanted, descriptor)
    finally:
        os.close(descriptor)
    return (folder / "target").read_bytes()


def ask(depot: DepotProcess, method: str, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Send a request without a body; return status, text and headers."""
    connection = http.client.HTTPConnection(depot.endpoint.removeprefix("http://"), timeout=60)
    connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.headers.items())
    connection.close()
    return found


def begin_upload(depot: DepotProcess, wanted: Content, data: bytes) -> socket.socket:
    """Send the beginning of a file, and leave the connection open."""
    host, port = depot.endpoint.removeprefix("http://").split(":")
    link = socket.create_connection((host, int(port)), timeout=60)
    head = f"PUT /files/{wanted.sha256} HTTP/1.1\r\nHost: d\r\nContent-Length: {wanted.size_bytes}\r\n\r\n"
    link.sendall(head.encode() + data)
    return link


def arrived(depot: DepotProcess, wanted: Content) -> int:
    return int(ask(depot, "HEAD", f"/files/{wanted.sha256}")[2].get("Upload-Offset", "-1"))


@pytest.mark.parametrize("data", [DATA, b"x", b""], ids=["large", "one byte", "empty"])
def test_what_was_stored_is_fetched_again(depot: DepotProcess, tmp_path: Path, data: bytes) -> None:
    """Byte for byte; and storing it again sends nothing and is no error."""
    assert store(depot, tmp_path, data) == 1
    assert store(depot, tmp_path, data) == 1
    assert fetch(depot, tmp_path, content(data)) == data


def test_curl_is_enough(depot: DepotProcess, tmp_path: Path) -> None:
    """A person can bring and fetch a file, and read why something is refused."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    (tmp_path / "in").write_bytes(DATA)
    url = f"{depot.endpoint}/files/{content(DATA).sha256}"

    def run(*words: str) -> str:
        return subprocess.run([curl, "-sS", *words], capture_output=True, text=True, check=True).stdout

    assert run("-T", str(tmp_path / "in"), url) == "1\n"
    run("-o", str(tmp_path / "out"), "-r", "100-199", url)
    assert (tmp_path / "out").read_bytes() == DATA[100:200]
    assert "there is no file" in run(f"{depot.endpoint}/files/{'0' * 64}")


def test_a_download_goes_on_where_it_ended(depot: DepotProcess, tmp_path: Path) -> None:
    """And what was there is verified with the rest: where it is wrong, everything is thrown away."""
    store(depot, tmp_path, DATA)
    assert fetch(depot, tmp_path, content(DATA), have=DATA[:1000_000]) == DATA
    with pytest.raises(WrongContent):
        fetch(depot, tmp_path, content(DATA), have=b"?" * 1000)
    assert (tmp_path / "target").read_bytes() == b""


def test_an_upload_that_was_killed_goes_on(tmp_path: Path) -> None:
    """The depot dies by SIGKILL in an upload: what was written is still there, and only the rest is sent."""
    wanted = content(DATA)
    with DepotProcess(tmp_path / "d1") as depot:
        depot.lead()
        with begin_upload(depot, wanted, DATA[: 3 * 2**20]):
            wait_for(lambda: arrived(depot, wanted) == 3 * 2**20, "three MiB to arrive")
            depot.kill()
        depot.start()
        depot.lead()
        assert arrived(depot, wanted) == 3 * 2**20
        assert ask(depot, "GET", f"/files/{wanted.sha256}")[0] == 404
        store(depot, tmp_path, DATA)
        assert fetch(depot, tmp_path, wanted) == DATA
        depot.kill()
        depot.start()
        assert fetch(depot, tmp_path, wanted) == DATA


def test_wrong_bytes_are_never_visible(depot: DepotProcess, tmp_path: Path) -> None:
    """What is not what its name says is refused with a sentence and gone; the right bytes are taken then."""
    wanted = content(DATA)
    with begin_upload(depot, wanted, DATA[:-1] + b"?") as link:
        answer = link.recv(1000).decode()
    assert " 422 " in answer
    assert "is something else" in answer
    assert arrived(depot, wanted) == 0
    store(depot, tmp_path, DATA)
    assert fetch(depot, tmp_path, wanted) == DATA


def test_two_at_once_bring_a_file_once(depot: DepotProcess, tmp_path: Path) -> None:
    """The second waits until the first is done or gone, and goes on from there."""
    wanted = content(DATA)
    with begin_upload(depot, wanted, DATA[: 2**20]):
        wait_for(lambda: arrived(depot, wanted) == 2**20, "the first MiB to arrive")
        status, text, _ = ask(
            depot, "PUT", f"/files/{wanted.sha256}", Content_Range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
        )
        assert (status, "somebody else" in text) == (409, True)
    assert store(depot, tmp_path, DATA) == 1


@pytest.mark.parametrize(
    ("path", "headers", "status", "says"),
    [
        ("/files/abc", {"Content_Length": "1"}, 400, "64 lower-case hex digits"),
        (f"/files/{'0' * 64}", {"Content_Range": "bytes 0-3/*"}, 400, "is not 'bytes FIRST-LAST/SIZE'"),
        (f"/files/{'0' * 64}", {"Content_Range": "bytes 0-3/9"}, 400, "LAST must be SIZE - 1"),
        (f"/files/{'0' * 64}", {"Content_Range": "bytes 5-8/9"}, 409, "only 0 bytes have arrived"),
        (f"/files/{'0' * 64}", {"Content_Range": "bytes */9"}, 404, "0 of 9 bytes are here"),
        (f"/files/{'0' * 64}", {"Content_Range": f"bytes */{2**40 + 1}"}, 413, "1099511627776"),
        (f"/files/{'0' * 64}", {"Content_Range": f"bytes */{2**40}"}, 507, "the depot is full"),
        ("/census", {}, 403, "only brokers of this cluster may send a census"),
        ("/census", {"X_Alb_Digest": "0" * 64, "X_Alb_Seal": "ü"}, 403, "X-Alb-Seal is missing, or not of"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    depot: DepotProcess, path: str, headers: dict[str, str], status: int, says: str
) -> None:
    """A status that programs know, and a line for people."""
    found = ask(depot, "PUT", path, **headers)
    assert (found[0], says in found[1]) == (status, True), found


def test_a_depot_that_knows_nobody_answers_for_no_file(tmp_path: Path) -> None:
    """Until the leader has said who the others are, it cannot promise a second copy, and says so."""
    with DepotProcess(tmp_path / "d1") as depot:
        with pytest.raises(DepotRefused, match="has not heard of a leader") as refused:
            store(depot, tmp_path, DATA)
        assert refused.value.passing


def test_an_upload_is_answered_when_two_have_it(tmp_path: Path) -> None:
    """The other depot gives the file after the first is gone."""
    with DepotProcess(tmp_path / "d1") as one, DepotProcess(tmp_path / "d2") as two:
        one.lead(two)
        assert store(one, tmp_path, DATA) == 2
        one.kill()
        assert fetch(two, tmp_path, content(DATA)) == DATA


def test_a_dead_depot_does_not_stop_uploads(tmp_path: Path) -> None:
    """Where no other lives, one copy has to do; where the third lives, it gets the second copy."""
    with DepotProcess(tmp_path / "d1") as one, DepotProcess(tmp_path / "d2") as two:
        two.kill()
        two.__exit__(None, None, None)
        one.lead(two)
        assert store(one, tmp_path, b"alone") == 1
        with DepotProcess(tmp_path / "d3") as three:
            one.lead(two, three)
            assert store(one, tmp_path, DATA) == 2
            assert fetch(three, tmp_path, content(DATA)) == DATA


def test_no_second_copy_where_the_others_are_full(tmp_path: Path) -> None:
    """They live, so one copy is not enough: the upload is refused, and says which depot is full."""
    with DepotProcess(tmp_path / "d1") as one, DepotProcess(tmp_path / "d2", bytes_max=1000) as two:
        one.lead(two)
        with pytest.raises(DepotRefused, match=r"no second depot takes it.*the depot is full"):
            store(one, tmp_path, DATA)


def test_what_tasks_need_is_kept_and_the_rest_gives_way(tmp_path: Path) -> None:
    """A full depot drops what is old and unneeded, and refuses where nothing is."""
    old, needed, new = b"o" * 400, b"n" * 400, b"N" * 400
    with DepotProcess(tmp_path / "d1", bytes_max=1000) as depot:
        depot.lead()
        store(depot, tmp_path, old)
        store(depot, tmp_path, needed)
        with pytest.raises(DepotRefused, match="the depot is full"):
            store(depot, tmp_path, new)  # both came just now: their tasks may be on the way
        depot.kill()
        for path in (tmp_path / "d1" / "files").glob("*/*"):
            os.utime(path, (0, 0))
        depot.start()
        depot.lead(used={content(needed).sha256: 400})
        store(depot, tmp_path, new)
        assert fetch(depot, tmp_path, content(needed)) == needed
        with pytest.raises(DepotRefused) as refused:
            fetch(depot, tmp_path, content(old))
        assert refused.value.missing


def test_what_is_lacking_is_fetched_from_the_others(tmp_path: Path) -> None:
    """A depot that was away when a file came gets it once the leader says that a task needs it."""
    with DepotProcess(tmp_path / "d1") as one, DepotProcess(tmp_path / "d2") as two:
        one.lead()
        store(one, tmp_path, DATA)
        wanted = content(DATA)
        one.lead(two, used={wanted.sha256: wanted.size_bytes})
        wait_for(lambda: ask(two, "HEAD", f"/files/{wanted.sha256}")[0] == 200, "the file to be copied")
        assert fetch(two, tmp_path, wanted) == DATA


def test_a_deposed_leader_is_not_believed(depot: DepotProcess) -> None:
    """Its census has an older epoch."""
    depot.lead(epoch=7)
    wait_for(lambda: _census(depot, 6)[0] == 409, "epoch 7 to be known")
    assert "epoch 6 is over" in _census(depot, 6)[1]
    assert _census(depot, 8)[0] == 204


def test_nobody_but_a_broker_is_believed(depot: DepotProcess) -> None:
    """Who reaches the port cannot depose the leader, or name himself as a depot: he does not have the key."""
    status, why = _census(depot, 2**60, key="a guess")
    assert (status, "only brokers" in why) == (403, True)
    assert _census(depot, 2)[0] == 204


def test_a_sealed_census_is_looked_at_nevertheless(depot: DepotProcess) -> None:
    """The bytes are those that were sealed, and the depots can be spoken to."""
    assert _census(depot, 2, sealed=b"{}") == (400, "the 45 bytes that came are not those of X-Alb-Digest")
    assert "is no address of a depot" in _census(depot, 2, depots='"file:///etc"')[1]
    assert _census(depot, 2)[0] == 204


def _census(
    depot: DepotProcess, epoch: int, *, key: str = "", depots: str = "", sealed: bytes | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(depot.endpoint.removeprefix("http://"), timeout=60)
    body = f'{{"table":"t","epoch":{epoch},"depots":[{depots}],"used":{{}}}}'.encode()
    digest = digest_of(body if sealed is None else sealed)
    connection.request("PUT", "/census", body, {DIGEST: digest, SEAL: seal_of(key or depot.key, digest)})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_a_full_disk_refuses_and_frees_what_came(tmp_path: Path) -> None:
    """The part is gone, so that the disk is not full for good; the depot goes on."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with DepotProcess(place / "d1") as depot:
            depot.lead()
            with pytest.raises(DepotRefused, match="the depot's disk is full"):
                store(depot, tmp_path, DATA)
            assert store(depot, tmp_path, DATA[:1000]) == 1
            assert fetch(depot, tmp_path, content(DATA[:1000])) == DATA[:1000]
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_it_ends_with_its_broker(depot: DepotProcess) -> None:
    """The other end of its standard input is closed: it leaves at once, in order."""
    assert depot.leave() == 0


def test_nobody_and_the_unwilling_are_told_apart(depot: DepotProcess, tmp_path: Path) -> None:
    """A dead address is unreachable; a file that nobody wants any more is not fetched on."""
    store(depot, tmp_path, DATA)
    descriptor = file_of(tmp_path, b"", "target")
    with pytest.raises(TransferStopped):
        transfer.fetch(depot.endpoint, content(DATA), descriptor, lambda: False)
    depot.kill()
    depot.__exit__(None, None, None)
    with pytest.raises(DepotUnreachable):
        transfer.fetch(depot.endpoint, content(DATA), descriptor)
    with pytest.raises(DepotUnreachable):
        transfer.store("http://[::bad", content(DATA), descriptor)
    os.close(descriptor)
