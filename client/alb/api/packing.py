"""What a task takes along, put into its specification and made ready to be shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alb.api.binaries import pack_binaries
from alb.api.stdin import NO_INPUT, given_input
from alb_core.errors import InvalidTask
from alb_core.kinds import BINARY_KIND, BUILT_IN, PAYLOAD_FILE, archs_of
from alb_core.limits import PAYLOAD_INLINE_BYTES
from alb_core.spec import TaskSpec

if TYPE_CHECKING:
    from alb.api.files import Files, Shipment

PACKED: Final = ("files", "stdin", "payload", "binary")
#: Options that are dealt with here; most tasks have none of them.


def pack(
    spec: TaskSpec, options: Mapping[str, Any], files: Callable[[], Files]
) -> tuple[TaskSpec, Shipment | None]:
    """Add what a task takes along.

    Args:
        spec: The rest of it.
        options: Those named in ``PACKED`` count.
        files: Returns what moves files; only called where there are some.

    Returns:
        The specification, and what is to be in the depots before it is submitted.

    Raises:
        InvalidTask: Something cannot be taken along.
    """
    parts: list[Shipment] = []
    given = given_input(options)
    if given != NO_INPUT:
        spec = msgspec.structs.replace(spec, stdin=given.data, stdin_file=given.name)
    if options.get("files") or given.file is not None:
        parts.append(files().pack(options.get("files", ()), given.file))
    payload = options.get("payload", b"")
    if payload:
        spec = _with_payload(spec, payload, files, parts)
    if parts:
        spec = msgspec.structs.replace(spec, files=tuple(ref for part in parts for ref in part.refs))
    if options.get("binary"):
        spec, programs = _with_programs(spec, options["binary"], files())
        parts.append(programs)
    if not parts:
        return spec, None
    first, *others = parts
    return spec, sum(others, first)


def _with_payload(
    spec: TaskSpec, payload: object, files: Callable[[], Files], parts: list[Shipment]
) -> TaskSpec:
    if not isinstance(payload, bytes):
        raise InvalidTask("", f"the payload is a {type(payload).__name__}; give bytes")
    if spec.kind in BUILT_IN or len(payload) <= PAYLOAD_INLINE_BYTES:
        return msgspec.structs.replace(spec, payload=payload)
    parts.append(files().pack_bytes(PAYLOAD_FILE, payload))
    return spec


def _with_programs(spec: TaskSpec, wanted: Any, files: Files) -> tuple[TaskSpec, Shipment]:
    if spec.kind not in BUILT_IN:
        raise InvalidTask("", f"a task is a program (binary) or of the kind {spec.kind!r}, not both")
    if isinstance(spec.command, str):
        raise InvalidTask(
            "", "with binary, the command is the list of the program's arguments; it may be empty"
        )
    binaries, shipment = pack_binaries(files, wanted)
    name = Path(next(iter(binaries.values())).name).name
    request = msgspec.structs.replace(spec.request, archs=archs_of(binaries))
    spec = msgspec.structs.replace(
        spec, kind=BINARY_KIND, binaries=binaries, request=request, command=(name, *spec.command)
    )
    return spec, shipment
