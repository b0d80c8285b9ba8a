"""What a task may take along and bring back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alb_core import limits
from alb_core.files import FileRef, is_sha256, restored, wrong_name
from alb_core.spec import TaskSpec, check_spec
from alb_core.tasks import Cause, Outcome, bounded

SHA = "0123456789abcdef" * 4


def ref(name: str = "data.csv", **fields: Any) -> FileRef:
    return FileRef(**{"name": name, "sha256": SHA, "size_bytes": 3} | fields)


def spec(*files: FileRef, returns: tuple[str, ...] = (), cwd: str | None = None) -> TaskSpec:
    return TaskSpec(command="true", files=files, returns=returns, cwd=cwd)


@pytest.mark.parametrize("name", ["a", "data.csv", "src/lib/a b.py", ".hidden", "ä/ö", "..x", "a..b"])
def test_a_relative_path_is_a_name(name: str) -> None:
    """Folders, blanks, dots within a name, other alphabets."""
    assert check_spec(spec(ref(name)), 0) is None
    assert check_spec(spec(returns=(name,)), 0) is None


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", ".", "a\nb", "x" * 256]
)
def test_what_leaves_the_directory_is_no_name(name: str) -> None:
    """Neither for a file nor for a pattern."""
    assert wrong_name(name) is not None
    assert check_spec(spec(ref(name)), 0) == wrong_name(name)
    assert "the return pattern" in str(check_spec(spec(returns=(name,)), 0))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (spec(ref(sha256="ABC")), "SHA-256"),
        (spec(ref(sha256=SHA + "\n")), "SHA-256"),
        (spec(ref(size_bytes=-1)), "-1 bytes"),
        (spec(ref(size_bytes=limits.FILE_BYTES_MAX + 1)), "bytes, more than"),
        (spec(ref("a"), ref("a")), "two files have the name 'a'"),
        (spec(ref("a/b"), ref("a")), "'a' is the name of a file and of a folder"),
        (spec(*(ref(f"f{n}") for n in range(limits.FILES_MAX + 1))), "put them into one archive"),
        (spec(*(ref(f"f{n}", size_bytes=limits.FILE_BYTES_MAX) for n in range(3))), "bytes together"),
        (spec(returns=("*",) * (limits.RETURN_PATTERNS_MAX + 1)), "return patterns, more than"),
        (spec(ref(), cwd="/tmp"), "leave --cwd out"),  # noqa: S108 (nothing is opened)
        (spec(returns=("*",), cwd="/data"), "leave --cwd out"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(broken: TaskSpec, says: str) -> None:
    """Each rule names what is wrong."""
    assert says in str(check_spec(broken, 0))


def test_a_specification_of_before_has_no_files() -> None:
    """And one without files is encoded as before, so that its digest stays."""
    old = msgspec.json.decode(b'{"command":"true"}', type=TaskSpec)
    assert (old.files, old.returns) == ((), ())
    assert msgspec.json.encode(old) == b'{"command":"true"}'


def test_a_digest_of_a_file_has_one_form() -> None:
    """Lower-case hex, as a file name can be compared."""
    assert is_sha256(SHA)
    assert not is_sha256(SHA.upper())
    assert not is_sha256(SHA[1:])


def test_a_result_keeps_no_reference_that_is_wrong() -> None:
    """Whatever a worker reports: what lies outside the directory of a client must not reach it."""
    good = Outcome(cause=Cause.EXITED, exit_code=0, returned=(ref(),))
    assert bounded(good).returned == (ref(),)
    assert bounded(msgspec.structs.replace(good, returned=(ref("../x"),))).returned == ()


def test_a_checkpoint_replaces_what_is_in_its_way() -> None:
    """A file of the same name, one where it has a folder, one in a folder where it has a file."""
    shipped = tuple(FileRef(name=name, sha256="0" * 64, size_bytes=1) for name in ("a", "b", "c/d", "e"))
    saved = tuple(FileRef(name=name, sha256="1" * 64, size_bytes=1) for name in ("a", "b/x", "c"))
    assert restored(shipped, saved) == (shipped[3], *saved)
    assert restored(shipped, ()) == shipped


def test_checkpoint_patterns_are_checked_as_return_patterns_are() -> None:
    """They name files in the fresh directory, and there must be one."""
    says = check_spec(TaskSpec(command="true", checkpoints=("../a",)), 0)
    assert "checkpoint pattern '../a'" in (says or "")
    assert "--cwd" in (check_spec(TaskSpec(command="true", checkpoints=("a",), cwd="/"), 0) or "")
    many = ("a",) * (limits.RETURN_PATTERNS_MAX + 1)
    assert "checkpoint patterns, more than" in (
        check_spec(TaskSpec(command="true", checkpoints=many), 0) or ""
    )
    assert check_spec(TaskSpec(command="true", checkpoints=("a", "**/*.state")), 0) is None
