"""What a pool and its workers say to each other, as headers and bodies of frames."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sandbox.engine import CommandResult, ComponentResult, GuestReply, LogLine
from sandbox.errors import Reason, SandboxError
from sandbox.frames import Header, pack
from sandbox.grants import FolderGrant, Grants
from sandbox.services.request import ServiceError

__all__ = [
    "NONSENSE",
    "command_result",
    "component_result",
    "failure",
    "grants_from",
    "grants_to",
    "guest_reply",
    "pack_answer",
    "pack_command_result",
    "pack_component_result",
    "pack_reply",
    "pack_service_error",
]


NONSENSE: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a frame of a worker raises when it is not what a worker sends."""


def grants_to(grants: Grants) -> Header:
    """What a worker needs to know of grants: folders and variables. The parent keeps the rest."""
    return {
        "folders": [[str(item.host), item.guest, item.write] for item in grants.folders],
        "env": [list(pair) for pair in grants.env],
    }


def grants_from(header: Header) -> Grants:
    """Grants out of a header, checked again: the folder may have changed since."""
    return Grants(
        folders=tuple(
            FolderGrant(Path(host), guest, write=write) for host, guest, write in header["folders"]
        ),
        env=tuple((name, value) for name, value in header["env"]),
    )


def pack_command_result(result: CommandResult) -> bytes:
    """The frame of a command that ended."""
    side = _side(result.logs, result.written)
    header = {
        "exit_code": result.exit_code,
        "fuel_used": result.fuel_used,
        "wall_ms": result.wall_ms,
        "logs_dropped": result.logs_dropped,
        "asked": result.asked,
        "memory_bytes": result.memory_bytes,
        "parts": [len(result.stdout), len(result.stderr), len(side)],
    }
    return pack(header, result.stdout + result.stderr + side)


def command_result(header: Header, body: bytes) -> CommandResult:
    """Reads ``pack_command_result``. Raises ``SandboxError`` (``killed``) on nonsense."""
    try:
        stdout, stderr, side = _parts(header, body, 3)
        logs, written = _read_side(side)
        return CommandResult(
            stdout,
            stderr,
            int(header["exit_code"]),
            int(header["fuel_used"]),
            float(header["wall_ms"]),
            logs,
            int(header["logs_dropped"]),
            written,
            int(header["asked"]),
            int(header["memory_bytes"]),
        )
    except NONSENSE as error:
        raise _nonsense(error) from None


def pack_reply(reply: GuestReply) -> bytes:
    """The frame of an agent's reply."""
    side = _side(reply.logs, reply.written)
    header = {
        "fuel_used": reply.fuel_used,
        "wall_ms": reply.wall_ms,
        "logs_dropped": reply.logs_dropped,
        "asked": reply.asked,
        "memory_bytes": reply.memory_bytes,
        "parts": [len(reply.data), len(side), *map(len, reply.sent)],
    }
    return pack(header, b"".join((reply.data, side, *reply.sent)))


def guest_reply(header: Header, body: bytes) -> GuestReply:
    """Reads ``pack_reply``. Raises ``SandboxError`` (``killed``) on nonsense."""
    try:
        data, side, *sent = _parts(header, body, 2)
        logs, written = _read_side(side)
        return GuestReply(
            data,
            tuple(sent),
            logs,
            int(header["logs_dropped"]),
            int(header["fuel_used"]),
            float(header["wall_ms"]),
            written,
            int(header["asked"]),
            int(header["memory_bytes"]),
        )
    except NONSENSE as error:
        raise _nonsense(error) from None


def pack_component_result(result: ComponentResult) -> bytes:
    """The frame of a component's function that returned."""
    side = _side(result.logs, result.written)
    header = {
        "failed": result.failed,
        "fuel_used": result.fuel_used,
        "wall_ms": result.wall_ms,
        "logs_dropped": result.logs_dropped,
        "asked": result.asked,
        "parts": [len(result.data), len(result.printed), len(side)],
    }
    return pack(header, result.data + result.printed + side)


def component_result(header: Header, body: bytes) -> ComponentResult:
    """Reads ``pack_component_result``. Raises ``SandboxError`` (``killed``) on nonsense."""
    try:
        data, printed, side = _parts(header, body, 3)
        logs, written = _read_side(side)
        return ComponentResult(
            data,
            bool(header["failed"]),
            int(header["fuel_used"]),
            float(header["wall_ms"]),
            printed,
            logs,
            int(header["logs_dropped"]),
            written,
            int(header["asked"]),
        )
    except NONSENSE as error:
        raise _nonsense(error) from None


def failure(header: Header) -> SandboxError | None:
    """The error that a worker told, or None. Nonsense is an error with ``killed``."""
    if "reason" not in header:
        return None
    try:
        return SandboxError(Reason(header["reason"]), str(header["message"]), **header["details"])
    except NONSENSE as error:
        return _nonsense(error)


def pack_answer(answer: bytes | None) -> bytes:
    """The frame that answers a guest's question."""
    return pack({"op": "answer", "absent": answer is None}, answer or b"")


def pack_service_error(error: ServiceError) -> bytes:
    """The frame that refuses a guest's question."""
    return pack({"op": "answer", "code": str(error.code), "message": error.message[:2_000]})


def _nonsense(error: Exception) -> SandboxError:
    return SandboxError(Reason.KILLED, f"a worker gave no valid answer: {error!r}")


def _parts(header: Header, body: bytes, least: int) -> list[bytes]:
    lengths = [int(length) for length in header["parts"]]
    if len(lengths) < least or min(lengths) < 0 or sum(lengths) != len(body):
        raise ValueError(f"parts of {sum(lengths)} bytes in a body of {len(body)}")
    parts, at = [], 0
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    return parts


def _side(logs: tuple[LogLine, ...], written: Mapping[bytes, bytes | None]) -> bytes:
    """Lines and keys, of which there may be more than fits a header."""
    if not logs and not written:
        return b""
    side: dict[str, Any] = {
        "logs": [[line.level, line.text, line.cut] for line in logs],
        "written": [
            [name.decode(), None if value is None else base64.b64encode(value).decode()]
            for name, value in written.items()
        ],
    }
    return json.dumps(side, separators=(",", ":")).encode()


def _read_side(side: bytes) -> tuple[tuple[LogLine, ...], dict[bytes, bytes | None]]:
    if not side:
        return (), {}
    read = json.loads(side)
    logs = tuple(LogLine(int(level), str(text), bool(cut)) for level, text, cut in read["logs"])
    written = {
        name.encode(): None if value is None else base64.b64decode(value)
        for name, value in read["written"]
    }
    return logs, written
